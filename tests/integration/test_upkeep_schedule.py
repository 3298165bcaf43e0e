"""The scheduler of upkeep: who runs what when, over both databases, with several processes beside each other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from satchel.core.errors import Unavailable
from satchel.server.db.engine import Database
from satchel.server.upkeep.schedule import (
    BACKOFF_S_MAX,
    BACKOFF_S_MIN,
    FIRST_S_MAX,
    RUN_S_MAX,
    SOON_S,
    Counts,
    Scheduler,
    Task,
    TaskState,
    task_states,
)
from tests.support.clocks import SteppingClock
from tests.support.databases import Run
from tests.support.stores import stores_beside

HOUR_S = 3_600


def never_ending(begun: asyncio.Event) -> Callable[[], Awaitable[Counts]]:
    """Return a task's work that tells when it began and does not end by itself."""

    async def never() -> Counts:
        begun.set()
        await asyncio.Event().wait()
        return Counts({})

    return never


class HeldClock(SteppingClock):
    """Time stands still until the test lets it pass; whoever sleeps is woken then."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._changed = asyncio.Event()

    def now_ms(self) -> int:
        return self.now

    async def sleep_s(self, seconds: float) -> None:
        sleeper = (self.now + seconds * 1_000, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        self._changed.set()
        try:
            await sleeper[1]
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    async def until_asleep(self, count: int = 1) -> None:
        """Return when so many sleep."""
        while len(self._sleepers) < count:
            self._changed.clear()
            await self._changed.wait()

    async def passes(self, seconds: float, *, asleep: int = 1) -> None:
        """Let so much time pass, as if a little at a time; so many sleep before and after each step."""
        ends = self.now + round(seconds * 1_000)
        while True:
            await self.until_asleep(asleep)
            self.now = min([ends, *(max(self.now, -int(-wakes // 1)) for wakes, _ in self._sleepers)])
            woken = [sleeper for sleeper in self._sleepers if sleeper[0] <= self.now]
            if not woken:
                return
            for sleeper in woken:
                self._sleepers.remove(sleeper)
                if not sleeper[1].done():
                    sleeper[1].set_result(None)


class Runs:
    """A task's body that notes when it ran, and how many ran at once."""

    def __init__(self, clock: HeldClock, body: Callable[[], Awaitable[Counts]] | None = None) -> None:
        self._clock, self._body = clock, body
        self.times: list[int] = []
        self.at_once = self.at_once_max = 0

    async def __call__(self) -> Counts:
        self.times.append(self._clock.now)
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            return await self._body() if self._body is not None else Counts({"things": 3})
        finally:
            self.at_once -= 1


@asynccontextmanager
async def running(*schedulers: Scheduler) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for scheduler in schedulers:
            group.create_task(scheduler.run(stop))
        try:
            yield stop
        finally:
            stop.set()


async def state_of(db: Database, name: str = "tidy") -> TaskState:
    return next(state for state in await task_states(db) if state.name == name)


def test_a_task_runs_again_and_again_and_its_row_says_how_it_went(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = HeldClock()
        runs = Runs(clock)
        scheduler = Scheduler([Task("tidy", HOUR_S, runs)], clock, db)
        begun = clock.now
        async with running(scheduler):
            await clock.passes(6 * HOUR_S)
        assert begun <= runs.times[0] <= begun + FIRST_S_MAX * 1_000
        pauses = [(later - earlier) / 1_000 for earlier, later in zip(runs.times, runs.times[1:], strict=False)]
        assert all(0.9 * HOUR_S <= pause <= 1.1 * HOUR_S for pause in pauses) and len(set(pauses)) > 3
        state = await state_of(db)
        assert (state.claimed_until, state.failures, state.last_fault) == (0, 0, "")
        assert state.last_at == runs.times[-1] and json.loads(state.last_result) == {"things": 3}
        assert scheduler.shown() == {
            "satchel_upkeep_runs_total": {"tidy": len(runs.times)},
            "satchel_upkeep_failures_total": {},
            "satchel_upkeep_done_total": {"tidy things": 3 * len(runs.times)},
        }

    run(scenario)


def test_a_task_is_run_by_one_process_at_a_time_and_once_a_turn(run: Run, database_url: str) -> None:
    async def scenario(db: Database) -> None:
        clock = HeldClock()
        runs = Runs(clock)
        async with (
            stores_beside(db, database_url, 4) as stores,
            running(*(Scheduler([Task("tidy", HOUR_S, runs)], clock, store) for store in stores)),
        ):
            await clock.passes(5 * HOUR_S, asleep=len(stores))
        assert runs.at_once_max == 1
        pauses = [(later - earlier) / 1_000 for earlier, later in zip(runs.times, runs.times[1:], strict=False)]
        assert 4 <= len(runs.times) <= 6 and min(pauses) >= 0.9 * HOUR_S

    run(scenario)


def test_a_task_that_is_running_elsewhere_is_left_alone(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = HeldClock()
        release, begun = asyncio.Event(), asyncio.Event()

        async def long() -> Counts:
            begun.set()
            await release.wait()
            return Counts({})

        here, there = Runs(clock, long), Runs(clock)
        async with running(Scheduler([Task("tidy", 1, here)], clock, db)):
            await clock.until_asleep()
            clock_passing = asyncio.create_task(clock.passes(1))
            await begun.wait()
            clock_passing.cancel()
            async with running(Scheduler([Task("tidy", 1, there)], clock, db)):
                await clock.passes(2 * RUN_S_MAX - 10)
                assert there.times == []
            release.set()
        assert len(here.times) == 1 and (await state_of(db)).claimed_until == 0

    run(scenario)


def test_the_claim_of_a_process_that_died_ends_by_itself(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = HeldClock()
        begun = asyncio.Event()

        dying = asyncio.create_task(Scheduler([Task("tidy", 1, never_ending(begun))], clock, db).run(asyncio.Event()))
        await clock.until_asleep()
        passing = asyncio.create_task(clock.passes(1))
        await begun.wait()
        passing.cancel()
        dying.cancel()
        await asyncio.wait({dying})
        died_at, runs = clock.now, Runs(clock)
        assert (await state_of(db)).claimed_until == died_at + 2_000 * RUN_S_MAX
        async with running(Scheduler([Task("tidy", HOUR_S, runs)], clock, db)):
            await clock.passes(2 * RUN_S_MAX + 60)
        assert runs.times == [died_at + 2_000 * RUN_S_MAX]

    run(scenario)


def test_a_task_that_fails_is_tried_again_later_and_later_and_the_others_go_on(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = HeldClock()
        faults = [Unavailable("No room.", where="test"), KeyError("a mistake of ours")]

        async def fails() -> Counts:
            if len(bad.times) <= 9:
                raise faults[len(bad.times) % 2]
            return Counts({"things": 1})

        bad, good = Runs(clock, fails), Runs(clock)
        scheduler = Scheduler([Task("bad", 60, bad), Task("good", 600, good)], clock, db)
        async with running(scheduler):
            await clock.passes(HOUR_S)
            state = await state_of(db, "bad")
            assert state.failures == len(bad.times) > 4
            assert "KeyError" in state.last_fault or "unavailable" in state.last_fault
            await clock.passes(5 * BACKOFF_S_MAX)
        pauses = [(later - earlier) / 1_000 for earlier, later in zip(bad.times, bad.times[1:10], strict=False)]
        for number, pause in enumerate(pauses):
            middle = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2**number)
            assert 0.5 * middle <= pause <= 1.5 * middle
        state = await state_of(db, "bad")
        assert (state.failures, state.last_fault, state.last_result) == (0, "", '{"things": 1}')
        assert scheduler.shown()["satchel_upkeep_failures_total"] == {"bad": 9}
        assert len(good.times) > 30

    run(scenario)


def test_a_task_that_hangs_is_cut_off_and_counts_as_failed(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = HeldClock()

        async def hangs() -> Counts:
            await asyncio.Event().wait()
            return Counts({})

        runs = Runs(clock, hangs)
        async with running(Scheduler([Task("tidy", 1, runs, limit_s=0.01)], clock, db)):
            await clock.passes(2)
        state = await state_of(db)
        assert (state.failures, state.claimed_until, "TimeoutError" in state.last_fault) == (1, 0, True)
        assert runs.at_once == 0

    run(scenario)


def test_a_task_that_left_work_behind_is_run_again_soon(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = HeldClock()

        async def much() -> Counts:
            return Counts({"things": 10}, has_more=len(runs.times) < 5)

        runs = Runs(clock, much)
        async with running(Scheduler([Task("tidy", 10 * HOUR_S, runs)], clock, db)):
            await clock.passes(HOUR_S)
        first = runs.times[0]
        assert runs.times == [first + number * round(SOON_S * 1_000) for number in range(5)]

    run(scenario)


def test_a_stop_lets_the_running_task_end(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = HeldClock()
        begun, release = asyncio.Event(), asyncio.Event()

        async def long() -> Counts:
            begun.set()
            await release.wait()
            return Counts({"things": 7})

        async with running(Scheduler([Task("tidy", 1, Runs(clock, long))], clock, db)) as stop:
            await clock.until_asleep()
            passing = asyncio.create_task(clock.passes(1))
            await begun.wait()
            passing.cancel()
            stop.set()
            await asyncio.sleep(0)
            release.set()
        state = await state_of(db)
        assert (state.last_result, state.claimed_until) == ('{"things": 7}', 0)

    run(scenario)


def test_a_stop_takes_away_what_does_not_end_and_another_process_goes_on_at_once(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = HeldClock()
        begun = asyncio.Event()

        cut = Runs(clock, never_ending(begun))
        async with running(Scheduler([Task("tidy", HOUR_S, cut)], clock, db, drain_s=0.01)) as stop:
            await clock.until_asleep()
            passing = asyncio.create_task(clock.passes(FIRST_S_MAX))
            await begun.wait()
            passing.cancel()
            stop.set()
        state = await state_of(db)
        assert (cut.at_once, state.claimed_until, state.failures) == (0, 0, 0)
        runs = Runs(clock)
        async with running(Scheduler([Task("tidy", HOUR_S, runs)], clock, db)):
            await clock.until_asleep()
        assert runs.times == [clock.now]

    run(scenario)


def test_a_row_written_by_a_clock_that_ran_ahead_stops_nothing(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = HeldClock()
        ahead = clock.now + 20 * 365 * 24 * HOUR_S * 1_000
        await db.write(
            b"test",
            lambda conn: conn.execute(
                "INSERT INTO upkeep_tasks (name, next_at, claimed_until) VALUES ('tidy', $1, $1)", ahead
            ),
        )
        runs = Runs(clock)
        async with running(Scheduler([Task("tidy", HOUR_S, runs)], clock, db)):
            await clock.until_asleep()
        assert runs.times == [clock.now]

    run(scenario)
