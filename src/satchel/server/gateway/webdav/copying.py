"""COPY and MOVE. Invariant: no byte moves, and nothing that stood at the target is lost: a file's earlier state stays a
version, all else goes into the trash.

A copy names the same contents by the same hashes. What replaces a folder begins in one commit with its deletion; when
it fails, what was made goes into the trash and the folder comes back. Source: RFC 4918 (9.8, 9.9, 10.6).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from satchel.core.access import Right
from satchel.core.entries import Entry, Kind
from satchel.core.errors import AlreadyExists, LimitExceeded, PreconditionFailed
from satchel.core.ids import ContentHash, NamespaceId, NodeId
from satchel.core.limits import BLOCKS_PER_COMMIT_MAX, DAV_COPY_NODES_MAX, KIB
from satchel.core.messages import Content, CreateOp, DeleteOp, EditOp, MoveOp, Op, Placement, Stored
from satchel.server.gateway.commits import new_op_id
from satchel.server.gateway.files import new_node_id
from satchel.server.gateway.telling import tell_heads
from satchel.server.gateway.webdav.answers import Answer, ChangedMeanwhile, Refusal
from satchel.server.gateway.webdav.calls import (
    Call,
    Look,
    Place,
    decided,
    existing,
    folder_of,
    stored,
)
from satchel.server.gateway.webdav.dead_properties import copy_properties
from satchel.server.gateway.webdav.locks import drop_locks, unchanged
from satchel.server.gateway.webdav.names import Names, destination_of, is_inside
from satchel.server.metadata.commit import Guard
from satchel.server.metadata.restore import restore_unit
from satchel.server.metadata.tree import list_folder, with_blocklists
from satchel.server.sharing.between import Place as ElsewherePlace
from satchel.server.sharing.between import Replaced, copy_between, move_between

BATCH_OPS_MAX = 500
BLOCK_BYTES_MIN = 256 * KIB
"""No block but a file's last is shorter."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What goes where. in_the_way: what stands at the target and is another node; target: its names; ns: the target's
    namespace, source_ns: the source's."""

    look: Look
    ns: NamespaceId
    source_ns: NamespaceId
    source: Entry
    in_the_way: Entry | None
    target: Names
    parent: NodeId

    @property
    def is_file_onto_file(self) -> bool:
        """Whether a file takes another one's place: that one gets a new version then."""
        return self.source.kind == Kind.FILE and self.in_the_way is not None and self.in_the_way.kind == Kind.FILE

    @property
    def head_seq(self) -> int:
        """How far the namespace was before anything was looked at."""
        return self.look.heads.get(self.ns, 0)

    @property
    def place(self) -> ElsewherePlace:
        """Where it goes when that is another namespace."""
        replaced = None if self.in_the_way is None else Replaced(self.in_the_way, self.head_seq)
        return ElsewherePlace(self.ns, self.parent, self.target[-1], replaced)

    @property
    def answer(self) -> Answer:
        """What is answered when it is done."""
        return Answer(201 if self.in_the_way is None else 204)


async def copy(call: Call) -> Answer:
    """Copy a file, or a folder with all in it or (depth 0) alone."""
    depth = call.depth("infinity")
    if depth == "1":
        raise Refusal(400, "A COPY is of depth 0 or infinity.")

    async def attempt() -> Answer:
        plan = await _planned(call, is_move=False)
        if plan.source_ns != plan.ns:
            await _copy_elsewhere(call, plan, is_deep=depth == "infinity")
            return plan.answer
        if plan.is_file_onto_file:
            await _edit_target(call, plan)
            return plan.answer
        nodes = [plan.source]
        if depth == "infinity" and plan.source.kind == Kind.FOLDER:
            nodes += await _below(call, plan)
        await _copy_nodes(call, plan, nodes)
        return plan.answer

    return await decided(attempt)


async def move(call: Call) -> Answer:
    """Move or rename a file or folder."""
    if call.depth("infinity") != "infinity":
        raise Refusal(400, "A MOVE takes all along.")

    async def attempt() -> Answer:
        plan = await _planned(call, is_move=True)
        look, source = plan.look, plan.source
        if plan.source_ns != plan.ns:
            await _move_elsewhere(call, plan)
        elif plan.is_file_onto_file:
            await _edit_target(call, plan)
            # The bytes are at the target now. What changed in the source since it was looked at keeps it there.
            await call.commit(look, plan.ns, DeleteOp(new_op_id(call.services), source.node_id, plan.head_seq))
        else:
            placement = Placement(source.node_id, source.place_rev, plan.parent, plan.target[-1])
            await _replace(call, plan, _alone(MoveOp(new_op_id(call.services), (placement,))))
        await drop_locks(call.services.db, plan.source_ns, look.locks[plan.source_ns].within(source.node_id))
        return plan.answer

    return await decided(attempt)


async def _planned(call: Call, *, is_move: bool) -> _Plan:
    """Look, and accept what can be done. Raises: NotFound, Refusal."""
    target = destination_of(call.scope, public_url=call.services.settings.public_url)
    overwrite = call.header(b"overwrite").upper() or "T"
    if overwrite not in ("T", "F"):
        raise Refusal(400, "The Overwrite header is neither T nor F.")
    look = await call.look(target)
    at_source, at_target = look.places
    source = existing(at_source)
    if not call.names or not target:
        raise Refusal(403, "The root folder itself is neither moved nor replaced.")
    is_same = at_target.entry is not None and at_target.entry.node_id == source.node_id
    if is_same and (not is_move or at_target.entry is None or at_target.entry.name == target[-1]):
        raise Refusal(403, "Source and target are the same.")
    if not is_same and at_source.is_folder and is_inside(target, call.names):
        raise Refusal(403, "A folder cannot go into itself.")
    if at_target.is_folder and not is_same and is_inside(call.names, target):
        raise Refusal(403, "What it is in cannot be replaced by it.")
    await call.may(at_target.ns, *((Right.WRITE, Right.DELETE) if is_move else (Right.WRITE,)))
    in_the_way = None if is_same else at_target.entry
    if Kind.MOUNT in (None if in_the_way is None else in_the_way.kind, None if is_move else source.kind):
        raise Refusal(403, "A shared folder is neither replaced nor copied as a whole.")
    if in_the_way is not None and overwrite == "F":
        raise Refusal(412, "There is something at the target.")
    _check_locks(call, look, at_source, at_target, is_move=is_move)
    return _Plan(look, at_target.ns, at_source.ns, source, in_the_way, target, folder_of(at_target))


def _check_locks(call: Call, look: Look, at_source: Place, at_target: Place, *, is_move: bool) -> None:
    under, units = at_target.own + at_target.above, at_target.own
    if is_move:
        under, units = under + at_source.own + at_source.above, units + at_source.own
    look.require(call.principal, under, units)


async def _move_elsewhere(call: Call, plan: _Plan) -> None:
    """Move into another namespace; what stands there is replaced in the same transaction."""
    services, guards = call.services, _guards(call, plan)
    with _looked_again():
        await move_between(services.db, services.clock, call.principal, plan.source_ns, plan.source, plan.place, guards)
    await tell_heads(services, (plan.source_ns, plan.ns))


async def _copy_elsewhere(call: Call, plan: _Plan, *, is_deep: bool) -> None:
    """Copy into another namespace, as `_move_elsewhere`."""
    services = call.services
    with _looked_again():
        await copy_between(
            services.db,
            services.clock,
            call.principal,
            plan.source_ns,
            plan.source,
            plan.place,
            is_deep=is_deep,
            guards=_guards(call, plan),
        )
    await tell_heads(services, (plan.ns,))


@contextmanager
def _looked_again() -> Iterator[None]:
    """Let what changed since the look be looked at again. Raises: ChangedMeanwhile."""
    try:
        yield
    except (PreconditionFailed, AlreadyExists) as fault:
        raise ChangedMeanwhile from fault


def _guards(call: Call, plan: _Plan) -> list[Guard]:
    """Return what looks at the locks of both namespaces again, inside the transaction."""
    locks = plan.look.locks
    return [unchanged(call.services.clock, locks[ns]) for ns in sorted({plan.source_ns, plan.ns})]


async def _edit_target(call: Call, plan: _Plan) -> None:
    """Give the file at the target the source's content, as a new version, and the source's properties."""
    source, target = plan.source, plan.in_the_way
    assert target is not None
    [content] = await _contents(call, plan, [source])
    bit = source.is_executable
    edit = EditOp(
        new_op_id(call.services), target.node_id, target.content_rev, content, "", source.mtime_ns, bit, source.xattrs
    )
    await call.commit(plan.look, plan.ns, edit)
    await copy_properties(call.services.db, plan.ns, [(source.node_id, target.node_id)])


async def _copy_nodes(call: Call, plan: _Plan, nodes: Sequence[Entry]) -> None:
    """Make nodes like these at the target, folders before what is in them."""
    copies = {entry.node_id: new_node_id(call.services) for entry in nodes}

    async def made() -> AsyncIterator[list[Op]]:
        for batch in _batches(nodes):
            contents = await _contents(call, plan, batch)
            yield [_created(call, plan, each, content, copies) for each, content in zip(batch, contents, strict=True)]

    await _replace(call, plan, made(), made=copies[plan.source.node_id])
    await copy_properties(call.services.db, plan.ns, list(copies.items()))


async def _replace(call: Call, plan: _Plan, batches: AsyncIterator[list[Op]], *, made: NodeId | None = None) -> None:
    """Do what is to be done at the target, after what stands there went into the trash; all of it, or nothing.

    made: the node that the first op makes.
    """
    look, ns, in_the_way = plan.look, plan.ns, plan.in_the_way
    is_first, is_deleted = True, False
    try:
        async for ops in batches:
            if is_first and in_the_way is not None:
                gone = DeleteOp(new_op_id(call.services), in_the_way.node_id, plan.head_seq)
                deleted, *outcomes = await call.outcomes(look, ns, gone, *ops)
                is_deleted = isinstance(deleted, Stored) and deleted.seq > 0
                outcomes = [deleted, *outcomes]
            else:
                outcomes = list(await (call.outcomes(look, ns, *ops) if is_first else call.further(ns, *ops)))
            is_first = False
            for outcome in outcomes:
                stored(outcome)
    except Exception:
        if made is not None and not is_first:
            # Half a copy looks like a whole one.
            await call.further(ns, DeleteOp(new_op_id(call.services), made, (await call.heads()).get(ns, 0)))
        if is_deleted and in_the_way is not None:
            await _bring_back(call, ns, in_the_way)
        raise


async def _bring_back(call: Call, ns: NamespaceId, entry: Entry) -> None:
    services = call.services
    back = await restore_unit(services.db, services.clock, call.principal, ns, entry.node_id)
    if isinstance(back, Stored) and back.seq:
        await services.bus.publish(ns, back.seq)


async def _below(call: Call, plan: _Plan) -> list[Entry]:
    """Return all that is in a folder, what is nearer to it first. Raises: LimitExceeded."""
    found: list[Entry] = []
    waiting = [plan.source.node_id]
    while waiting:
        after, node_id = "", waiting.pop(0)
        while page := await list_folder(call.services.db, call.principal, plan.ns, node_id, after):
            found += [entry for entry in page if entry.kind != Kind.MOUNT]
            waiting += [entry.node_id for entry in page if entry.kind == Kind.FOLDER]
            after = page[-1].name_key
            if len(found) >= DAV_COPY_NODES_MAX:
                raise LimitExceeded(
                    "The folder holds too much to be copied at once.",
                    limit="DAV_COPY_NODES_MAX",
                    maximum=DAV_COPY_NODES_MAX,
                    actual=len(found) + 1,
                )
    return found


async def _contents(call: Call, plan: _Plan, entries: Sequence[Entry]) -> list[Content | None]:
    """Return the content of each, None for what is no file. Raises: ChangedMeanwhile when one is gone."""
    told = await with_blocklists(call.services.db, plan.ns, entries, blocks_max=BLOCKS_PER_COMMIT_MAX)
    if any(entry.kind == Kind.FILE and entry.size and not entry.blocks for entry in told):
        raise ChangedMeanwhile
    return [
        Content(ContentHash(entry.content), entry.blocks, entry.size) if entry.kind == Kind.FILE else None
        for entry in told
    ]


def _created(call: Call, plan: _Plan, entry: Entry, content: Content | None, copies: dict[NodeId, NodeId]) -> CreateOp:
    is_top = entry.node_id == plan.source.node_id
    return CreateOp(
        new_op_id(call.services),
        copies[entry.node_id],
        plan.parent if is_top else copies[entry.parent_id],
        plan.target[-1] if is_top else entry.name,
        entry.kind,
        content,
        entry.content.decode() if entry.kind == Kind.SYMLINK else "",
        entry.mtime_ns,
        entry.is_executable,
        entry.xattrs,
    )


async def _alone(op: Op) -> AsyncIterator[list[Op]]:
    yield [op]


def _batches(nodes: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Yield parts that fit into a commit: so many ops, and no more blocks than one takes."""
    batch: list[Entry] = []
    blocks = 0
    for entry in nodes:
        more = entry.size // BLOCK_BYTES_MIN + 1
        if batch and (len(batch) >= BATCH_OPS_MAX or blocks + more > BLOCKS_PER_COMMIT_MAX):
            yield batch
            batch, blocks = [], 0
        batch.append(entry)
        blocks += more
    yield batch
