"""Decides operations, one after another, against what a batch has loaded. Invariant: it asks nobody and waits for
nothing; what it decides is written by the commit that called it, under the namespace's lock.

An op that does not hold changes nothing. What hangs on it fails alone: nodes that were not born are no parents, and a
unit in which something failed is not deleted, since the failed op may have been about to save what lies there.
Source: docs/design (commit).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from satchel.core.entries import Action, Kind
from satchel.core.hashing import PACKED_BYTES
from satchel.core.ids import ROOT_NODE, AccountId, DeviceId, LinkId, NamespaceId, NodeId, OpId, Tag
from satchel.core.limits import DEPTH_MAX, PATH_BYTES_MAX
from satchel.core.messages import (
    AttrOp,
    Conflict,
    Content,
    CreateOp,
    DeleteOp,
    EditOp,
    Moved,
    MoveOp,
    NeedBlocks,
    Op,
    Outcome,
    Placement,
    Refused,
    Stored,
    UndeleteOp,
)
from satchel.server.metadata.contents import Contents
from satchel.server.metadata.journal import JournalRow
from satchel.server.metadata.nodes import DEAD, LIVE, PURGED, Node, holds_xattrs, image_bytes, is_file, snapshot_entry
from satchel.server.metadata.prepare import Prepared
from satchel.server.metadata.view import FolderFacts, View

NOTHING = Stored(0)
_VALUED = (CreateOp, EditOp, UndeleteOp)


@dataclass(frozen=True, slots=True)
class Author:
    """Who commits: account, device and link."""

    account: AccountId
    device: DeviceId
    link: LinkId


@dataclass(slots=True)
class Version:
    """A content state that the batch made: the node as it was then."""

    node: Node
    op_id: OpId


@dataclass(slots=True)
class Batch:
    """Decides one request's ops in order and keeps what is to be written.

    head_seq: the newest seq so far. tags: random ones for the journal, one for each entry.
    """

    view: View
    contents: Contents
    author: Author
    head_seq: int
    now_ms: int
    tags: Iterator[Tag]
    rows: list[JournalRow] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    unborn: set[NodeId] = field(default_factory=set)
    failed: set[NodeId] = field(default_factory=set)

    def decide(self, one: Prepared) -> Outcome:
        """Return the op's outcome; when it is stored, view, contents and rows hold its effect."""
        outcome = one.refusal or self._decide(one)
        if not isinstance(outcome, Stored) and not isinstance(one.op, DeleteOp):
            self.failed.update(one.nodes)
            if isinstance(one.op, CreateOp | UndeleteOp):
                self.unborn.add(one.op.node_id)
        return outcome

    def _decide(self, one: Prepared) -> Outcome:
        match one.op:
            case CreateOp():
                return self._create(one.op, one)
            case EditOp():
                return self._edit(one.op, one)
            case MoveOp():
                return self._move(one.op, one)
            case DeleteOp():
                return self._delete(one.op)
            case UndeleteOp():
                return self._undelete(one.op, one)
            case AttrOp():
                return self._attr(one.op)

    # -- one kind of op each

    def _create(self, op: CreateOp, one: Prepared) -> Outcome:
        old = self.view.nodes.get(op.node_id)
        if old is not None:
            is_same = (old.kind, old.parent_id, old.name, old.content) == (
                *(op.kind, op.parent_id, op.name),
                _value(op, b""),
            )
            return NOTHING if is_same and self.view.is_live(old) else self._conflict(old)
        problem = self._place_problem(op.node_id, op.parent_id, op.name, one.keys[0]) or self._content_problem(op, one)
        if problem is not None:
            return problem
        self.free_place(op.parent_id, one.keys[0])
        seq, content = self.next_seq(), op.content
        # By position, in the order of Node's fields: this is what a first upload is made of.
        node = Node(
            op.node_id,
            op.parent_id,
            op.name,
            one.keys[0],
            op.kind,
            _value(op, b""),
            0 if content is None else content.size,
            op.mtime_ns,
            int(op.is_executable and op.kind == Kind.FILE),
            seq,
            seq,
            0 if content is None else 1,
            LIVE,
            None,
            0,
            0,
            seq,
            self.now_ms,
            _xattrs(op, op.kind, None),
        )
        if content is not None:
            self.contents.use(content, one)
            self.versions.append(Version(node, op.op_id))
        return self.store(Action.CREATE, None, node, op)

    def _edit(self, op: EditOp, one: Prepared) -> Outcome:
        old = self.view.nodes.get(op.node_id)
        if old is None:
            return self._unknown(op.node_id)
        if not self.view.is_live(old):
            return self._conflict(old)
        if old.kind in (Kind.FOLDER, Kind.MOUNT) or is_file(old.kind) != (op.content is not None):
            return Refused("kind_mismatch")
        bit, xattrs = int(op.is_executable and is_file(old.kind)), _xattrs(op, old.kind, old.xattrs)
        is_equal = _value(op, old.content) == old.content
        if is_equal and (bit, xattrs) == (old.is_executable, old.xattrs):
            return NOTHING
        if op.base_rev != old.content_rev:
            return self._conflict(old)
        problem = self._content_problem(op, one)
        if problem is not None:
            return problem
        seq = self.next_seq()
        node = replace(old, is_executable=bit, xattrs=xattrs, mtime_ns=op.mtime_ns, content_rev=seq, seq=seq)
        return self.store(Action.EDIT, old, self._with_content(node, op, one), op)

    def _attr(self, op: AttrOp) -> Outcome:
        old = self.view.nodes.get(op.node_id)
        if old is None:
            return self._unknown(op.node_id)
        if not self.view.is_live(old):
            return self._conflict(old)
        if not (is_file(old.kind) or (holds_xattrs(old.kind) and op.xattrs is not None)):
            return Refused("kind_mismatch")
        bit, xattrs = int(op.is_executable and is_file(old.kind)), _xattrs(op, old.kind, old.xattrs)
        if (bit, xattrs) == (old.is_executable, old.xattrs):
            return NOTHING
        if op.base_rev != old.content_rev:
            return self._conflict(old)
        seq = self.next_seq()
        node = replace(old, is_executable=bit, xattrs=xattrs, content_rev=seq, seq=seq)
        return self.store(Action.ATTR, old, node, op)

    def _delete(self, op: DeleteOp) -> Outcome:
        old = self.view.nodes.get(op.node_id)
        if old is None:
            return self._unknown(op.node_id)
        if not self.view.is_live(old):
            return NOTHING
        if any(self.view.stands_in(mount, op.node_id) for mount in self.view.mounts):
            return Refused("holds_mount")
        if self.view.foreign_seq(op.node_id) > op.seen_seq:
            return Refused("changed_since", str(self.view.foreign_seq(op.node_id)))
        if any(self.view.stands_in(node_id, op.node_id) for node_id in self.failed):
            return Refused("depends_on_refused")
        seq = self.next_seq()
        node = replace(
            old, state=DEAD, deleted_at=self.now_ms, cleared_before=old.cleared_seq, cleared_seq=seq, seq=seq
        )
        return self.store(Action.DELETE, old, node, op)

    def _undelete(self, op: UndeleteOp, one: Prepared) -> Outcome:
        old = self.view.nodes.get(op.node_id)
        if old is None:
            return self._unknown(op.node_id)
        if (op.content is not None and not is_file(old.kind)) or (op.target and old.kind != Kind.SYMLINK):
            return Refused("kind_mismatch")
        bit = int(op.is_executable) if op.content is not None else old.is_executable
        xattrs = _xattrs(op, old.kind, old.xattrs)
        if self.view.is_live(old):
            is_same = (old.parent_id, old.name, old.content, old.is_executable, old.xattrs) == (
                *(op.parent_id, op.name),
                *(_value(op, old.content), bit, xattrs),
            )
            return NOTHING if is_same else self._conflict(old)
        if old.state == PURGED and not _stands_alone(op, old):
            return Refused("not_found", "purged")
        problem = self._place_problem(op.node_id, op.parent_id, op.name, one.keys[0]) or self._content_problem(op, one)
        if problem is not None:
            return problem
        self.free_place(op.parent_id, one.keys[0], but=op.node_id)
        seq = self.next_seq()
        has_value = op.content is not None or bool(op.target)
        node = replace(
            old,
            parent_id=op.parent_id,
            name=op.name,
            name_key=one.keys[0],
            is_executable=bit,
            xattrs=xattrs,
            mtime_ns=op.mtime_ns if has_value else old.mtime_ns,
            state=LIVE,
            deleted_at=None,
            cleared_seq=_cleared_after_undelete(old, op, seq),
            content_rev=seq,
            place_rev=seq,
            seq=seq,
        )
        is_subtree = op.is_subtree and old.kind == Kind.FOLDER
        node = self._with_content(node, op, one)
        return self.store(Action.UNDELETE, old, node, op, is_subtree=is_subtree)

    def _move(self, op: MoveOp, one: Prepared) -> Outcome:
        moves: list[tuple[Node, Placement, str]] = []
        for placement, key in zip(op.placements, one.keys, strict=True):
            old = self.view.nodes.get(placement.node_id)
            if old is None:
                return self._unknown(placement.node_id)
            if not self.view.is_live(old):
                return self._conflict(old)
            if (old.parent_id, old.name) != (placement.parent_id, placement.name):
                if old.place_rev != placement.base_rev:
                    return self._conflict(old)
                moves.append((old, placement, key))
        problem = self._moves_problem(moves)
        if problem is not None:
            return problem
        parents = {placement.node_id: placement.parent_id for _, placement, _ in moves}
        # From the top of the final tree downwards, so that no entry stands below itself while half is folded.
        moves.sort(key=lambda move: len(self._above(move[1].parent_id, parents) or ()))
        outcome = NOTHING
        lifted = {old.node_id for old, _, _ in moves}
        for _, placement, key in moves:
            self.free_place(placement.parent_id, key, but=lifted)
        for old, placement, key in moves:
            seq = self.next_seq()
            node = replace(
                old, parent_id=placement.parent_id, name=placement.name, name_key=key, place_rev=seq, seq=seq
            )
            outcome = self.store(Action.MOVE, old, node, op)
        return outcome

    # -- what several ops ask

    def _moves_problem(self, moves: list[tuple[Node, Placement, str]]) -> Outcome | None:
        """Return why the moves cannot be done together; names are checked as if all moved nodes were lifted."""
        parents = {placement.node_id: placement.parent_id for _, placement, _ in moves}
        lifted = {old.node_id for old, _, _ in moves}
        taken: dict[tuple[NodeId, str], Node] = {}
        for old, placement, key in moves:
            problem = self._parent_problem(placement.parent_id)
            if problem is not None:
                return problem
            above = self._above(placement.parent_id, parents)
            if above is None:
                return Refused("cycle")
            if self._is_too_deep(above, placement.name, {p.node_id: p.name for _, p, _ in moves}):
                return Refused("too_deep")
            holder = self.view.holder((placement.parent_id, key))
            if holder is not None and holder.node_id not in lifted and self.view.is_live(holder):
                return self._conflict(holder)
            if (other := taken.get((placement.parent_id, key))) is not None:
                return self._conflict(other)
            taken[placement.parent_id, key] = old
        return None

    def _above(self, folder: NodeId, parents: dict[NodeId, NodeId]) -> list[NodeId] | None:
        """Return the folders from `folder` up to below the root as `parents` would leave them; None for a cycle."""
        chain: list[NodeId] = []
        while folder != ROOT_NODE:
            if folder in chain:
                return None
            chain.append(folder)
            folder = parents.get(folder) or self.view.nodes[folder].parent_id
        return chain

    def _is_too_deep(self, above: list[NodeId], name: str, names: dict[NodeId, str]) -> bool:
        lengths = [len((names.get(folder) or self.view.nodes[folder].name).encode()) for folder in above]
        return _past_limits(FolderFacts(len(above), sum(lengths) + len(lengths)), name)

    def _place_problem(self, node_id: NodeId, parent_id: NodeId, name: str, key: str) -> Outcome | None:
        facts = self.view.facts(parent_id)
        if facts is None:
            return self._parent_problem(parent_id)
        if _past_limits(facts, name):
            return Refused("too_deep")
        holder = self.view.holder((parent_id, key))
        if holder is not None and holder.node_id != node_id and self.view.is_live(holder):
            return self._conflict(holder)
        return None

    def _parent_problem(self, parent_id: NodeId) -> Refused | Moved | None:
        if self.view.facts(parent_id) is not None:
            return None
        if parent_id in self.unborn:
            return Refused("depends_on_refused")
        if parent_id in self.view.moved:
            return Moved(self.view.moved[parent_id])
        parent = self.view.nodes.get(parent_id)
        if parent is not None and parent.kind == Kind.MOUNT and self.view.is_live(parent):
            return Moved(NamespaceId(parent.content))
        return Refused("parent_gone" if parent is None or parent.kind == Kind.FOLDER else "kind_mismatch")

    def _content_problem(self, op: CreateOp | EditOp | UndeleteOp, one: Prepared) -> Refused | NeedBlocks | None:
        return None if op.content is None else self.contents.refusal(op.content, one)

    def _unknown(self, node_id: NodeId) -> Refused | Moved:
        if node_id in self.view.moved:
            return Moved(self.view.moved[node_id])
        return Refused("depends_on_refused" if node_id in self.unborn else "not_found")

    def _conflict(self, node: Node) -> Conflict:
        return Conflict(snapshot_entry(node, is_live=self.view.is_live(node)))

    # -- effects

    def free_place(self, parent_id: NodeId, key: str, *, but: NodeId | set[NodeId] | None = None) -> None:
        """Mark the dead row that still holds the place as deleted by itself, so that the name can be taken."""
        holder = self.view.holder((parent_id, key))
        if holder is None:
            return
        kept = but if isinstance(but, set) else {but}
        if holder.node_id not in kept:
            marked = replace(holder, state=DEAD, deleted_at=self.now_ms, cleared_before=holder.cleared_seq)
            self.view.put(marked)

    def _with_content(self, node: Node, op: CreateOp | EditOp | UndeleteOp, one: Prepared) -> Node:
        """Return the node with the op's content or target, and record a version when it is a new content state."""
        value = _value(op, node.content)
        content: Content | None = op.content
        if content is None:
            return node if value == node.content else replace(node, content=value)
        if node.version_count and value == node.content:
            return node
        self.contents.use(content, one)
        node = replace(node, content=value, size=content.size, version_count=node.version_count + 1)
        self.versions.append(Version(node, op.op_id))
        return node

    def store(self, action: Action, old: Node | None, new: Node, op: Op, *, is_subtree: bool = False) -> Stored:
        """Make `new` the state of its node, with the journal's entry of that; it was decided before."""
        pre = None if old is None else image_bytes(old, is_live=self.view.is_live(old))
        self.view.put(new)
        author, post = self.author, image_bytes(new, is_live=new.state == LIVE, blocks=_one_block(op))
        self.rows.append(
            # By position, in the order of JournalRow's fields.
            JournalRow(
                new.seq,
                next(self.tags),
                action,
                new.node_id,
                pre,
                post,
                int(is_subtree),
                author.account,
                author.device,
                author.link,
                op.op_id,
                self.now_ms,
            )
        )
        return Stored(new.seq)

    def next_seq(self) -> int:
        """Return the seq of the next entry."""
        self.head_seq += 1
        return self.head_seq


def _value(op: Op, current: bytes) -> bytes:
    """Return the content that the op gives a node: content hash, or target, or what it has."""
    if isinstance(op, _VALUED):
        if op.content is not None:
            return op.content.content_hash
        if op.target:
            return op.target.encode()
    return current


def _xattrs(op: CreateOp | EditOp | UndeleteOp | AttrOp, kind: int, current: bytes | None) -> bytes | None:
    """Return the extended attributes that the op leaves a node with: its own, or those that are there."""
    return current if op.xattrs is None or not holds_xattrs(kind) else op.xattrs or None


def _one_block(op: Op) -> bytes:
    """Return the blocklist that the op brings, when it is one block."""
    if isinstance(op, _VALUED) and op.content is not None:
        return op.content.blocks if len(op.content.blocks) == PACKED_BYTES else b""
    return b""


def _stands_alone(op: UndeleteOp, old: Node) -> bool:
    """Tell whether the op brings all that the node is to be, so that nothing of what it was is needed."""
    return not op.is_subtree if old.kind == Kind.FOLDER else op.content is not None or bool(op.target)


def _cleared_after_undelete(old: Node, op: UndeleteOp, seq: int) -> int:
    """Return the cleared_seq that brings back the unit, or, without `is_subtree`, keeps what lay below dead."""
    if not op.is_subtree:
        return seq
    # Dead only because something above it died: nothing was cleared when that happened.
    return old.cleared_before if old.state == DEAD else old.cleared_seq


def _past_limits(facts: FolderFacts, name: str) -> bool:
    return facts.depth + 1 > DEPTH_MAX or facts.path_bytes + 1 + len(name.encode()) > PATH_BYTES_MAX
