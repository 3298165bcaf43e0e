"""Runs what is done in the background, each task in one process at a time. Invariant: a task that fails, hangs or dies
with its process is tried again later, and stops no other task.

Every process may run a scheduler. A task is taken by a claim in its row of `upkeep_tasks`; a claim outlasts the longest
run, so it is never renewed, and ends by itself when its process died. Clocks that differ could let two processes run a
task at once, so tasks are safe for that too. A process runs one task at a time: people's requests go first.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from satchel.core.errors import Fault
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock

_log = structlog.get_logger("upkeep")

UPKEEP_KEY = b"upkeep"
"""Group-commit key of writes to the rows of tasks."""

DAY_S = 24 * 60 * 60

POLL_S = 30.0
SOON_S = 5.0
"""A task that left work behind is due again after so long; others come between."""
FIRST_S_MAX = 300.0
"""A task that never ran is due within this time, so that a start is not slowed."""
RUN_S_MAX = 300.0
DRAIN_S = 20.0
BACKOFF_S_MIN = 30.0
BACKOFF_S_MAX = 3_600.0
JITTER = 0.1
CLAIM_BYTES = 16
FAULT_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run did, by name. has_more: it stopped at its own bound, so it is to be run again soon."""

    done: Mapping[str, int]
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """Something that is done about every `every_s`. run: bounded in work; safe to cancel, to repeat, and to run beside
    itself; cancelled after limit_s."""

    name: str
    every_s: float
    run: Callable[[], Awaitable[Counts]]
    limit_s: float = RUN_S_MAX

    @property
    def claim_s(self) -> float:
        """How long a claim holds: longer than any run."""
        return 2 * self.limit_s


class TaskState(NamedTuple):
    """A task's row, for people. Times: Unix ms, 0 for never. last_ms: how long the last run took. last_result: counts
    of the last run that ended well, as JSON; last_fault: empty when the last run was that one."""

    name: str
    next_at: int
    claimed_until: int
    failures: int
    last_at: int
    last_ms: int
    last_result: str
    last_fault: str


class _Claim(NamedTuple):
    """The right to run a task. failures: how many runs failed since the last good one."""

    token: bytes
    failures: int


async def task_states(db: Database) -> list[TaskState]:
    """Return the rows of all tasks that this store ever ran, by name."""
    rows = await db.read(
        lambda conn: conn.fetch(f"SELECT {', '.join(TaskState._fields)} FROM upkeep_tasks ORDER BY name")
    )
    return [TaskState._make(row) for row in rows]


class Scheduler:
    """Runs tasks until it is stopped."""

    def __init__(self, tasks: Sequence[Task], clock: Clock, db: Database, *, drain_s: float = DRAIN_S) -> None:
        self._tasks = {task.name: task for task in tasks}
        assert len(self._tasks) == len(tasks)
        self._clock, self._db = clock, db
        self._drain_s = drain_s
        self._runs: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._done: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        """Run what is due until `stop` is set; what runs then is given `drain_s` to end and is otherwise cancelled."""
        while not stop.is_set():
            try:
                pause_s = await self._step(stop)
            except Fault as fault:
                _log.warning("upkeep.no_store", code=fault.code, error=str(fault))
                pause_s = POLL_S
            await self._pause(stop, pause_s)

    def shown(self) -> dict[str, object]:
        """Return what this process did since its start as plain data, by name."""
        return {
            "satchel_upkeep_runs_total": dict(sorted(self._runs.items())),
            "satchel_upkeep_failures_total": dict(sorted(self._failures.items())),
            "satchel_upkeep_done_total": dict(sorted(self._done.items())),
        }

    async def _step(self, stop: asyncio.Event) -> float:
        """Run the one task that is due for longest, if any is free; return how many seconds nothing is due."""
        now = self._clock.now_ms()
        states = {state.name: state for state in await task_states(self._db)}
        unknown = [task for name, task in self._tasks.items() if name not in states]
        if unknown:
            await self._db.write(UPKEEP_KEY, lambda conn: self._register_txn(conn, unknown, now))
            return 0.0
        due = sorted((_due_ms(states[name], task, now), name) for name, task in self._tasks.items())
        for due_ms, name in due:
            if due_ms > now:
                return min(POLL_S, (due_ms - now) / 1_000)
            claim = await self._claim(self._tasks[name], now)
            if claim is not None:
                await self._run_claimed(self._tasks[name], claim, stop)
                return 0.0
        return POLL_S

    async def _register_txn(self, conn: Connection, tasks: Sequence[Task], now_ms: int) -> None:
        await conn.execute_many(
            "INSERT INTO upkeep_tasks (name, next_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
            [(task.name, now_ms + _ms(self._fraction() * min(task.every_s, FIRST_S_MAX))) for task in tasks],
        )

    async def _claim(self, task: Task, now_ms: int) -> _Claim | None:
        token = self._clock.random(CLAIM_BYTES)

        async def claim_txn(conn: Connection) -> _Claim | None:
            taken = await conn.execute(
                "UPDATE upkeep_tasks SET claimed_by = $2, claimed_until = $3 WHERE name = $1"
                " AND (next_at <= $4 OR next_at > $5) AND (claimed_until <= $4 OR claimed_until > $6)",
                *(task.name, token, now_ms + _ms(task.claim_s), now_ms, now_ms + _pause_ms_max(task)),
                now_ms + 2 * _ms(task.claim_s),
            )
            if not taken:
                return None
            rows = await conn.fetch("SELECT failures FROM upkeep_tasks WHERE name = $1", task.name)
            return _Claim(token, rows[0][0])

        return await self._db.write(UPKEEP_KEY, claim_txn)

    async def _run_claimed(self, task: Task, claim: _Claim, stop: asyncio.Event) -> None:
        begun_ms = self._clock.now_ms()
        outcome = await self._attempt(task, stop)
        ended_ms = self._clock.now_ms()
        took_ms = max(0, ended_ms - begun_ms)
        failures, result, fault = 0, None, ""
        if outcome is None:
            _log.info("upkeep.stopped", task=task.name)
            pause_s, failures = 0.0, claim.failures
        elif isinstance(outcome, Counts):
            self._note_done(task, outcome, took_ms)
            result = json.dumps(dict(outcome.done), sort_keys=True)
            pause_s = SOON_S if outcome.has_more else task.every_s * (1 + JITTER * (2 * self._fraction() - 1))
        else:
            failures = claim.failures + 1
            fault = self._note_failed(task, outcome, failures)
            pause_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(failures - 1, 16)) * (0.5 + self._fraction())
        held = await self._db.write(
            UPKEEP_KEY,
            lambda conn: conn.execute(
                "UPDATE upkeep_tasks SET next_at = $3, claimed_until = 0, claimed_by = NULL, last_at = $4,"
                " last_ms = $5, last_result = COALESCE($6, last_result), last_fault = $7, failures = $8"
                " WHERE name = $1 AND claimed_by = $2",
                *(task.name, claim.token, ended_ms + _ms(pause_s), ended_ms, took_ms, result, fault, failures),
            ),
        )
        if not held:
            _log.warning("upkeep.claim_lost", task=task.name)

    async def _attempt(self, task: Task, stop: asyncio.Event) -> Counts | Exception | None:
        """Run the task; None when it was cancelled because the process stops."""
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self._outcome(task))
            stopped = group.create_task(stop.wait())
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not running.done():
                await asyncio.wait({running}, timeout=self._drain_s)
                running.cancel()
        return None if running.cancelled() else running.result()

    async def _outcome(self, task: Task) -> Counts | Exception:
        try:
            async with asyncio.timeout(task.limit_s):
                return await task.run()
        except Exception as error:  # the main loop of all tasks: logged with the task, tried again, the others go on
            return error

    def _note_done(self, task: Task, counts: Counts, took_ms: int) -> None:
        self._runs[task.name] += 1
        for name, count in counts.done.items():
            self._done[f"{task.name} {name}"] += count
        tell = _log.info if any(counts.done.values()) else _log.debug
        tell("upkeep.done", task=task.name, took_ms=took_ms, counts=dict(counts.done), has_more=counts.has_more)

    def _note_failed(self, task: Task, error: Exception, failures: int) -> str:
        """Log and count the failure; return its text for the task's row."""
        self._runs[task.name] += 1
        self._failures[task.name] += 1
        if isinstance(error, Fault):
            _log.warning("upkeep.failed", task=task.name, failures=failures, code=error.code, error=str(error))
            return f"{error.code}: {error}"[:FAULT_CHARS_MAX]
        trace = "".join(traceback.format_exception(error))
        _log.error("upkeep.broken", task=task.name, failures=failures, error=repr(error), trace=trace)
        return repr(error)[:FAULT_CHARS_MAX]

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        """Return after `seconds`, or when `stop` is set."""
        if seconds <= 0 or stop.is_set():
            return
        async with asyncio.TaskGroup() as group:
            waits = {group.create_task(self._clock.sleep_s(seconds)), group.create_task(_until(stop))}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    def _fraction(self) -> float:
        """Return a random number from 0 to below 1."""
        return int.from_bytes(self._clock.random(4), "big") / 2**32


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)


def _pause_ms_max(task: Task) -> int:
    """Return what no pause of the task comes near: a row beyond it was written by a clock that was wrong."""
    return 2 * _ms(max(task.every_s, BACKOFF_S_MAX))


def _due_ms(state: TaskState, task: Task, now_ms: int) -> int:
    """Return when the task can be run next, by the rule that the claim goes by."""
    next_at = state.next_at if state.next_at <= now_ms + _pause_ms_max(task) else 0
    claimed_until = state.claimed_until if state.claimed_until <= now_ms + 2 * _ms(task.claim_s) else 0
    return max(next_at, claimed_until)
