"""Scenarios of the service: its own rooms on SQLite and local packs, one request at a time, and a start afterwards.

Invariant checked: the state is the one before or the one after, and the one after when the request was acknowledged;
the journal has no gap; each content that a live file names is whole; the same request again ends in the state after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import apsw

from satchel.core.entries import Entry, Kind
from satchel.core.errors import Fault
from satchel.core.hashing import block_hash, unpack_blocks
from satchel.core.ids import ROOT_NODE, BlockHash, LinkId, NamespaceId, NodeId, OpId, PackId, Tag
from satchel.core.messages import (
    CODEC_RAW,
    AttrOp,
    ChangesRequest,
    CommitRequest,
    CreateOp,
    DeleteOp,
    EditOp,
    MoveOp,
    Op,
    Placement,
    Position,
    PutRequest,
    Stored,
    UndeleteOp,
    WireBlock,
)
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import authenticate, list_users, register_account, register_device
from satchel.server.adapters.blocks_local import LOG_BYTES_MAX, LocalBlocks
from satchel.server.blocks.packs import pack_name
from satchel.server.blocks.service import BlockService
from satchel.server.db.opening import open_database
from satchel.server.db.schema import begin_run, migrate, new_epoch, store_facts
from satchel.server.db.sqlite import SqliteDatabase
from satchel.server.feed.service import changes
from satchel.server.metadata.commit import commit
from satchel.server.metadata.restore import restore_unit, restore_version
from satchel.server.metadata.tree import blocklist_of
from satchel.simulation.core_remote import CountingClock
from satchel.simulation.stores import InlineWorkers
from tests.crash.scenario import DONE, Scenario, Tell, Work
from tests.support.writers import content_of

LINK = LinkId(b"L" * 16)
DOCS, NOTE, LIST, NEW = (NodeId(letter * 16) for letter in (b"d", b"n", b"l", b"w"))
ONE, TWO, THREE = b"one " * 400, b"two " * 500, b"".join(block_hash(b"%d" % at) for at in range(600))
State = dict[str, bytes | None]
BEFORE: State = {"docs": None, "docs/note": ONE, "list": TWO}
T = TypeVar("T")
_TOKEN = "token"
OLD_PACK = pack_name(PackId(b"p" * 16))


def op_id(number: int) -> OpId:
    """Return an op id of these scenarios."""
    return OpId(number.to_bytes(16, "big"))


class Service:
    """The rooms on a folder. `run` drives a coroutine on a loop that stays open: its pipes are not under test."""

    def __init__(self, folder: Path, *, log_bytes_max: int = LOG_BYTES_MAX, start: int = 1) -> None:
        self._runner = asyncio.Runner()
        self._runner.get_loop()
        self.folder = folder
        self.clock = CountingClock()
        # A later start is at a later time and draws other random bytes, as in the world.
        self.clock._looks = start * 1_000_000
        self.db = SqliteDatabase(str(folder / "satchel.db"), self.clock, readers=1)
        self.store = LocalBlocks(str(folder / "blocks"), log_bytes_max=log_bytes_max)
        self.blocks = BlockService(self.store, self.db, self.clock, InlineWorkers())
        # The threads that are made at first need are made now, so that the tracer holds them too.
        self.run(self.store.names("none"))
        self.run(asyncio.to_thread(int))

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self._runner.run(awaited())

    def close(self) -> None:
        async def closing() -> None:
            await self.store.close()
            await self.db.close()

        self.run(closing())
        self._runner.close()

    async def principal(self) -> Principal:
        return await authenticate(self.db, (self.folder / _TOKEN).read_text())

    async def put(self, *datas: bytes) -> None:
        """Store blocks by the route that large files take."""
        ns = (await self.principal()).root_ns
        wires = tuple(_wire(data) for data in datas)
        reply = await self.blocks.put(PutRequest(NamespaceId(ns), wires), datas)
        assert set(reply.stored) == {wire.hash for wire in wires}

    async def commit(self, *ops: Op, inline: Sequence[bytes] = ()) -> None:
        """Commit ops that must all hold, small contents inside the request."""
        principal = await self.principal()
        wires = [_wire(data) for data in inline]
        placed = await self.blocks.store(principal.root_ns, list(zip(wires, inline, strict=True)))
        request = CommitRequest(principal.root_ns, LINK, ops, tuple(wires))
        reply = await commit(self.db, self.clock, principal, request, placed)
        assert all(isinstance(outcome, Stored) for outcome in reply.outcomes), reply

    async def require(self, datas: Sequence[bytes]) -> None:
        """Read blocks back. Raises: BlockDamaged."""
        ns = (await self.principal()).root_ns
        assert await self.blocks.read_bytes(ns, [BlockHash(block_hash(data)) for data in datas]) == list(datas)

    async def entries(self) -> list[Entry]:
        """Read the whole journal. Raises: AssertionError for a gap."""
        principal = await self.principal()
        asked = ChangesRequest(Position(principal.root_ns, 0, Tag(b"")), LinkId(b"reader"), with_content=False)
        page, _ = await changes(self.db, self.blocks, principal, asked)
        seqs = [entry.seq for entry in page.entries]
        assert seqs == list(range(1, len(seqs) + 1)), f"the journal has gaps: {seqs}"
        assert page.head_seq == len(seqs), f"the head is {page.head_seq}, the journal ends at {len(seqs)}"
        return list(page.entries)

    async def state(self) -> State:
        """Return path -> bytes of all that lives, read back from the packs."""
        principal = await self.principal()
        nodes: dict[NodeId, Entry] = {entry.node_id: entry for entry in await self.entries()}
        found: State = {}
        for entry in nodes.values():
            path = _live_path(nodes, entry)
            if not path:
                continue
            found[path] = None
            if entry.kind == Kind.FILE:
                blocks = await blocklist_of(self.db, principal.root_ns, entry.content)  # type: ignore[arg-type]
                names = [block.hash for block in unpack_blocks(blocks)]
                found[path] = b"".join(bytes(one) for one in await self.blocks.read_bytes(principal.root_ns, names))
        return found


def _live_path(nodes: dict[NodeId, Entry], entry: Entry) -> str:
    if not entry.is_live:
        return ""
    if entry.parent_id == ROOT_NODE:
        return entry.name
    parent = nodes.get(entry.parent_id)
    above = _live_path(nodes, parent) if parent else ""
    return f"{above}/{entry.name}" if above else ""


def _wire(data: bytes) -> WireBlock:
    return WireBlock(BlockHash(block_hash(data)), len(data), CODEC_RAW, len(data))


def create(number: int, node: NodeId, name: str, data: bytes | None, parent: NodeId = ROOT_NODE) -> CreateOp:
    """Return an op that makes a file, or a folder for None."""
    kind = Kind.FOLDER if data is None else Kind.FILE
    return CreateOp(op_id(number), node, parent, name, int(kind), None if data is None else content_of(data))


async def furnished(service: Service) -> None:
    """Make the account and the three nodes that each scenario begins with."""
    await migrate(service.db, service.clock)
    await begin_run(service.db)
    account = await register_account(service.db, service.clock, name="ann", password_hash="none")
    token, _ = await register_device(service.db, service.clock, account_id=account.account_id, name="laptop")
    (service.folder / _TOKEN).write_text(token)
    made = create(1, DOCS, "docs", None), create(2, NOTE, "note", ONE, DOCS), create(3, LIST, "list", TWO)
    await service.commit(*made, inline=[ONE, TWO])


Act = Callable[[Service], Awaitable[object]]


def start_again(folder: Path) -> Service:
    """Open the service as its next start does. Raises: what such a start would die of."""
    service = Service(folder, start=2)

    async def starting() -> None:
        await migrate(service.db, service.clock)
        await begin_run(service.db)

    service.run(starting())
    return service


def damage(folder: Path) -> list[str]:
    """Return what SQLite finds wrong with the database file."""
    raw = apsw.Connection(str(folder / "satchel.db"))
    try:
        found = [row[0] for row in raw.execute("PRAGMA integrity_check")]
        found += [f"foreign key: {row}" for row in raw.execute("PRAGMA foreign_key_check")]
    finally:
        raw.close()
    return [one for one in found if one != "ok"]


def _request(
    name: str,
    act: Act,
    after: State,
    *,
    prepare: Act | None = None,
    before: State | None = None,
    log_bytes_max: int = LOG_BYTES_MAX,
    stored: Sequence[bytes] = (),
    gone: str = "",
) -> Scenario:
    """A request on a running service. before, after: the states around it.

    stored: blocks that are there when it is done. gone: an object of the store that is not.
    """
    begins_as = BEFORE if before is None else before

    def begin(folder: Path) -> Work:
        service = Service(folder, log_bytes_max=log_bytes_max)
        service.run(furnished(service))
        if prepare is not None:
            service.run(prepare(service))

        def work(tell: Tell) -> None:
            service.run(act(service))
            tell(DONE)

        return work

    def check(folder: Path, told: Sequence[str]) -> list[str]:
        service = start_again(folder)
        wrong: list[str] = []
        try:
            state = service.run(service.state())
            if state not in (begins_as, after):
                wrong.append(f"neither before nor after: {_short(state)}")
            if DONE in told and state != after:
                wrong.append(f"acknowledged, and not there: {_short(state)}")
            if DONE in told:
                service.run(service.require(stored))
                wrong += [f"{name} came back" for name in service.run(service.store.names(gone))] if gone else []
            service.run(act(service))
            state = service.run(service.state())
            if state != after:
                wrong.append(f"the same request again ends in {_short(state)}")
        finally:
            service.close()
        return wrong + damage(folder)

    return Scenario(f"server: {name}", begin, check)


def _short(state: object) -> object:
    if not isinstance(state, dict):
        return state
    return {path: data if data is None else f"{len(data)} bytes" for path, data in state.items()}


async def _put_three(service: Service) -> None:
    await service.put(ONE + b"!", TWO + b"!", THREE)


async def _put_many(service: Service) -> None:
    """Several puts at once, into logs so short that each begins a new one."""
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(service.put(THREE + bytes([number])))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed


async def _large(service: Service) -> None:
    await service.put(THREE, ONE + THREE)
    op = CreateOp(op_id(20), NEW, ROOT_NODE, "new", int(Kind.FILE), content_of(THREE, ONE + THREE))
    await service.commit(op)


async def _edit(service: Service) -> None:
    await service.commit(EditOp(op_id(21), LIST, 3, content_of(THREE)), inline=[THREE])


async def _delete(service: Service) -> None:
    await service.commit(DeleteOp(op_id(22), DOCS, 3))


async def _again(service: Service) -> None:
    await service.commit(UndeleteOp(op_id(23), DOCS, ROOT_NODE, "docs", is_subtree=True))


async def _restore_unit(service: Service) -> None:
    state = await service.state()
    if "docs" not in state:
        await restore_unit(
            service.db, service.clock, await service.principal(), (await service.principal()).root_ns, DOCS
        )


async def _restore_version(service: Service) -> None:
    if (await service.state())["list"] != TWO:
        principal = await service.principal()
        await restore_version(service.db, service.clock, principal, principal.root_ns, LIST, 3)


async def _swap(service: Service) -> None:
    await service.commit(
        MoveOp(op_id(24), (Placement(NOTE, 2, ROOT_NODE, "list"), Placement(LIST, 3, DOCS, "note"))),
    )


async def _batch(service: Service) -> None:
    made = (
        create(25, NEW, "new", THREE),
        MoveOp(op_id(26), (Placement(LIST, 3, DOCS, "moved"),)),
        AttrOp(op_id(27), NOTE, 2, True),
    )
    await service.commit(*made, inline=[THREE])


async def _user(service: Service) -> None:
    if "bob" not in [account.name for account in await list_users(service.db)]:
        await register_account(service.db, service.clock, name="bob", password_hash="none")


async def _epoch(service: Service) -> None:
    await new_epoch(service.db, service.clock)


async def _old_pack(service: Service) -> None:
    path = service.folder / "blocks" / OLD_PACK
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"old")


async def _drop_pack(service: Service) -> None:
    """Delete an object of the store that no row names, as upkeep does."""
    await service.store.delete(OLD_PACK)


REQUESTS = (
    _request("put one block", lambda service: service.put(THREE), BEFORE, stored=[THREE]),
    _request("put several blocks", _put_three, BEFORE, stored=[ONE + b"!", TWO + b"!", THREE]),
    _request("put from several callers at once", _put_many, BEFORE, log_bytes_max=1000,
             stored=[THREE + bytes([number]) for number in range(4)]),
    _request("commit a small new file", lambda s: s.commit(create(10, NEW, "new", THREE), inline=[THREE]),
             BEFORE | {"new": THREE}),
    _request("commit a file of several blocks", _large, BEFORE | {"new": THREE + ONE + THREE}),
    _request("commit into a new pack", lambda s: s.commit(create(10, NEW, "new", THREE), inline=[THREE]),
             BEFORE | {"new": THREE}, log_bytes_max=1000),
    _request("commit an edit", _edit, BEFORE | {"list": THREE}),
    _request("commit a move", lambda s: s.commit(MoveOp(op_id(28), (Placement(LIST, 3, DOCS, "moved"),))),
             {"docs": None, "docs/note": ONE, "docs/moved": TWO}),
    _request("commit a swap", _swap, {"docs": None, "docs/note": TWO, "list": ONE}),
    _request("commit a folder's deletion", _delete, {"list": TWO}),
    _request("commit an undeletion", _again, BEFORE, prepare=_delete, before={"list": TWO}),
    _request("commit several operations", _batch, {"docs": None, "docs/note": ONE, "docs/moved": TWO, "new": THREE}),
    _request("restore a folder", _restore_unit, BEFORE, prepare=_delete, before={"list": TWO}),
    _request("restore a version", _restore_version, BEFORE, prepare=_edit, before=BEFORE | {"list": THREE}),
    _request("add a user", _user, BEFORE),
    _request("a new epoch", _epoch, BEFORE),
    _request("delete a pack", _drop_pack, BEFORE, prepare=_old_pack, gone=OLD_PACK),
    _request("probe the store", lambda service: service.store.probe(), BEFORE),
)  # fmt: skip


# -- starts and stops -------------------------------------------------------------------------------------------------


def _stop_begin(folder: Path) -> Work:
    service = Service(folder)
    service.run(furnished(service))

    def work(tell: Tell) -> None:
        service.run(service.store.close())
        service.run(service.db.close())
        tell(DONE)

    return work


def _state_is_before(folder: Path, told: Sequence[str]) -> list[str]:
    service = start_again(folder)
    try:
        state = service.run(service.state())
    finally:
        service.close()
    return [*([] if state == BEFORE else [f"the state is {_short(state)}"]), *damage(folder)]


def _restart_begin(folder: Path) -> Work:
    first = Service(folder)
    first.run(furnished(first))
    first.close()

    async def starting() -> None:
        db = await open_database(f"sqlite:///{folder}/satchel.db", CountingClock())
        await begin_run(db)
        store = LocalBlocks(str(folder / "blocks"))
        await store.probe()

    def work(tell: Tell) -> None:
        asyncio.run(starting())
        tell(DONE)

    return work


def _first_begin(folder: Path) -> Work:
    """The very first start: no file is there yet."""

    async def starting() -> None:
        db = await open_database(f"sqlite:///{folder}/satchel.db", CountingClock())
        await begin_run(db)
        LocalBlocks(str(folder / "blocks"))

    def work(tell: Tell) -> None:
        asyncio.run(starting())
        tell(DONE)

    return work


def _first_check(folder: Path, told: Sequence[str]) -> list[str]:
    service = start_again(folder)
    wrong: list[str] = []
    try:
        facts = service.run(store_facts(service.db))
        run = getattr(facts, "run", 0)
        if DONE in told and run != 2:
            wrong.append(f"this is start {run} and not the second")
        service.run(furnished(service))
        if (state := service.run(service.state())) != BEFORE:
            wrong.append(f"the new service does not work: {_short(state)}")
    except Fault as fault:
        wrong.append(f"the new service does not work: {fault!r}")
    finally:
        service.close()
    return wrong + damage(folder)


SCENARIOS = (
    *REQUESTS,
    Scenario("server: stop", _stop_begin, _state_is_before, is_threaded=True),
    Scenario("server: start again", _restart_begin, _state_is_before, is_threaded=True),
    Scenario("server: first start", _first_begin, _first_check, is_threaded=True),
)
