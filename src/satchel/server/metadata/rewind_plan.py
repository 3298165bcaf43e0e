"""What leads a namespace, or one folder of it, back to what it was. Invariant: every prefix of the steps is a valid
tree, each name is free when it is taken, and nothing is removed for good.

The steps are tried on the rows in memory as they are chosen, so each is chosen for the tree that those before it leave.
Their order is fixed: what was in the tree comes to its place from the top down, an upper folder before what it holds;
then what was not there goes into the trash. What stands on a wanted place goes away first: to its own place if that is
free, into the trash if it was not there and holds nothing that was; else under a passing name. A folder that died with
all it held comes back with one step; so does a node that only died with something above it.

Of a folder: what was in it then comes back from wherever it is, and what came into it from elsewhere goes back there if
its folder is there and its name is free, else into the trash. The folder itself stays where it is. The undo of such a
rewind also brings back all that the rewind itself changed elsewhere.
Source: docs/design/030 (rewind).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.core.errors import NotFound
from satchel.core.ids import ROOT_NODE, NamespaceId, NodeId
from satchel.core.limits import NAME_BYTES_MAX
from satchel.core.paths import join_path, name_key
from satchel.server.db.engine import Connection, Database, fetch_in
from satchel.server.metadata.nodes import DEAD, LIVE, PURGED, Node, is_file
from satchel.server.metadata.past import Past, Was, load_past_txn
from satchel.server.metadata.view import Place, View
from satchel.server.ports import Workers


class What(StrEnum):
    """What a step does. ASIDE: under a passing name, for a later step."""

    BACK = "back"
    MOVED = "moved"
    CONTENT = "content"
    ATTRIBUTES = "attributes"
    TRASH = "trash"
    ASIDE = "aside"


class Step(NamedTuple):
    """One operation. parent_id, name: the place it gives; content: hash that it gives a file, empty for none; target:
    of a symlink; xattrs: None leaves them; base_rev: what it expects, None: what the step that put it aside left;
    instead_of: rev of the wanted version, where that was thinned out and an older one stands for it."""

    what: What
    node_id: NodeId
    parent_id: NodeId = ROOT_NODE
    name: str = ""
    content: bytes = b""
    target: str = ""
    mtime_ns: int = 0
    is_executable: bool = False
    xattrs: bytes | None = None
    is_subtree: bool = False
    base_rev: int | None = 0
    instead_of: int = 0


class Given(NamedTuple):
    """The content that a file can be given. instead_of: as in `Step`."""

    content: bytes
    size: int
    mtime_ns: int
    instead_of: int = 0


@dataclass(slots=True)
class Plan:
    """rows: as they stand; living: those of them that live; steps: in the order that they are to be
    done; gone: files and folders that cannot come back; head_seq: of the
    journal that this was planned on; unit: the folder, or the root for all."""

    ns: NamespaceId
    unit: NodeId
    past: Past
    rows: dict[NodeId, Node]
    living: set[NodeId]
    steps: list[Step] = field(default_factory=list)
    gone: list[NodeId] = field(default_factory=list)

    @property
    def head_seq(self) -> int:
        """The newest entry that was looked at."""
        return self.past.head.seq

    def path_now(self, node_id: NodeId) -> str:
        """Return the path that a node has, or had when it was deleted."""
        names: list[str] = []
        while node_id != ROOT_NODE and (node := self.rows.get(node_id)) is not None and len(names) <= len(self.rows):
            names.append(node.name)
            node_id = node.parent_id
        return join_path(reversed(names))


async def plan(
    db: Database, workers: Workers, ns: NamespaceId, unit: NodeId, seq: int, undoes: bytes | None = None
) -> Plan:
    """Choose what leads `unit` back to what it was at `seq`. undoes: the rewind that this is to take back.

    It is read in three looks, with the thinking between them on a worker. What changes between two looks makes a step
    that its commit refuses, never a wrong one. Raises: NotFound (no such folder now, or not then), HistoryEnded,
    LimitExceeded.
    """

    async def look_txn(conn: Connection) -> Past:
        past = await load_past_txn(conn, ns, seq, undoes)
        await past.view.load_txn(conn, {unit} - {ROOT_NODE}, set())
        return past

    past = await db.read(look_txn)
    chosen, emptied = await workers.run(lambda: _choose(past, unit))
    left = await db.read(lambda conn: past.load_left_txn(conn, emptied))
    wanted, places = await workers.run(lambda: chosen.wanted(left))

    async def look_again_txn(conn: Connection) -> dict[NodeId, Given]:
        await past.view.load_txn(conn, set(), places)
        return await _given_txn(conn, past, wanted)

    given = await db.read(look_again_txn)
    return await workers.run(lambda: _planned(past, unit, wanted, chosen, given))


def _choose(past: Past, unit: NodeId) -> tuple[_Chosen, list[NodeId]]:
    if unit != ROOT_NODE:
        _require_unit(past, unit)
    chosen = _Chosen(past, unit)
    return chosen, chosen.emptied()


def _planned(past: Past, unit: NodeId, wanted: list[NodeId], chosen: _Chosen, given: dict[NodeId, Given]) -> Plan:
    rows = dict(past.view.nodes)
    living = {node_id for node_id, row in rows.items() if past.view.is_live(row)}
    made = Plan(past.ns, unit, past, rows, living)
    _Planner(made, wanted, chosen, given).run()
    return made


def _require_unit(past: Past, unit: NodeId) -> None:
    node = past.view.nodes.get(unit)
    if node is None or node.kind != Kind.FOLDER or not past.view.is_live(node):
        raise NotFound("There is no such folder.")
    if not past.lived(unit):
        raise NotFound("This folder was not there then; rewind the one that it is in.", reason="not_there_then")


class _Chosen:
    """Which nodes a rewind is about. inside: what was in the unit and changed since; strangers: what is in it now, or
    comes into it with something else, and was elsewhere; recalled: those of them that the undone rewind changed."""

    def __init__(self, past: Past, unit: NodeId) -> None:
        self._past, self._unit = past, unit
        nodes = past.view.nodes
        lived = [n for n in past.touched if n != unit and past.lived(n)]
        self.inside = {n for n in lived if self._was_in(n)}
        coming = {unit, *self.inside}
        self.recalled = {n for n in lived if n in past.linked and n not in self.inside}
        self.strangers = {n for n in lived if n in nodes and n not in self.inside and self._stands_in_any(n, coming)}
        self.strangers |= self.recalled

    def _stands_in_any(self, node_id: NodeId, folders: set[NodeId]) -> bool:
        nodes, steps = self._past.view.nodes, 0
        while node_id not in folders and node_id in nodes and steps <= len(nodes):
            node_id, steps = nodes[node_id].parent_id, steps + 1
        return node_id in folders

    def emptied(self) -> list[NodeId]:
        """Return folders of which what they held comes back piece by piece."""
        past, nodes = self._past, self._past.view.nodes
        purged = [n for n in {*self._above(), *self.inside} if (node := nodes.get(n)) and node.state == PURGED]
        return [*[n for n in past.bared if past.lived(n) and self._was_in(n)], *purged]

    def wanted(self, left: Iterable[NodeId]) -> tuple[list[NodeId], set[Place]]:
        """Return what is to be in the tree, from the top of the old one down, strangers first; and its old places."""
        past = self._past
        lived = [n for n in left if past.lived(n) and self._was_in(n)]
        found = {*self.inside, *self.strangers, *lived, *self._above()} - {self._unit, ROOT_NODE}
        # What goes back elsewhere leaves first, or it would stand in the way under a name that is not its own.
        ordered = sorted(found, key=lambda n: (n not in self.strangers, past.depth(n), n))
        return ordered, {(was.parent_id, was.name_key) for n in ordered if (was := past.was(n)) is not None}

    def _above(self) -> set[NodeId]:
        """Return the folders above what was in the unit, up to it."""
        found: set[NodeId] = set()
        for node_id in self.inside:
            was = self._past.was(node_id)
            while was is not None and was.parent_id not in (ROOT_NODE, self._unit, *found):
                found.add(was.parent_id)
                was = self._past.was(was.parent_id)
        return found

    def _was_in(self, node_id: NodeId) -> bool:
        return self._unit == ROOT_NODE or self._past.stood_in(node_id, self._unit)


class _Planner:
    """Chooses the steps, one after another, on the view that they change."""

    def __init__(self, plan: Plan, wanted: list[NodeId], chosen: _Chosen, given: dict[NodeId, Given]) -> None:
        self._plan, self._past, self._view = plan, plan.past, plan.past.view
        self._wanted, self._given = wanted, given
        self._strangers = chosen.strangers
        self._untouched = chosen.strangers - chosen.recalled
        """Strangers of which the place alone is changed, and only while they live."""
        self._done: set[NodeId] = set()
        self._aside: set[NodeId] = set()
        self._waiting: dict[NodeId, None] = {}
        """Strangers whose place elsewhere was taken when their turn came."""
        self._seq = plan.head_seq
        self._is_wanted = set(wanted)
        self._kept = self._keeping()

    def run(self) -> None:
        """Fill the plan."""
        for node_id in self._wanted:
            if node_id not in self._done:
                self._settle(node_id)
        waiting, self._waiting = self._waiting, {}
        for node_id in waiting:
            self._settle(node_id)
        self._is_wanted.difference_update(self._waiting)
        self._trash_the_rest()

    # -- what was there

    def _settle(self, node_id: NodeId) -> None:
        """Bring a node to the place, and to the content, that it had."""
        self._done.add(node_id)
        row, was = self._view.nodes.get(node_id), self._past.was(node_id)
        if was is None or was.kind == Kind.MOUNT:
            return
        if row is None:
            self._plan.gone.append(node_id)
            return
        is_live = self._view.is_live(row)
        if not is_live and node_id in self._untouched:
            # It may yet come back with what it died in.
            self._waiting[node_id] = None
            return
        if is_live and (row.parent_id, row.name) == (was.parent_id, was.name):
            self._give(row, was)
            return
        if not self._can_stand(node_id, was):
            if node_id in self._strangers:
                self._waiting[node_id] = None
            else:
                self._plan.gone.append(node_id)
            return
        name = self._clear_way(node_id, was)
        if name is None:
            self._waiting[node_id] = None
        elif is_live:
            self._move(row, was, name)
            self._give(self._view.nodes[node_id], was)
        else:
            self._bring_back(row, was, name)

    def _can_stand(self, node_id: NodeId, was: Was) -> bool:
        if self._view.facts(was.parent_id) is None or self._view.stands_in(was.parent_id, node_id):
            return False
        row = self._view.nodes[node_id]
        if row.state != PURGED or row.kind == Kind.SYMLINK:
            return True
        # A folder that was removed for good comes back for what it held, not for itself.
        return node_id in self._given if is_file(row.kind) else node_id in self._kept

    def _clear_way(self, node_id: NodeId, was: Was) -> str | None:
        """Free the node's old place; return the name to take there, None when it stays away."""
        waiting = [node_id]
        while (holder := self._holder(waiting[-1])) is not None and self._can_go_first(holder, waiting):
            waiting.append(holder)
        last = self._holder(waiting[-1])
        if len(waiting) > 1 and (last is None or self._can_be_trashed(last)):
            for first in reversed(waiting[1:]):
                self._settle(first)
        holder = self._holder(node_id)
        if holder is None:
            return was.name
        if node_id in self._strangers and holder not in self._past.linked:
            # Somebody else's, outside the unit; but what the undone rewind put there goes away.
            return None
        row = self._view.nodes[holder]
        if row.kind == Kind.MOUNT or (holder in self._done and holder not in self._waiting):
            return _other_name(was.name, self._seq)
        if self._can_be_trashed(holder):
            self._trash(row)
        else:
            self._put_aside(row)
        return was.name

    def _can_be_trashed(self, node_id: NodeId) -> bool:
        """Tell whether the node is not wanted and holds nothing that is."""
        return node_id not in self._is_wanted and node_id not in self._kept

    def _holder(self, node_id: NodeId) -> NodeId | None:
        """Return what lives on the node's old place, unless that is itself."""
        was = self._past.was(node_id)
        held = None if was is None else self._view.holder((was.parent_id, was.name_key))
        return held.node_id if held is not None and held.node_id != node_id and self._view.is_live(held) else None

    def _can_go_first(self, holder: NodeId, waiting: list[NodeId]) -> bool:
        """Tell whether what is in the way can go to its own place before those that wait for it."""
        was = self._past.was(holder)
        if was is None or holder in waiting or holder in self._done or holder not in self._is_wanted:
            return False
        if holder in self._strangers or self._view.nodes[holder].kind == Kind.MOUNT:
            return False
        parent = was.parent_id
        is_ready = parent in self._done or parent not in self._is_wanted
        return is_ready and self._can_stand(holder, was)

    def _give(self, row: Node, was: Was) -> None:
        """Give a live node the content and attributes that it had."""
        if row.node_id in self._untouched:
            return
        xattrs = was.xattrs if was.xattrs != (row.xattrs or b"") else None
        step = Step(
            What.ATTRIBUTES,
            row.node_id,
            is_executable=was.is_executable,
            xattrs=xattrs,
            base_rev=row.content_rev,
        )
        if row.kind == Kind.SYMLINK and row.content != was.content:
            target = was.content.decode(errors="replace")
            self._edit(row, step._replace(what=What.CONTENT, target=target, mtime_ns=was.mtime_ns), was.content)
            return
        given = self._given.get(row.node_id)
        if is_file(row.kind) and given is not None and given.content != row.content:
            told = step._replace(
                what=What.CONTENT, content=given.content, mtime_ns=given.mtime_ns, instead_of=given.instead_of
            )
            self._edit(row, told, given.content)
        elif (was.is_executable, was.xattrs) != (row.is_executable != 0, row.xattrs or b""):
            self._edit(row, step, row.content)

    def _bring_back(self, row: Node, was: Was, name: str) -> None:
        """Undelete a node at its old place: with what it held when that is what it held then."""
        is_bare = row.kind == Kind.FOLDER and (row.node_id in self._past.bared or row.state == PURGED)
        given = self._given.get(row.node_id)
        has_other = given is not None and (given.content, was.is_executable) != (row.content, row.is_executable != 0)
        target = was.content.decode(errors="replace") if row.kind == Kind.SYMLINK else ""
        step = Step(
            What.BACK,
            row.node_id,
            was.parent_id,
            name,
            content=given.content if given is not None and (has_other or row.state == PURGED) else b"",
            target=target,
            mtime_ns=was.mtime_ns if given is None else given.mtime_ns,
            is_executable=was.is_executable,
            xattrs=was.xattrs,
            is_subtree=row.kind == Kind.FOLDER and not is_bare,
            instead_of=0 if given is None else given.instead_of,
        )
        seq = self._add(step)
        before = row.cleared_before if row.state == DEAD else row.cleared_seq
        self._view.put(
            replace(
                row,
                parent_id=was.parent_id,
                name=name,
                name_key=name_key(name),
                content=row.content if given is None else given.content,
                state=LIVE,
                deleted_at=None,
                cleared_seq=seq if is_bare else before,
                content_rev=seq,
                place_rev=seq,
                seq=seq,
            )
        )

    def _move(self, row: Node, was: Was, name: str) -> None:
        base = None if row.node_id in self._aside else row.place_rev
        self._aside.discard(row.node_id)
        seq = self._add(Step(What.MOVED, row.node_id, was.parent_id, name, base_rev=base))
        self._view.put(
            replace(row, parent_id=was.parent_id, name=name, name_key=name_key(name), place_rev=seq, seq=seq)
        )

    def _put_aside(self, row: Node) -> None:
        name = _other_name(row.name, self._seq)
        base = None if row.node_id in self._aside else row.place_rev
        seq = self._add(Step(What.ASIDE, row.node_id, row.parent_id, name, base_rev=base))
        self._aside.add(row.node_id)
        self._view.put(replace(row, name=name, name_key=name_key(name), place_rev=seq, seq=seq))

    def _edit(self, row: Node, step: Step, content: bytes) -> None:
        seq = self._add(step)
        self._view.put(replace(row, content=content, content_rev=seq, seq=seq))

    # -- what was not there

    def _trash_the_rest(self) -> None:
        """Put into the trash what lives in the unit and is not wanted there; the upper folders first, so that what is
        in them goes with them."""
        unit, view = self._plan.unit, self._view
        doomed = [n for n in self._past.touched if n in view.nodes and n not in self._is_wanted and n != unit]
        for node_id in sorted(doomed, key=lambda n: (self._depth(n), n)):
            node = view.nodes[node_id]
            is_in = unit == ROOT_NODE or node_id in self._past.linked or view.stands_in(node_id, unit)
            if is_in and node.kind != Kind.MOUNT and node_id not in self._mounted and view.is_live(node):
                self._trash(node)

    def _trash(self, row: Node) -> None:
        seq = self._add(Step(What.TRASH, row.node_id, row.parent_id, row.name))
        self._view.put(replace(row, state=DEAD, cleared_before=row.cleared_seq, cleared_seq=seq, seq=seq))

    def _depth(self, node_id: NodeId) -> int:
        depth = 0
        while (node := self._view.nodes.get(node_id)) is not None and depth <= len(self._view.nodes):
            node_id, depth = node.parent_id, depth + 1
        return depth

    def _keeping(self) -> set[NodeId]:
        """Return the folders in which, now or then, something stands that is wanted or mounted."""
        nodes = self._view.nodes
        mounts = [n for n in self._past.touched if n in nodes and nodes[n].kind == Kind.MOUNT]
        self._mounted = _all_above(self._view, mounts)
        then: set[NodeId] = set()
        for node_id in self._wanted:
            row, was = nodes.get(node_id), self._past.was(node_id)
            # What was removed for good and has no content any more needs no folder.
            is_possible = row is not None and (
                row.state != PURGED or node_id in self._given or row.kind == Kind.SYMLINK
            )
            while is_possible and was is not None and was.parent_id not in then:
                then.add(was.parent_id)
                was = self._past.was(was.parent_id)
        return _all_above(self._view, self._wanted) | self._mounted | then

    def _add(self, step: Step) -> int:
        self._plan.steps.append(step)
        self._seq += 1
        return self._seq


def _all_above(view: View, nodes: Iterable[NodeId]) -> set[NodeId]:
    """Return all that the nodes stand in now, living or not."""
    found: set[NodeId] = set()
    for node_id in nodes:
        node = view.nodes.get(node_id)
        while node is not None and node.parent_id not in found:
            found.add(node.parent_id)
            node = view.nodes.get(node.parent_id)
    return found


def _other_name(name: str, seq: int) -> str:
    """Return a name that nothing has, by which a person still knows what it is."""
    stem, dot, extension = name.rpartition(".")
    if not stem.strip(".") or len(extension) > 16:
        stem, dot, extension = name, "", ""
    suffix = f" (rewind {seq})"
    room = NAME_BYTES_MAX - len((suffix + dot + extension).encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix + dot + extension


async def _given_txn(conn: Connection, past: Past, wanted: Iterable[NodeId]) -> dict[NodeId, Given]:
    """Return what each file can be given: the content that it had, or that of the nearest older version, else of the
    nearest later one; nothing for one that has no content any more."""
    files = {n: was for n in wanted if (was := past.was(n)) is not None and is_file(was.kind)}
    held = "SELECT manifest_id, size FROM manifests WHERE ns = $1 AND refs > 0 AND manifest_id IN {keys}"
    known: dict[bytes, int] = dict(await fetch_in(conn, held, sorted({was.content for was in files.values()}), past.ns))
    given = {n: Given(was.content, was.size, was.mtime_ns) for n, was in files.items() if was.content in known}
    thinned = sorted(set(files).difference(given))
    text = "SELECT node_id, rev, content, size, mtime_ns FROM file_versions WHERE ns = $1 AND node_id IN {keys}"
    nearest: dict[NodeId, tuple[tuple[bool, int], Given]] = {}
    for node_id, rev, content, size, mtime_ns in await fetch_in(conn, text, thinned, past.ns):
        wanted_rev = files[node_id].content_rev
        # An older one before a later one; the nearest of its side.
        rank = (rev > wanted_rev, abs(wanted_rev - rev))
        if node_id not in nearest or rank < nearest[node_id][0]:
            nearest[node_id] = (rank, Given(content, size, mtime_ns, wanted_rev))
    return given | {node_id: found for node_id, (_, found) in nearest.items()}
