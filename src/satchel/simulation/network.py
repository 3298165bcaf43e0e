"""The `Remote` port over the service core, with a network that refuses, loses, delays, doubles and garbles.

Invariant: a request is served by one process of the service or by none; what the device hears is the answer of a
request that it made, or that the line is lost. Source: docs/design/040 (Simulation).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from satchel.core.errors import BlockMismatch, Fault, StorageFailed, Unavailable, VersionUnsupported
from satchel.core.ids import BlockHash, ContentHash, NamespaceId
from satchel.core.messages import (
    XATTRS_VERSION,
    AttrOp,
    Changes,
    ChangesRequest,
    CommitReply,
    CommitRequest,
    CreateOp,
    EditOp,
    Hello,
    NamespacesReply,
    Ping,
    Position,
    Pushed,
    ScopeReply,
    ScopeRequest,
    SnapshotPage,
    SnapshotRequest,
    Stored,
    StreamFrame,
    UndeleteOp,
    Welcome,
)
from satchel.device.ports import OutgoingBlock
from satchel.simulation.broken import Broken
from satchel.simulation.core_remote import CoreRemote
from satchel.simulation.faults import Faults
from satchel.simulation.scheduler import Scheduler, Signal, pause
from satchel.simulation.service import SimService, flipped

T = TypeVar("T")
TIMEOUT_S = 30.0
STREAM_POLL_S = 25.0
RECHECK_S = 50.0


class Outside(Protocol):
    """What the network is in: the world. heads: the newest that the service told of each namespace."""

    service: SimService
    faults: Faults
    scheduler: Scheduler
    heads: dict[NamespaceId, int]
    has_mounts: bool

    def tell_streams(self, ns: NamespaceId) -> None:
        """Something was committed there."""
        ...


class SimRemote:
    """What one life of a device sees of the service. version: the protocol that it speaks, ours or the one before."""

    def __init__(self, world: Outside, core: CoreRemote, before_call: Callable[[], None], *, version: int) -> None:
        self._world = world
        self._core = core
        self._before_call = before_call
        self._version = version
        self._told_by = -1
        """The process of the service that told its version last."""
        self._position: Position | None = None
        self._hello: Hello | None = None
        self._generation = 0
        self._checked_s = 0.0
        self._rights: dict[NamespaceId, bool] = {}
        self._frames: list[StreamFrame] = []
        self._served = 0
        self.news = Signal()

    async def _network(self, call: Callable[[], Awaitable[T]]) -> T:
        world = self._world
        faults = world.faults
        await pause()
        self._before_call()
        if not world.service.answers or faults.happens("refused"):
            raise Unavailable("refused", where="sim")
        if faults.happens("lost_request"):
            raise Unavailable("lost before", where="sim")
        if faults.happens("delay"):
            await self._delay(call)
        if faults.happens("server_killed"):
            world.service.kill()
        result = await self._serve(call)
        if faults.happens("duplicate"):
            # The line repeats the request; the first answer arrives.
            world.scheduler.spawn(self._again(call, result), world)
        served = self._served = self._served + 1
        await pause()
        if faults.stream("reordered").random() < 0.5 and faults.happens("reordered"):
            await world.scheduler.sleep_s(3.0 * faults.stream("reordered").random())
            if self._served == served:
                faults.fired["reordered"] -= 1
        if faults.happens("lost_reply") or faults.happens("truncated"):
            raise Unavailable("lost after", where="sim")
        return result

    async def _serve(self, call: Callable[[], Awaitable[T]]) -> T:
        service = self._world.service
        generation = service.generation
        if not service.answers:
            raise Unavailable("lost on the way", where="sim")
        try:
            result = await call()
        except StorageFailed as fault:
            if fault.fields.get("where") == "database":
                raise Broken("the database takes every statement", fault) from fault
            raise
        if service.generation != generation:
            raise Unavailable("the service died", where="sim")
        return result

    async def _again(self, call: Callable[[], Awaitable[T]], first: T) -> None:
        """Serve the same request once more; what was stored is answered as it was."""
        try:
            second = await self._serve(call)
        except Fault:
            return
        if isinstance(first, CommitReply) and isinstance(second, CommitReply):
            for one, other in zip(first.outcomes, second.outcomes, strict=True):
                if isinstance(one, Stored) and one != other:
                    raise Broken("the same op id gets its first answer", (one, other))

    async def _delay(self, call: Callable[[], Awaitable[T]]) -> None:
        wait_s = 120.0 * self._world.faults.stream("delay").random() ** 2
        if wait_s < TIMEOUT_S:
            await self._world.scheduler.sleep_s(wait_s)
            return

        async def arrive_late() -> None:
            await self._world.scheduler.sleep_s(wait_s)
            await _forgotten(lambda: self._serve(call))

        self._world.scheduler.spawn(arrive_late(), self._world)
        await self._world.scheduler.sleep_s(TIMEOUT_S)
        raise Unavailable("no answer in time", where="sim")

    async def commit(self, request: CommitRequest, bodies: Sequence[bytes]) -> CommitReply:
        if bodies and self._world.faults.happens("wrong_bytes"):
            bodies = (flipped(bodies[0], 0.5), *bodies[1:])

        async def call() -> CommitReply:
            is_known = self._world.service.version >= XATTRS_VERSION
            reply = await self._core.commit(request if is_known else _without_xattrs(request), bodies)
            self._world.heads[request.ns] = max(reply.head_seq, self._world.heads.get(request.ns, 0))
            self._world.tell_streams(request.ns)
            return reply

        return await self._network(call)

    async def put_blocks(self, ns: NamespaceId, blocks: Sequence[OutgoingBlock]) -> tuple[BlockHash, ...]:
        faults = self._world.faults
        if blocks and faults.happens("wrong_bytes"):
            bad = OutgoingBlock(blocks[0].hash, blocks[0].size, blocks[0].codec, flipped(blocks[0].body, 0.5))
            blocks = (bad, *blocks[1:])
        return await self._network(lambda: self._core.put_blocks(ns, blocks))

    async def get_blocks(self, ns: NamespaceId, hashes: Sequence[BlockHash]) -> dict[BlockHash, bytes]:
        found = await self._network(lambda: self._core.get_blocks(ns, hashes))
        if found and self._world.faults.happens("wrong_bytes"):
            # The adapter finds it when it opens the reply.
            raise BlockMismatch("A block does not have its hash.", expected="sim", actual="sim")
        return found

    async def changes(self, request: ChangesRequest) -> tuple[Changes, dict[BlockHash, bytes]]:
        return await self._network(lambda: self._core.changes(request))

    async def snapshot(self, request: SnapshotRequest) -> SnapshotPage:
        return await self._network(lambda: self._core.snapshot(request))

    async def manifests(self, ns: NamespaceId, ids: Sequence[ContentHash]) -> dict[ContentHash, bytes]:
        return await self._network(lambda: self._core.manifests(ns, ids))

    async def namespaces(self) -> NamespacesReply:
        async def call() -> tuple[NamespacesReply, int]:
            told_by, version = self._world.service.generation, self._world.service.version
            reply = await self._core.namespaces()
            return msgspec.structs.replace(reply, version=min(version, self._version)), told_by

        reply, self._told_by = await self._network(call)
        return reply

    async def set_scope(self, request: ScopeRequest) -> ScopeReply:
        return await self._network(lambda: self._core.set_scope(request))

    async def open_stream(self, hello: Hello) -> None:
        known = await self._network(self._core.namespaces)
        self._generation = self._world.service.generation
        self._require_version(hello)
        if self._world.has_mounts:
            self._rights = await self._core.rights()
        (self._position,) = hello.positions
        self._hello = hello
        newest = await self._core.begin_run(hello)
        recover = bool(newest) or hello.epoch not in (b"", known.epoch)
        version = min(self._world.service.version, self._version)
        self._frames = [Welcome(known.epoch, recover, self._core.device_id, version, newest)]
        self._checked_s = self._world.scheduler.now_s

    async def next_frame(self, timeout_s: float) -> tuple[StreamFrame, dict[BlockHash, bytes]] | None:
        if self._frames:
            return self._frames.pop(0), {}
        scheduler, hello = self._world.scheduler, self._hello
        end_s = scheduler.now_s + timeout_s
        while True:
            await scheduler.wait(self.news, STREAM_POLL_S)
            self._require_line()
            if self._world.has_mounts and await self._core.rights() != self._rights:
                raise Unavailable("What the account may read or write changed.", where="sim")
            assert self._position is not None and hello is not None
            asked = ChangesRequest(self._position, hello.link, 50, with_xattrs=hello.with_xattrs)
            page, contents = await self._core.changes(asked)
            is_news = page.is_reset or page.last_seq > self._position.seq
            if not is_news or scheduler.now_s >= self._checked_s + RECHECK_S:
                if not await self._core.holds_run(hello):
                    raise Unavailable("Another start has the link.", where="sim")
                self._checked_s = scheduler.now_s
            if is_news:
                self._position = Position(page.ns, page.last_seq, page.last_tag)
                return Pushed(page), contents
            if scheduler.now_s >= end_s - 30.0:
                return Ping(), {}

    def _require_version(self, hello: Hello) -> None:
        service = self._world.service
        agreed = min(service.version, self._version)
        if self._told_by == service.generation and hello.version != agreed:
            raise Broken("the newest version that both speak is spoken", (hello.version, agreed))
        if hello.version > service.version:
            # The service was replaced since it told; the adapter raises this when the stream is closed with 4400.
            raise VersionUnsupported("refused", what="protocol", found="?", known=self._version)

    def _require_line(self) -> None:
        service = self._world.service
        is_lost = not service.answers or service.generation != self._generation
        if is_lost or self._world.faults.happens("refused"):
            raise Unavailable("stream lost", where="sim")

    async def close_stream(self) -> None:
        self._frames = []

    async def close(self) -> None:
        return None


def _without_xattrs(request: CommitRequest) -> CommitRequest:
    """Return the request as whoever does not know extended attributes reads it."""
    ops = tuple(
        msgspec.structs.replace(op, xattrs=None) if isinstance(op, CreateOp | EditOp | UndeleteOp | AttrOp) else op
        for op in request.ops
    )
    return msgspec.structs.replace(request, ops=ops)


async def _forgotten(call: Callable[[], Awaitable[object]]) -> None:
    """Serve a request whose answer nobody hears."""
    try:
        await call()
    except Fault:
        return
