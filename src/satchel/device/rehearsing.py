"""Looks at both sides of a link and tells what a sync would do. Invariant: reads only, on a copy of the index.

It runs beside the daemon or without it. What it sees is one moment; a change after that is not in the plan.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from satchel.core.errors import Unavailable
from satchel.core.ids import DeviceId, NamespaceId, NodeId
from satchel.device.disk_mount import disk_of
from satchel.device.drive import drive
from satchel.device.engine import Now
from satchel.device.engine.rehearsal import RehearsingEngine
from satchel.device.engine.state import LinkIdentity
from satchel.device.index.beside import viewing
from satchel.device.index.store import Index
from satchel.device.links import Link
from satchel.device.ports import Clock, Remote, Volume
from satchel.device.scanner import Scanner
from satchel.device.service_tasks import Pulled, PullTask, Reached, ReachTask, SnapshotTaken, SnapshotTask
from satchel.device.status import PlannedChange
from satchel.device.tasks import Fact, Scanned, ScanTask, Task

ROUNDS_MAX = 100_000


class Rehearsed(msgspec.Struct, frozen=True):
    """What a sync would do now. more: changed rows beyond those that were planned."""

    local: str
    remote: str
    changes: tuple[PlannedChange, ...]
    more: int


class _Reports:
    """Where facts gather until the next step."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def put(self, fact: Fact) -> None:
        """Take a fact. Raises: the fault of a scan that ended early."""
        if isinstance(fact, Scanned) and fact.fault is not None:
            raise fact.fault
        self.facts.append(fact)

    def part(self, fact: Scanned) -> None:
        """Take a part of a scan."""
        self.put(fact)


async def rehearse(link: Link, remote: Remote, *, device: DeviceId, state_folder: Path, clock: Clock) -> Rehearsed:
    """Return what a sync of the link would do. Raises: NotFound (never synced), RootMissing, Unavailable."""
    with viewing(state_folder) as view:
        image = view.image()
    index = Index(":memory:", image=image)
    try:
        fs = disk_of(link)
        drive(fs.check_root())
        ns = NamespaceId(bytes.fromhex(link.ns))
        is_ending = bool(link.outer) and all(head.ns != ns for head in (await remote.namespaces()).namespaces)
        identity = LinkIdentity(
            *(link.link_id, device, link.device_name, ns, NodeId(bytes.fromhex(link.unit))), is_ending=is_ending
        )
        engine = RehearsingEngine(index, identity, clock)
        scanner = Scanner(fs, index.reader, clock, volume=_volume(index))
        await _look(engine, remote, scanner, clock)
        with index.transaction():
            changes, more = engine.planned()
        return Rehearsed(link.local, link.remote, tuple(changes), more)
    finally:
        index.close()


def _volume(index: Index) -> Volume | None:
    marker, filesystem = index.get("volume_marker"), index.get("volume_filesystem")
    if isinstance(marker, bytes) and isinstance(filesystem, bytes):
        return Volume(marker, filesystem)
    return None


async def _look(engine: RehearsingEngine, remote: Remote, scanner: Scanner, clock: Clock) -> None:
    """Step until both sides are known. Raises: the fault of what could not be asked or read."""
    reports = _Reports()
    for _ in range(ROUNDS_MAX):
        facts, reports.facts = reports.facts, []
        tasks = engine.step(facts, Now(clock.monotonic_s(), clock.now_ns()))
        if engine.state.halted:
            raise Unavailable(engine.state.halted, where="link", reason="halted")
        for task in tasks:
            await _do(task, remote, scanner, reports)
        if not reports.facts:
            break
    if not engine.has_looked:
        raise Unavailable("The server did not tell everything; try again.", where="server", reason="incomplete")


async def _do(task: Task, remote: Remote, scanner: Scanner, reports: _Reports) -> None:
    """Do a task that only reads; no other is done."""
    match task:
        case ScanTask():
            drive(scanner.scan(task, reports.part))
        case ReachTask():
            reports.put(Reached(await remote.namespaces()))
        case SnapshotTask():
            reports.put(SnapshotTaken(task, await remote.snapshot(task.request)))
        case PullTask():
            reports.put(Pulled(*await remote.changes(task.request)))
        case _:
            pass
