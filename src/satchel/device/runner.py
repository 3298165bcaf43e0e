"""Runs one link: steps the engine and lends it hands. Invariant: only the step thread touches index and engine.

Facts gather in an inbox; a step takes all of them at once, and the tasks it returns go to the disk's worker threads or
to the loop's network calls, each reporting one fact when done. Source: docs/design/040 (Engine).
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from satchel.core.errors import Fault, Unavailable
from satchel.core.ids import DeviceId, LinkId, NamespaceId, Nid, NodeId
from satchel.device.applier import Applier
from satchel.device.disk import LocalDisk
from satchel.device.disk_mount import disk_of, prepare_state
from satchel.device.drive import drive
from satchel.device.engine import Engine, Now, amending, excluding, guard
from satchel.device.engine.state import LinkIdentity, Phase
from satchel.device.fetching import Fetcher
from satchel.device.hands import Hands
from satchel.device.index.mounts import Carried
from satchel.device.index.reader import IndexReader, open_reader
from satchel.device.index.store import Index
from satchel.device.links import Link
from satchel.device.logs import EventLog
from satchel.device.memory import give_back
from satchel.device.mounted import Board
from satchel.device.neighbours import EdgeOf, RunningNeighbour
from satchel.device.ports import EVERYTHING, ROOT_PATH, Clock, Hint, Remote, Watcher
from satchel.device.reporting import describe, excluded_items, held_items, is_at_rest
from satchel.device.scan_process.scanner import LARGE_NAMES_MIN, RoomyScanner
from satchel.device.scanner import Scanner
from satchel.device.scanner.verify import STEP_BYTES_MAX, STEP_EVERY_S, share_of_a_pass, verify_some
from satchel.device.sending import Sender
from satchel.device.shared_steps import Seen, SharedSteps
from satchel.device.short_files import ShortFiles
from satchel.device.status import Amended, Excluded, HeldItem, LinkStatus
from satchel.device.step_thread import StepThread
from satchel.device.tasks import (
    Committed,
    Fact,
    Fetched,
    Hinted,
    Scanned,
    ScanTask,
    SeenChanged,
    Task,
    Uploaded,
)
from satchel.device.transfer import Lanes
from satchel.device.turns import Turns
from satchel.device.undoing import Amender, Done

log = EventLog(__name__)
T = TypeVar("T")

SCAN_PARTS_WAITING_MAX = 8
SCAN_PARTS_HELD_MAX = 100
"""About 30 MB."""
PLANS_OF_A_BURST = 20
CARRY_AGAIN_S = 5.0


class LinkRunner:
    """One link. state_folder: where its index lives. board: what it and the shared folders in it know of each other."""

    def __init__(
        self,
        link: Link,
        remote: Remote,
        *,
        device: DeviceId,
        state_folder: Path,
        clock: Clock,
        lanes: Lanes,
        transfers: Lanes,
        watcher: Watcher,
        board: Board | None = None,
    ) -> None:
        self.link = link
        self._remote = remote
        self._clock = clock
        self._watcher = watcher
        self._steps = StepThread()
        self._inbox: deque[Fact] = deque()
        self._news = asyncio.Event()
        self._parts_taken = 0
        self._parts = threading.BoundedSemaphore(SCAN_PARTS_WAITING_MAX)
        self._transfers: dict[Nid, int] = {}
        self._is_stopping = False
        state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._index = Index(str(state_folder / "index.db"))
        self._reader = self._index.open_reader()
        self._slow_reader = self._index.open_reader()
        self._fs = disk_of(link)
        self._applier = Applier(self._fs, clock)
        self._amender = Amender(self._fs, self._applier, clock)
        self._lanes = lanes
        self._short = ShortFiles()
        self._turns = Turns()
        self._plans_at_rest = -PLANS_OF_A_BURST
        self.scanner = self._scanner_of(state_folder / "index.db")
        self._hands_of = Hands(
            remote=remote,
            clock=clock,
            lanes=lanes,
            scanner=self.scanner,
            applier=self._applier,
            sender=Sender(self._fs, remote, transfers, self._progress, self._short),
            fetcher=Fetcher(self._fs, remote, transfers, self._progress),
            report=self,
            is_known=self._reader.is_synced_content,
        )
        identity = LinkIdentity(
            LinkId(link.link_id),
            device,
            link.device_name,
            NamespaceId(bytes.fromhex(link.ns)),
            NodeId(bytes.fromhex(link.unit)),
            has_xattrs=link.has_xattrs,
            is_ending=link.is_ending,
        )
        self._engine = Engine(self._index, identity, clock)
        self._begin_shared(board or Board(link, clock.monotonic_s), str(state_folder / "index.db"))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hands: set[asyncio.Task[None]] = set()

    def _scanner_of(self, index: Path) -> RoomyScanner:
        scanner = Scanner(self._fs, self._reader, self._clock, short=self._short, turns=self._turns)
        return RoomyScanner(
            scanner,
            self._fs,
            self._reader,
            root=self.link.local.encode(),
            index=str(index),
            short=self._short,
            turns=self._turns,
            has_xattrs=self.link.has_xattrs,
            # The process opens linked folders only.
            names_min=sys.maxsize if self.link.outer else LARGE_NAMES_MIN,
        )

    def _begin_shared(self, board: Board, index: str) -> None:
        """What it knows of the shared folders in it, or of the folder that this shared one stands in."""
        self._board = board
        self._leaving = asyncio.Event()
        self._fault: Fault | None = None
        self.has_begun = False
        edge = EdgeOf(board, self.link, lambda: drive(self._fs.check_root()))
        self._shared = SharedSteps(self._engine, self._index, self.link, board, edge)
        self.neighbour = RunningNeighbour(
            self._engine,
            lambda files: _asked(index, lambda reader: reader.holds_uncommitted(files)),
            lambda: _asked(index, IndexReader.waits_at_edge),
            self._look_soon,
        )

    # -- running ------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Sync until `stop`. Raises: a Fault when it cannot go on at all (the link's root is missing)."""
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._begin)
            self.has_begun = True
            self._engine.state.is_degraded = not await self._watcher.start()
            self._enter()
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(), name="link-watch")
                stepping = group.create_task(self._step_on(group), name="link-steps")
                verifying = group.create_task(self._verify_slowly(), name="link-verify")
                stopping = group.create_task(self._leave_at(stop), name="link-stop")
                try:
                    await self._leaving.wait()
                finally:
                    # Also when a task has failed: whoever scans waits for room that nobody makes any more.
                    self._is_stopping = True
                    self.scanner.hold()
                watching.cancel()
                stepping.cancel()
                verifying.cancel()
                stopping.cancel()
                for task in self._hands:
                    task.cancel()
            if self._fault is not None:
                raise self._fault
        finally:
            self._depart()
            await self._watcher.stop()
            await self._remote.close_stream()
            await asyncio.to_thread(self._close)

    async def _leave_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._leaving.set()

    def _enter(self) -> None:
        self._board.enter(self.link.link_id, self.neighbour)
        if not self.link.outer:
            self._board.outer = self
            self._board.watches_anew()
            self._board.changed.set()

    def _depart(self) -> None:
        self._board.leave(self.link.link_id)
        if not self.link.outer:
            self._board.outer = None

    def _begin(self) -> None:
        """The root must be there and be its volume; what a crash left in staging is sorted out first."""
        if self.link.outer:
            prepare_state(self.link.outer.encode(), NamespaceId(bytes.fromhex(self.link.ns)))
        self.scanner.expect(drive(self._shared.begin(self._fs)))
        paths = drive(self._applier.recover(self._is_known_content))
        excluding.stands_again(self._engine.state, paths)
        if paths:
            log.info("link.recovered", count=len(paths))

    def _is_known_content(self, content: bytes) -> bool:
        return bool(self._index.reader.is_synced_content(content))

    def _close(self) -> None:
        self._steps.shutdown(wait=True)
        self._reader.close()
        self._slow_reader.close()
        self._index.close()

    async def _watch(self) -> None:
        while True:
            hints = await self._watcher.next_hints(30.0)
            self._engine.state.is_degraded = self._watcher.is_degraded
            if not self.link.outer:
                self._board.degrade(is_degraded=self._watcher.is_degraded, status_line=self._watcher.status_line)
                hints = self._board.sort_out(hints)
            if hints:
                self.put(Hinted(tuple(hints)))

    async def _step_on(self, group: asyncio.TaskGroup) -> None:
        wake_s = 0.0
        while True:
            wait_s = wake_s - self._clock.monotonic_s()
            if wait_s > 0 and not self._inbox:
                try:
                    async with asyncio.timeout(wait_s):
                        await self._news.wait()
                except TimeoutError:
                    pass
            self._news.clear()
            facts = [self._inbox.popleft() for _ in range(len(self._inbox))]
            tasks, wake_s, seen = await self._in_step_thread(lambda facts=facts: self._step(facts))  # type: ignore[misc]
            self._see_to_shared(group, seen)
            for fact in facts:
                self._forget(fact)
            self._free_parts()
            for task in tasks:
                hand = group.create_task(self._hands_of.do(task))
                self._hands.add(hand)
                hand.add_done_callback(self._hands.discard)

    def _see_to_shared(self, group: asyncio.TaskGroup, seen: Seen) -> None:
        """After a step: do what the engine cannot do by itself."""
        if seen.is_leaving:
            if not self.link.outer:
                log.info("link.turning")
            self._fault = seen.fault
            self._leaving.set()
        if seen.carried:
            self._shared.is_carrying = True
            group.create_task(self._carry(seen.carried), name="link-carry")
        for nid in seen.ended:
            self._board.is_done(nid)

    async def _carry(self, carried: Sequence[Carried]) -> None:
        """Bring what only this disk has into the person's own files."""
        try:
            over = await self._lanes.disk(self._shared.carry(LocalDisk(self.link.outer.encode()), carried))
            await self._in_step_thread(lambda: self._shared.arrived(over, self._clock.now_ns() // 1_000_000))
            log.info("link.carried", count=len(over))
            self._board.look_outside()
        except Fault as fault:
            log.warning("link.carry_failed", code=fault.code)
            await self._clock.sleep_s(CARRY_AGAIN_S)
        finally:
            self._shared.is_carrying = False
            self._news.set()

    def end_mount(self, nid: Nid) -> None:
        """All is brought away from a shared folder whose part is over. For any thread but the step's."""
        self._commanded(lambda: self._engine.end_mount(nid))

    async def _verify_slowly(self) -> None:
        """Read a few files again from time to time, while there is nothing else to do."""
        while True:
            await self._clock.sleep_s(STEP_EVERY_S)
            await self.verify_step()

    async def verify_step(self) -> None:
        """Read the next few files again, unless there is work; what differs is taken as changed."""

        def begin() -> Nid | None:
            after = self._index.get("verified_after")
            is_free = self._engine.is_settled and not self._engine.state.is_paused
            return Nid(after if isinstance(after, int) else 0) if is_free else None

        async def read(after: Nid) -> tuple[list[SeenChanged], Nid | None]:
            share = share_of_a_pass(self._slow_reader.count_files())
            return await verify_some(
                self._fs, self._slow_reader, self._clock, after=after, budget_bytes=STEP_BYTES_MAX, files_max=share
            )

        def end(after: Nid | None) -> None:
            with self._index.transaction():
                self._index.put("verified_after", after or 0)

        begun = await self._in_step_thread(begin)
        if begun is None:
            return
        facts, last = await self._lanes.disk(read(begun))
        await self._in_step_thread(lambda: end(last))
        if facts:
            log.warning("link.content_differs", count=len(facts))
            found = Scanned(ScanTask(()), tuple(facts), False, 0)
            await self._lanes.run(lambda: self.part(found))

    def _forget(self, fact: Fact) -> None:
        """A fact is folded: make room for the next, and drop what was told of its progress."""
        match fact:
            case Scanned():
                self._parts_taken += 1
            case Committed(task=committed):
                for nids in committed.nids:
                    for nid in nids:
                        self._transfers.pop(nid, None)
            case Uploaded(task=task):
                self._transfers.pop(task.nid, None)
            case Fetched(task=fetched):
                for item in fetched.items:
                    self._transfers.pop(item.nid, None)
            case _:
                pass

    def _free_parts(self) -> None:
        """Make room for as many parts of a scan as were folded, or are held at first contact and not too many."""
        held = len(self._engine.state.held_parts)
        while self._parts_taken > max(0, held - SCAN_PARTS_HELD_MAX):
            self._parts_taken -= 1
            try:
                self._parts.release()
            except ValueError:
                # A scan that failed outright reported its end without taking a place.
                log.debug("link.part_unplaced")

    def _step(self, facts: list[Fact]) -> tuple[list[Task], float, Seen]:
        self._shared.before()
        with self._turns.urgent():
            tasks = self._engine.step(facts, Now(self._clock.monotonic_s(), self._clock.now_ns()))
        mounted = self._shared.news()
        if mounted is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._board.tell, mounted)
        if self._loop is not None and not self._board.is_whole and self._shared.is_whole:
            self._loop.call_soon_threadsafe(self._board.note_whole)
        if any(isinstance(task, ScanTask) for task in tasks):
            state = self._engine.state
            self.scanner.is_calm = state.scanned_once and not (state.busy or state.fresh)
        self._rest()
        return tasks, self._engine.next_wake_s(), self._shared.after()

    def _rest(self) -> None:
        """Let go of what a burst of work left, when it is over."""
        if not self._engine.is_settled:
            return
        self._short.clear()
        plans = self._engine.state.progress.plans
        if plans - self._plans_at_rest >= PLANS_OF_A_BURST:
            self._plans_at_rest = plans
            give_back()

    def put(self, fact: Fact) -> None:
        """Take a fact for the next step."""
        self._inbox.append(fact)
        self._news.set()

    def part(self, fact: Scanned) -> None:
        """Called in the scanner's thread; waits there when the engine is far behind."""
        while not self._parts.acquire(timeout=0.5):
            if self._is_stopping:
                raise Unavailable("The link is being stopped.", where="scan")
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.put, fact)

    def _progress(self, nid: Nid, size_bytes: int) -> None:
        self._transfers[nid] = self._transfers.get(nid, 0) + size_bytes

    async def _in_step_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._steps, work)

    # -- for the control socket ---------------------------------------------------------------------

    def status(self) -> LinkStatus:
        """Return how the link stands. Waits for the step under way."""
        return self._steps.submit(self._describe).result()

    def _describe(self) -> LinkStatus:
        degraded = self._watcher.status_line if self._engine.state.is_degraded else ""
        return describe(self._engine, self.link, dict(self._transfers), degraded)

    def held(self) -> list[HeldItem]:
        """Return what waits and why."""
        return self._steps.submit(lambda: held_items(self._engine)).result()

    def allow_held(self) -> int:
        """Let held deletions go on. Result: how many rows."""
        return self._commanded(lambda: guard.allow_held(self._engine.state))

    def undo_held(self) -> int:
        """Bring back what held deletions deleted. Result: how many rows."""
        return self._commanded(lambda: guard.undo_held(self._engine.state))

    def exclude(self, paths: Sequence[str]) -> list[Excluded]:
        """Keep these off this disk. Durable on return. Result: all that is left out."""
        self._commanded(lambda: excluding.exclude(self._engine.state, paths))
        return self.excluded()

    def include(self, paths: Sequence[str]) -> list[Excluded]:
        """Bring these back. Durable on return. Result: all that is left out still, or on its way back."""
        self._commanded(lambda: excluding.include(self._engine.state, paths))
        return self.excluded()

    def excluded(self) -> list[Excluded]:
        """Return what is left out."""
        return self._steps.submit(lambda: excluded_items(self._engine)).result()

    def _commanded(self, work: Callable[[], T]) -> T:
        result = self._steps.submit(work).result()
        self._news.set()
        self.put(Hinted(()))
        return result

    async def undo(self, *, with_new: bool) -> list[Amended]:
        """Take back what the last run did to the disk. Result: a line for each change."""
        acts = await self._in_step_thread(lambda: amending.last_changes(self._engine.state))
        done = await self._lanes.disk(self._amender.undo(acts, with_new=with_new))
        return await self._amended(done)

    async def resolve(self, paths: Sequence[str], keep: str) -> list[Amended]:
        """End the conflicts of these conflicted copies, in one run."""
        done: list[Done] = []
        for path in paths:
            copy, original = await self._in_step_thread(lambda path=path: amending.sides_of(self._engine.state, path))  # type: ignore[misc]
            done += await self._lanes.disk(self._amender.resolve(copy, original, keep))
        return await self._amended(done)

    async def _amended(self, done: list[Done]) -> list[Amended]:
        def record() -> None:
            amending.record(self._engine.state, done, Now(self._clock.monotonic_s(), self._clock.now_ns()))

        await self._in_step_thread(record)
        self.put(Hinted(amending.hints_of(done)))
        return [each.told for each in done]

    def _look_soon(self) -> None:
        """Look at the whole folder. For any thread; waits for nobody."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.put, Hinted((EVERYTHING,)))

    def hint_all(self) -> None:
        """Look at the whole folder and ask the server at once."""

        def look() -> None:
            state = self._engine.state
            if state.phase is Phase.LIVE:
                state.wants_pull = True

        self._steps.submit(look).result()
        self.put(Hinted((Hint(ROOT_PATH, None, True),)))

    def pause(self) -> None:
        """Start nothing new; what is in flight ends, but for a long scan: that one is made anew."""
        self._engine.state.is_paused = True
        self.scanner.hold()
        self.put(Hinted(()))

    def resume(self) -> None:
        """Go on."""
        self._engine.state.is_paused = False
        self.scanner.go_on()
        self._engine.state.halted = ""
        self.hint_all()

    async def wait_in_sync(self, timeout_s: float) -> LinkStatus:
        """Look at everything, then return when in sync, or as it stands at the timeout."""
        self.hint_all()
        end_s = self._clock.monotonic_s() + timeout_s
        while True:
            await self._clock.sleep_s(0.05)
            # In one turn of the thread: what comes between the look and the report would be told of a link at rest.
            told = await self._in_step_thread(lambda: self._describe() if is_at_rest(self._engine) else None)
            if told is not None and not self._inbox:
                return told
            if self._clock.monotonic_s() >= end_s:
                return await self._in_step_thread(self._describe)


def _asked(index: str, question: Callable[[IndexReader], bool]) -> bool:
    """As `Neighbour` answers, on a connection of its own: any thread asks."""
    reader = open_reader(index)
    try:
        return question(reader)
    finally:
        reader.close()
