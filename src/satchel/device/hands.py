"""The engine's hands: does one task, reports what came of it, decides nothing.

The same code runs in the daemon (disk work in threads, calls on the event loop) and in the simulation (everything on
one list scheduler): `Lanes` and the ports make the difference. Source: docs/design/040 (Engine, Simulation).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, assert_never

from satchel.core.errors import Fault, Unavailable
from satchel.device.applier import Applier, IsKnown
from satchel.device.fetching import Fetcher
from satchel.device.ports import Clock, Remote
from satchel.device.sending import Sender
from satchel.device.service_tasks import (
    Pulled,
    PullTask,
    Reached,
    ReachTask,
    ScopeTask,
    ScopeTold,
    SnapshotTaken,
    SnapshotTask,
    StreamEnded,
    StreamFrameCame,
    StreamTask,
)
from satchel.device.tasks import (
    ApplyTask,
    BringBackTask,
    CommitTask,
    DiscardTask,
    Fact,
    FetchTask,
    LateTask,
    ManifestsTaken,
    ManifestTask,
    PurgeTask,
    Scanned,
    ScanTask,
    SettleTask,
    SyncVolumeTask,
    Task,
    UploadTask,
)
from satchel.device.transfer import Lanes

FRAME_TIMEOUT_S = 65.0
"""The service pings every 25 s; a line silent for this long is lost."""


class Report(Protocol):
    """Where facts go; `part` is called by the scanner in its own thread and may wait there."""

    def put(self, fact: Fact) -> None: ...

    def part(self, fact: Scanned) -> None: ...


class Scans(Protocol):
    """Who looks at the disk: a `Scanner`, or what decides where one works."""

    async def scan(self, task: ScanTask, report: Callable[[Scanned], None]) -> None:
        """Report what differs, in parts; the last part says so."""
        ...


class Hands:
    """All hands of one link. is_known: as for `Applier.recover`; it is asked in a thread of the disk's."""

    def __init__(
        self,
        *,
        remote: Remote,
        clock: Clock,
        lanes: Lanes,
        scanner: Scans,
        applier: Applier,
        sender: Sender,
        fetcher: Fetcher,
        report: Report,
        is_known: IsKnown,
    ) -> None:
        self._remote = remote
        self._clock = clock
        self._lanes = lanes
        self._scanner = scanner
        self._applier = applier
        self._sender = sender
        self._fetcher = fetcher
        self._report = report
        self._is_known = is_known

    async def do(self, task: Task) -> None:
        """Do the task and report. Faults become part of what is reported."""
        put = self._report.put
        match task:
            case ScanTask():
                await self._scan(task)
            case ApplyTask():
                put(await self._lanes.disk(self._applier.apply(task)))
            case DiscardTask():
                await self._lanes.disk(self._applier.discard(task))
            case SettleTask():
                put(await self._lanes.disk(self._applier.settle_staging(self._is_known)))
            case LateTask():
                put(await self._lanes.disk(self._applier.look_late(task)))
            case BringBackTask():
                put(await self._lanes.disk(self._applier.bring_back(task)))
            case PurgeTask():
                put(await self._lanes.disk(self._applier.purge(task)))
            case SyncVolumeTask():
                put(await self._lanes.disk(self._applier.sync_volume(task)))
            case CommitTask():
                put(await self._sender.commit(task))
            case UploadTask():
                put(await self._sender.upload(task))
            case FetchTask():
                put(await self._fetcher.fetch(task))
            case ManifestTask():
                put(await _asked(lambda: self._manifests(task), lambda fault: ManifestsTaken(task, {}, fault)))
            case ReachTask(after_s=after_s):
                await self._clock.sleep_s(after_s)
                put(await _asked(self._reach, lambda fault: Reached(None, fault)))
            case SnapshotTask():
                put(await _asked(lambda: self._snapshot(task), lambda fault: SnapshotTaken(task, None, fault)))
            case PullTask():
                put(await _asked(lambda: self._pull(task), lambda fault: Pulled(None, {}, fault)))
            case ScopeTask():
                put(await _asked(lambda: self._tell_scope(task), lambda fault: ScopeTold(task, fault)))
            case StreamTask():
                await self._stream(task)
            case _:
                assert_never(task)

    async def _reach(self) -> Fact:
        return Reached(await self._remote.namespaces())

    async def _manifests(self, task: ManifestTask) -> Fact:
        return ManifestsTaken(task, await self._remote.manifests(task.ns, task.ids))

    async def _snapshot(self, task: SnapshotTask) -> Fact:
        return SnapshotTaken(task, await self._remote.snapshot(task.request))

    async def _tell_scope(self, task: ScopeTask) -> Fact:
        return ScopeTold(task, newest_start=(await self._remote.set_scope(task.request)).newest_start)

    async def _pull(self, task: PullTask) -> Fact:
        changes, contents = await self._remote.changes(task.request)
        return Pulled(changes, contents)

    async def _stream(self, task: StreamTask) -> None:
        """Report frames until the line is lost."""
        try:
            await self._remote.open_stream(task.hello)
            while True:
                came = await self._remote.next_frame(FRAME_TIMEOUT_S)
                if came is None:
                    raise Unavailable("The stream was silent for too long.", where="stream", reason="silent")
                self._report.put(StreamFrameCame(*came))
        except Fault as fault:
            await self._remote.close_stream()
            self._report.put(StreamEnded(fault))

    async def _scan(self, task: ScanTask) -> None:
        try:
            await self._lanes.disk(self._scanner.scan(task, self._report.part))
        except Fault as fault:
            self._report.put(Scanned(task, (), True, 0, fault=fault))


async def _asked(call: Callable[[], Awaitable[Fact]], failed: Callable[[Fault], Fact]) -> Fact:
    try:
        return await call()
    except Fault as fault:
        return failed(fault)
