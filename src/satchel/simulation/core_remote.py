"""A `Remote` without a network: the service's own rooms in this process, on a database and a store in memory.

It passes the contract suite of the port beside the real service, and it never suspends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from satchel.core.entries import Action, Entry, Kind
from satchel.core.errors import Unavailable
from satchel.core.hashing import block_hash
from satchel.core.ids import (
    ID_BYTES,
    ROOT_NODE,
    BlockHash,
    ContentHash,
    DeviceId,
    LinkId,
    NamespaceId,
    NodeId,
    OpId,
)
from satchel.core.messages import (
    Changes,
    ChangesRequest,
    CommitReply,
    CommitRequest,
    CreateOp,
    DeleteOp,
    GetRequest,
    Hello,
    ManifestsRequest,
    MoveOp,
    NamespacesReply,
    Op,
    Placement,
    PutRequest,
    ScopeReply,
    ScopeRequest,
    SnapshotPage,
    SnapshotRequest,
    Stored,
    StreamFrame,
)
from satchel.device.drive import drive
from satchel.device.ports import OutgoingBlock
from satchel.device.wire_blocks import opened_all, wire
from satchel.server.accounts.link_runs import begin_link_run, holds_link
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import register_account
from satchel.server.blocks.service import BlockService
from satchel.server.db.engine import Connection
from satchel.server.db.schema import migrate
from satchel.server.db.sqlite import InlineSqliteDatabase
from satchel.server.feed.scopes import store_scope
from satchel.server.feed.service import changes, manifests, snapshot
from satchel.server.metadata.commit import commit
from satchel.server.metadata.journal import read_txn
from satchel.server.metadata.namespaces import namespaces
from satchel.server.metadata.nodes import image_of
from satchel.server.metadata.restore import restore_unit, restore_version
from satchel.server.metadata.rewind import rewind
from satchel.simulation.broken import Broken
from satchel.simulation.stores import InlineWorkers, MemoryBlocks

SENT_MAX = 1_000
"""So many entries are told at once of what was sent."""


class CountingClock:
    """A clock of the service that counts up a millisecond a look; its randomness is a hash of a counter."""

    def __init__(self) -> None:
        self._looks = 0

    def now_ms(self) -> int:
        self._looks += 1
        return 1_800_000_000_000 + self._looks

    def random(self, count: int) -> bytes:
        self._looks += 1
        return b"".join(block_hash(b"%d-%d" % (self._looks, part)) for part in range(-(-count // 32)))[:count]

    async def sleep_s(self, seconds: float) -> None:
        return None

    def used_s(self) -> float:
        return 0.0


class CoreService:
    """One service in memory with one account, made by `await CoreService.start()`; `remote()` signs a device in."""

    def __init__(self) -> None:
        self.db = InlineSqliteDatabase()
        self.clock = CountingClock()
        self.store = MemoryBlocks()
        self.blocks = BlockService(self.store, self.db, self.clock, InlineWorkers())
        self.ns = NamespaceId(b"")
        self._principal: Principal | None = None
        self._devices = 0

    @classmethod
    async def start(cls) -> CoreService:
        service = cls()
        await service.begin()
        return service

    async def begin(self) -> None:
        """Make the tables and the account."""
        await migrate(self.db, self.clock)
        await self.add_account("ann")

    async def add_account(self, name: str) -> None:
        """Make an account; `ns` and `remote()` are its from now on."""
        account = await register_account(self.db, self.clock, name=name, password_hash="none")
        self._principal = Principal(
            account_id=account.account_id,
            account_name=account.name,
            device_id=DeviceId(bytes(16)),
            device_name="none",
            root_ns=account.root_ns,
            is_admin=False,
        )
        self.ns = account.root_ns

    def remote(self) -> CoreRemote:
        """Return the service as one more device of the account sees it."""
        assert self._principal is not None
        self._devices += 1
        device = DeviceId(self._devices.to_bytes(16, "big"))
        return CoreRemote(
            self,
            Principal(
                account_id=self._principal.account_id,
                account_name=self._principal.account_name,
                device_id=device,
                device_name=f"device {self._devices}",
                root_ns=self._principal.root_ns,
                is_admin=False,
            ),
        )


class CoreRemote:
    """The `Remote` port, straight onto the rooms. The stream is always silent: what it loses, polling finds."""

    def __init__(self, service: CoreService, principal: Principal) -> None:
        self._service = service
        self._principal = principal

    @property
    def principal(self) -> Principal:
        """Who signs in."""
        return self._principal

    async def rights(self) -> dict[NamespaceId, bool]:
        """Return the namespaces that the account can read, and whether it can write there."""
        reply = await namespaces(self._service.db, self._principal)
        return {head.ns: head.can_write for head in reply.namespaces}

    @property
    def device_id(self) -> DeviceId:
        """As whom the service knows the device."""
        return self._principal.device_id

    async def commit(self, request: CommitRequest, bodies: Sequence[bytes]) -> CommitReply:
        service = self._service
        placed = await service.blocks.store(request.ns, list(zip(request.inline, bodies, strict=True)))
        return await commit(service.db, service.clock, self._principal, request, placed)

    async def put_blocks(self, ns: NamespaceId, blocks: Sequence[OutgoingBlock]) -> tuple[BlockHash, ...]:
        request = PutRequest(ns, tuple(wire(block) for block in blocks))
        return (await self._service.blocks.put(request, [block.body for block in blocks])).stored

    async def get_blocks(self, ns: NamespaceId, hashes: Sequence[BlockHash]) -> dict[BlockHash, bytes]:
        reply, bodies = await self._service.blocks.get(GetRequest(ns, tuple(hashes)))
        return opened_all(reply.blocks, [memoryview(body) async for body in bodies])

    async def changes(self, request: ChangesRequest) -> tuple[Changes, dict[BlockHash, bytes]]:
        page, bodies = await changes(self._service.db, self._service.blocks, self._principal, request)
        return page, opened_all(page.inline, [memoryview(body) for body in bodies])

    async def snapshot(self, request: SnapshotRequest) -> SnapshotPage:
        return await snapshot(self._service.db, self._principal, request)

    async def manifests(self, ns: NamespaceId, ids: Sequence[ContentHash]) -> dict[ContentHash, bytes]:
        return dict((await manifests(self._service.db, self._principal, ManifestsRequest(ns, tuple(ids)))).manifests)

    async def namespaces(self) -> NamespacesReply:
        return await namespaces(self._service.db, self._principal)

    async def set_scope(self, request: ScopeRequest) -> ScopeReply:
        return await store_scope(self._service.db, self._principal, request)

    async def begin_run(self, hello: Hello) -> int:
        """Take the run of a hello, as the gateway does; not 0 for a link that was restored or copied."""
        return await begin_link_run(self._service.db, self._principal, hello.link, hello.run)

    async def holds_run(self, hello: Hello) -> bool:
        """Tell whether the start that said this hello still has its link, as the gateway asks now and then."""
        return await holds_link(self._service.db, self._principal, hello.link, hello.run)

    async def deletions(self, ns: NamespaceId, last_seq: int) -> list[str]:
        """Return the names of all that was ever deleted in the namespace, up to `last_seq`."""

        async def read_txn_(conn: Connection) -> list[str]:
            rows = await read_txn(conn, ns, after=0, limit=last_seq + 1)
            return [image_of(row.post).name for row in rows if row.action == Action.DELETE]

        return await self._service.db.read(read_txn_)

    async def delete(self, ns: NamespaceId, node_id: NodeId, seen_seq: int) -> bool:
        """Delete a node with all below, as a person in a browser does. Result, here and below: whether it is done."""
        return await self._do(ns, DeleteOp(self._op_id(), node_id, seen_seq))

    async def bring_back(self, ns: NamespaceId, node_id: NodeId) -> bool:
        """Bring it back with all that its deletion took along, as a person in a browser does."""
        outcome = await restore_unit(self._service.db, self._service.clock, self._principal, ns, node_id)
        return isinstance(outcome, Stored)

    async def make_folder(self, ns: NamespaceId, parent: NodeId, name: str) -> bool:
        """Make a folder there, if the name is free, as a person in a browser does."""
        return await self._do(
            ns, CreateOp(self._op_id(), NodeId(self._service.clock.random(ID_BYTES)), parent, name, int(Kind.FOLDER))
        )

    async def move(self, ns: NamespaceId, moves: Sequence[tuple[Entry, NodeId, str]]) -> bool:
        """Give nodes other places, all at once or none, as a person in a browser does. moves: node, folder, name."""
        placements = [Placement(entry.node_id, entry.place_rev, parent, name) for entry, parent, name in moves]
        return await self._do(ns, MoveOp(self._op_id(), tuple(placements)))

    async def versions(self, ns: NamespaceId, node_id: NodeId) -> list[int]:
        """Return the revs of a file's versions."""

        async def read_txn_(conn: Connection) -> list[int]:
            query = "SELECT rev FROM file_versions WHERE ns = $1 AND node_id = $2 ORDER BY rev"
            return [row[0] for row in await conn.fetch(query, ns, node_id)]

        return await self._service.db.read(read_txn_)

    async def bring_back_version(self, ns: NamespaceId, node_id: NodeId, rev: int) -> bool:
        """Give a file an earlier content, as a person in a browser does."""
        service = self._service
        outcome = await restore_version(service.db, service.clock, self._principal, ns, node_id, rev)
        return isinstance(outcome, Stored)

    async def rewind(self, ns: NamespaceId, to_seq: int) -> bool:
        """Lead all back to what it was, as a person in a browser does."""
        service = self._service
        done = await rewind(service.db, service.clock, InlineWorkers(), self._principal, ns, ROOT_NODE, to_seq)
        return done.head_seq > 0

    def _op_id(self) -> OpId:
        return OpId(self._service.clock.random(ID_BYTES))

    async def _do(self, ns: NamespaceId, op: Op) -> bool:
        reply = await self.commit(CommitRequest(ns, LinkId(b""), (op,)), ())
        return isinstance(reply.outcomes[0], Stored)

    async def sent(self, ns: NamespaceId, last_seq: int) -> list[tuple[int, str, DeviceId]]:
        """Return what was done after that seq, to which name, and by which device."""

        async def read_txn_(conn: Connection) -> list[tuple[int, str, DeviceId]]:
            rows = await read_txn(conn, ns, after=last_seq, limit=SENT_MAX)
            return [(row.action, image_of(row.post).name, row.device) for row in rows]

        return await self._service.db.read(read_txn_)

    async def open_stream(self, hello: Hello) -> None:
        raise Unavailable("This service has no stream.", where="core", reason="stream")

    async def next_frame(self, timeout_s: float) -> tuple[StreamFrame, dict[BlockHash, bytes]] | None:
        raise Unavailable("This service has no stream.", where="core", reason="stream")

    async def close_stream(self) -> None:
        return None

    async def close(self) -> None:
        return None


def snapshot_of(core: CoreRemote, ns: NamespaceId) -> list[Entry]:
    """Return a whole namespace, as a new device would get it. Raises: NotFound."""
    found: dict[bytes, Entry] = {}
    after, seq = ROOT_NODE, -1
    while True:
        page = drive(core.snapshot(SnapshotRequest(ns, ROOT_NODE, after, seq, with_xattrs=True)))
        found |= {entry.node_id: entry for entry in page.entries}
        if not page.has_more:
            return list(found.values())
        after, seq = page.entries[-1].node_id, page.seq


def path_of(entries: Mapping[NodeId, Entry], entry: Entry) -> bytes:
    """Return where a node stands in its namespace, of which these are all entries. Raises: Broken without a folder."""
    path, at = entry.name.encode(), entry.parent_id
    while at != ROOT_NODE:
        above = entries.get(at)
        if above is None:
            raise Broken("the service has the same tree", f"{entry.name!r} has no folder")
        path, at = above.name.encode() + b"/" + path, above.parent_id
    return path
