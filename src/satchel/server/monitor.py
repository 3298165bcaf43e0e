"""What is served as metrics, and where. Invariant: each name stands once, in METRICS, and no label tells who, what or
where; the address is none of the public's, so the gateway's own door does not know this page.

Rooms count in plain numbers; here they are read when somebody asks. docs/operate/metrics.md says what each means, and
a test compares the two. Source: docs/design/020, 060.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from satchel import __version__
from satchel.core.errors import Fault, SettingInvalid
from satchel.core.limits import KIB
from satchel.server.adapters.blocks_measured import MeasuredBlocks
from satchel.server.db.measured import MeasuredDatabase
from satchel.server.gateway.services import Services
from satchel.server.metrics import CONTENT_TYPE, Histogram, Labels, Metric, Series, rendered
from satchel.server.notify.notifier import Notifier
from satchel.server.notify.relay import Relay
from satchel.server.upkeep.marking import read_brake
from satchel.server.upkeep.schedule import Scheduler, task_states

METRICS = (
    Metric("satchel_build_info", "gauge", "1; the version of the program and of the schema.", ("version", "schema")),
    Metric("satchel_ready", "gauge", "1 while the last look found the process ready, else 0."),
    Metric("satchel_draining", "gauge", "1 while the process is about to stop."),
    Metric("satchel_store_away", "gauge", "1 while a store that makes things faster is gone.", ("store",)),
    Metric(
        "satchel_requests_total",
        "counter",
        "Requests that are over; code: of the fault, empty for none.",
        ("method", "route", "status", "code"),
    ),
    Metric(
        "satchel_request_seconds", "histogram", "Time from a request's header to the end of its answer.", ("route",)
    ),
    Metric("satchel_requests_in_progress", "gauge", "Requests that are being answered, long-polls among them."),
    Metric("satchel_requests_cut_total", "counter", "Requests that came too slowly, by what was late.", ("phase",)),
    Metric("satchel_received_bytes_total", "counter", "Bytes of requests' bodies."),
    Metric("satchel_sent_bytes_total", "counter", "Bytes of answers' bodies and of streams' frames."),
    Metric("satchel_commits_total", "counter", "Commits that were answered."),
    Metric("satchel_operations_total", "counter", "Operations of commits by outcome; stored: changes.", ("outcome",)),
    Metric("satchel_blocks_received_total", "counter", "Blocks that arrived."),
    Metric("satchel_blocks_received_bytes_total", "counter", "Bytes of them, as they travelled."),
    Metric("satchel_blocks_duplicate_total", "counter", "Blocks that arrived and were stored before."),
    Metric("satchel_blocks_given_total", "counter", "Blocks that were asked for and given."),
    Metric("satchel_blocks_given_bytes_total", "counter", "Bytes of them, as they travelled."),
    Metric("satchel_streams", "gauge", "Streams of devices that are open."),
    Metric("satchel_streams_closed_total", "counter", "Streams that the service closed, by close code.", ("code",)),
    Metric("satchel_waiting", "gauge", "Streams and long-polls that wait for news."),
    Metric("satchel_waiting_refused_total", "counter", "Streams and long-polls that there was no room for."),
    Metric("satchel_pushed_entries_total", "counter", "Entries that were pushed on streams."),
    Metric("satchel_positions_heard_total", "counter", "Positions of namespaces that came to this process."),
    Metric("satchel_wake_ups_total", "counter", "Streams and long-polls that a position woke."),
    Metric("satchel_gaps_total", "counter", "Times at which positions may have been missed."),
    Metric("satchel_outbox_rows", "gauge", "Positions that wait for the event log; at most 10,000 are counted."),
    Metric("satchel_outbox_age_seconds", "gauge", "No row of the outbox is older; 0 while none waits."),
    Metric("satchel_relayed_total", "counter", "Positions given to the event log."),
    Metric("satchel_relay_failures_total", "counter", "Rounds of the relay that failed."),
    Metric("satchel_notified_total", "counter", "Positions that the notifier passed on, once a gateway."),
    Metric("satchel_upkeep_runs_total", "counter", "Runs of upkeep in this process.", ("task",)),
    Metric("satchel_upkeep_failures_total", "counter", "Runs that failed.", ("task",)),
    Metric("satchel_upkeep_done_total", "counter", "What the runs did, by task and kind.", ("task", "what")),
    Metric("satchel_upkeep_task_failures", "gauge", "Failures of a task in a row, whoever ran it.", ("task",)),
    Metric("satchel_upkeep_overdue_seconds", "gauge", "For how long a task is due and nobody runs it.", ("task",)),
    Metric("satchel_upkeep_alarm", "gauge", "1 while upkeep of this kind says that something is wrong.", ("kind",)),
    Metric("satchel_database_seconds", "histogram", "Time of a transaction, waiting included.", ("call",)),
    Metric("satchel_database_waiting", "gauge", "Callers that wait for the database."),
    Metric("satchel_database_faults_total", "counter", "Transactions that the database failed.", ("call", "code")),
    Metric("satchel_block_store_seconds", "histogram", "Time of a call of the block store.", ("call",)),
    Metric("satchel_block_store_faults_total", "counter", "Calls of the block store that failed.", ("call", "code")),
    Metric("satchel_block_store_retries_total", "counter", "Requests to an object store that were sent again."),
    Metric("satchel_loop_lag_seconds", "histogram", "By how much the event loop was late, looked at twice a second."),
    Metric("process_resident_memory_bytes", "gauge", "Resident memory."),
    Metric("process_open_fds", "gauge", "File descriptors in use."),
    Metric("process_max_fds", "gauge", "File descriptors that may be in use."),
    Metric("process_cpu_seconds_total", "counter", "CPU time of the process, user and system."),
)
"""Everything that is served, in this order."""

LAG_LOOK_S = 0.5
ASK_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 15.0
HEAD_BYTES_MAX = 16 * KIB
CONNECTIONS_MAX = 16
ALARMS = ("garbage", "scrub")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where figures come from. relay, notifier: where an event log is configured; schedulers: where upkeep runs."""

    services: Services
    db: MeasuredDatabase
    blocks: MeasuredBlocks
    relay: Relay | None = None
    notifier: Notifier | None = None
    schedulers: tuple[Scheduler, ...] = ()


class Monitor:
    """Reads the figures of one process."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources
        self._lag = Histogram()
        self._open = 0

    async def watch_lag(self) -> None:
        """Look how late the event loop is, until cancelled."""
        now = asyncio.get_running_loop().time
        while True:
            before = now()
            await self._from.services.clock.sleep_s(LAG_LOOK_S)
            self._lag.observe(max(0.0, now() - before - LAG_LOOK_S))

    async def text(self) -> bytes:
        """Return all metrics as text. What a store would have to be asked for is left out while it does not answer."""
        await self._from.services.readiness.look()
        found: dict[str, Series] = {}
        found |= self._service() | self._requests() | self._blocks_and_database() | self._waiting() | _process()
        found |= self._carrying() | self._runs()
        with contextlib.suppress(Fault, TimeoutError):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                found |= await self._upkeep()
        assert found.keys() <= {metric.name for metric in METRICS}
        return rendered((metric, found.get(metric.name, {})) for metric in METRICS)

    @contextlib.asynccontextmanager
    async def serving(self, address: tuple[str, int] | None) -> AsyncIterator[int]:
        """Serve `GET /metrics` at host and port while the block runs; yield the port, 0 without an address.

        Raises: SettingInvalid when it cannot be listened on.
        """
        if address is None:
            yield 0
            return
        try:
            server = await asyncio.start_server(self._connected, *address, limit=HEAD_BYTES_MAX)
        except OSError as error:
            reason = str(error)
            raise SettingInvalid("Metrics cannot be served here.", setting="metrics_listen", reason=reason) from error
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    writer.write(await self._answer(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Whoever asks comes again.
            return
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        is_known = method == b"GET" and rest.partition(b" ")[0].partition(b"?")[0] == b"/metrics"
        status, body = ("200 OK", await self.text()) if is_known else ("404 Not Found", b"Only GET /metrics is here.\n")
        lines = (
            f"HTTP/1.1 {status}",
            f"content-type: {CONTENT_TYPE}",
            f"content-length: {len(body)}",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode() + body

    # -- where they come from -----------------------------------------------------------------------------------------

    def _service(self) -> dict[str, Series]:
        readiness, facts = self._from.services.readiness, self._from.services.facts
        return {
            "satchel_build_info": {(__version__, str(facts.schema_version)): 1},
            "satchel_ready": _one(int(readiness.last.is_ready)),
            "satchel_draining": _one(int(readiness.is_draining)),
            "satchel_store_away": {(name,): int(is_away) for name, is_away in readiness.away().items()},
            "satchel_loop_lag_seconds": _one(self._lag),
        }

    def _requests(self) -> dict[str, Series]:
        counters = self._from.services.counters
        answers: dict[Labels, float] = {}
        for answer, count in counters.answers.items():
            labels = (answer.method, answer.route, f"{answer.status // 100}xx", answer.code)
            answers[labels] = answers.get(labels, 0) + count
        return {
            "satchel_requests_total": answers,
            "satchel_request_seconds": {(route,): seconds for route, seconds in counters.seconds.items()},
            "satchel_requests_in_progress": _one(counters.in_progress),
            "satchel_requests_cut_total": {(phase,): count for phase, count in counters.cut.items()},
            "satchel_received_bytes_total": _one(counters.received_bytes),
            "satchel_sent_bytes_total": _one(counters.sent_bytes),
            "satchel_commits_total": _one(counters.commits),
            "satchel_operations_total": {(outcome,): count for outcome, count in counters.outcomes.items()},
            "satchel_streams": _one(counters.streams),
            "satchel_streams_closed_total": {(str(code),): count for code, count in counters.closed_streams.items()},
            "satchel_pushed_entries_total": _one(counters.pushed_entries),
        }

    def _blocks_and_database(self) -> dict[str, Series]:
        counts, db, store = self._from.services.blocks.counts, self._from.db, self._from.blocks
        return {
            "satchel_blocks_received_total": _one(counts.received),
            "satchel_blocks_received_bytes_total": _one(counts.received_bytes),
            "satchel_blocks_duplicate_total": _one(counts.duplicate),
            "satchel_blocks_given_total": _one(counts.given),
            "satchel_blocks_given_bytes_total": _one(counts.given_bytes),
            "satchel_database_seconds": {("read",): db.reads, ("write",): db.writes},
            "satchel_database_waiting": _one(db.waiting),
            "satchel_database_faults_total": db.faults,
            "satchel_block_store_seconds": {(call,): seconds for call, seconds in store.seconds.items()},
            "satchel_block_store_faults_total": store.faults,
            "satchel_block_store_retries_total": _one(store.retries),
        }

    def _waiting(self) -> dict[str, Series]:
        waiters = self._from.services.waiters
        return {
            "satchel_waiting": _one(len(waiters)),
            "satchel_waiting_refused_total": _one(waiters.counts.refused),
            "satchel_positions_heard_total": _one(waiters.counts.told),
            "satchel_wake_ups_total": _one(waiters.counts.woken),
            "satchel_gaps_total": _one(waiters.counts.gaps),
        }

    def _carrying(self) -> dict[str, Series]:
        found: dict[str, Series] = {}
        if self._from.relay is not None:
            counts = self._from.relay.counts
            is_late = bool(counts.waiting or counts.fault) and counts.drained_ms > 0
            age_ms = self._from.services.clock.now_ms() - counts.drained_ms if is_late else 0
            found |= {
                "satchel_outbox_rows": _one(counts.waiting),
                "satchel_outbox_age_seconds": _one(max(0, age_ms) / 1_000),
                "satchel_relayed_total": _one(counts.relayed),
                "satchel_relay_failures_total": _one(counts.failed),
            }
        if self._from.notifier is not None:
            found["satchel_notified_total"] = _one(self._from.notifier.told)
        return found

    def _runs(self) -> dict[str, Series]:
        runs: dict[Labels, float] = {}
        failures: dict[Labels, float] = {}
        done: dict[Labels, float] = {}
        for scheduler in self._from.schedulers:
            shown = scheduler.shown()
            runs |= {(task,): count for task, count in _counts(shown["satchel_upkeep_runs_total"])}
            failures |= {(task,): count for task, count in _counts(shown["satchel_upkeep_failures_total"])}
            for name, count in _counts(shown["satchel_upkeep_done_total"]):
                task, _, what = name.partition(" ")
                done[task, what] = count
        return {
            "satchel_upkeep_runs_total": runs,
            "satchel_upkeep_failures_total": failures,
            "satchel_upkeep_done_total": done,
        }

    async def _upkeep(self) -> dict[str, Series]:
        """Return what the database says of upkeep, where upkeep runs: other processes would only say it again."""
        if not self._from.schedulers:
            return {}
        db, now_ms = self._from.db, self._from.services.clock.now_ms()
        states = await task_states(db)
        late = {state.name: now_ms - max(state.next_at, state.claimed_until) for state in states}
        return {
            "satchel_upkeep_task_failures": {(state.name,): state.failures for state in states},
            "satchel_upkeep_overdue_seconds": {(name,): max(0, late_ms) / 1_000 for name, late_ms in late.items()},
            "satchel_upkeep_alarm": {(kind,): int(bool((await read_brake(db, kind)).alarm)) for kind in ALARMS},
        }


def _one(value: float | Histogram) -> Series:
    return {(): value}


def _counts(shown: object) -> Sequence[tuple[str, int]]:
    return [(str(name), int(count)) for name, count in shown.items()] if isinstance(shown, dict) else []


def _process() -> dict[str, Series]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    found: dict[str, Series] = {
        "process_cpu_seconds_total": _one(used.ru_utime + used.ru_stime),
        "process_max_fds": _one(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }
    # Where there is no such folder, as outside of Linux, these two are not told.
    with contextlib.suppress(OSError):
        with open("/proc/self/statm", encoding="ascii") as file:
            found["process_resident_memory_bytes"] = _one(int(file.read().split()[1]) * resource.getpagesize())
        found["process_open_fds"] = _one(len(os.listdir("/proc/self/fd")))
    return found
