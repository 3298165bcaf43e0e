"""`make load`: what the service does on one core, beside what the same machine does with nothing of ours in between.

(a) embedded: SQLite and local packs; (b) full: PostgreSQL, S3, Valkey and Kafka as real servers, a gateway and a
notifier. The service's process has one core for itself; the generator, the stores and the notifier share the other.
A closed loop finds the most it can do; then 70 % of that is offered on a schedule that was fixed before, and each time
counts from when its request was due: no coordinated omission. No figure is judged here: targets are printed beside.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop
from tests.support.cluster import Stores
from tests.support.kafka import running_kafka
from tests.support.postgres import running_postgres
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, running_s3
from tests.support.server import Session
from tests.support.valkey import running_valkey

from bench.load import held, limits, measure, work
from bench.load.http_line import Line
from bench.load.loops import closed_loop
from bench.load.measure import Kind, Target
from bench.load.processes import Cores, LoadedServer, bare_server, file_system, on_core
from bench.load.report import HEAD, Figure, Report, machine
from bench.load.work import BATCH_FILES, BLOCK_BYTES, BLOCKS, Place

PUT_MB = BLOCKS * BLOCK_BYTES / 1e6
READERS, WRITERS, MOVERS = 32, 64, 8
OVERLOAD_LINES = 1_000
BATCHES = (50, BATCH_FILES)
"""Files in a commit. One waits for those before it: at 70 % of what a core does, a hundredth wait some seven times as
long as one takes, so how large they are is what the slowest show."""
SIZED_BATCHES = 25
MEASURES = ("bare", "reads", "commits", "blocks", "wake", "held", "longpolls", "overload")
ALONE = ("held", "longpolls")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a run does. seconds: of each open load; the rest are counts."""

    seconds: float
    accounts: int
    held: int
    followers: int
    rounds: int
    idle_s: float
    puts: int


FULL = Sizes(seconds=20.0, accounts=16, held=15_000, followers=1_000, rounds=20, idle_s=60.0, puts=150)
SHORT = Sizes(seconds=3.0, accounts=8, held=2_000, followers=1_000, rounds=5, idle_s=5.0, puts=40)
QUICK = Sizes(seconds=0.3, accounts=2, held=50, followers=50, rounds=2, idle_s=0.2, puts=4)


@dataclass(frozen=True, slots=True)
class Bare:
    """What the machine does with nothing of ours. In things a second and MB a second; 0: not measured."""

    small: float = 0.0
    up: float = 0.0
    down: float = 0.0
    commit: float = 0.0
    commit_of: str = ""
    rows: float = 0.0
    rows_of: str = ""
    stored_up: float = 0.0
    stored_down: float = 0.0
    stored_of: str = ""


async def bare_figures(report: Report, sizes: Sizes, cores: Cores) -> Bare:
    """Measure the server that does nothing."""
    with on_core(cores.server):
        running = contextlib.ExitStack()
        url, pid = running.enter_context(bare_server())
    with running:
        target = Target("bare", url, pid, (), report, sizes.seconds)
        large = bytes(BLOCKS * BLOCK_BYTES)
        kinds = (
            Kind("small answer", "requests/s", 1, lambda n: work.bare_requests("/", n), READERS),
            Kind("body of 4 MiB up", "MB/s", PUT_MB, lambda n: work.bare_requests("/up", n, body=large), MOVERS),
            Kind("body of 4 MiB down", "MB/s", PUT_MB, lambda n: work.bare_requests("/large", n), MOVERS),
        )
        small, up, down = [await measure.at_share_of_capacity(target, kind) * kind.per_request for kind in kinds]
        nobody = Place(Session(url, "nobody", b"", b"", bytes(16)), 0, b"", 0, b"")
        wake = measure.bare_wake_requests(sizes.rounds)
        await measure.woken(target, nobody, sizes.followers, sizes.rounds, wake=wake, path="/stream")
        await measure.held_streams(target, [nobody], sizes.held, idle_s=min(2.0, sizes.idle_s), path="/stream")
    return Bare(small, up, down)


async def measured(target: Target, places: Sequence[Place], bare: Bare, sizes: Sizes, wanted: Sequence[str]) -> None:
    """Take all wanted figures of one service."""
    reads = Kind(
        "changes after a cursor",
        "requests/s",
        1,
        lambda n: work.changes_requests(places, n),
        READERS,
        bare.small,
        "bare answers/s",
        ">= 800/s, p99 <= 50 ms",
    )
    if "reads" in wanted:
        await measure.at_share_of_capacity(target, reads)
        for name, make in (("entry by path", work.entry_requests), ("listing of 100", work.listing_requests)):

            def bound(n: int, make: object = make) -> list[bytes]:
                assert callable(make)
                made: list[bytes] = make(places, n)
                return made

            await measure.at_share_of_capacity(target, replace(reads, name=name, make=bound))
    if "commits" in wanted:
        await _commits(target, places, bare)
    if "blocks" in wanted:
        await _blocks(target, places, bare, sizes)
    if "overload" in wanted:
        # Commits: what can be refused a second is far beyond what can be done, and the generator can offer it.
        single = replace(_single(places, bare), name="commits of one file, again")
        most = await measure.at_share_of_capacity(target, single)
        await measure.overloaded(target, _single(places, bare), most, lines=OVERLOAD_LINES)
    places = [work.at_head(place) for place in places]
    if "wake" in wanted:
        wake = measure.wake_requests(places[0], sizes.rounds)
        await measure.woken(target, places[0], sizes.followers, sizes.rounds, wake=wake, path="/sync/v1/stream")
    places = [work.at_head(place) for place in places]
    if "held" in wanted:
        await measure.held_streams(target, places, sizes.held, idle_s=sizes.idle_s, path="/sync/v1/stream")
    if "longpolls" in wanted:
        cursors = [work.end_cursor(place.session) for place in places]
        asked = [
            held.waiting_request(cursors[number % len(places)], places[number % len(places)].session.token)
            for number in range(sizes.held // 2)
        ]
        await measure.held_longpolls(target, asked, settle_s=min(2.0, sizes.idle_s))


def _single(places: Sequence[Place], bare: Bare) -> Kind:
    return Kind(
        "commits of one file",
        "commits/s",
        1,
        lambda n: work.commit_requests(places, n, files=1),
        WRITERS,
        bare.commit,
        bare.commit_of,
        ">= 300/s, p99 <= 100 ms",
        requests_max=40_000,
    )


async def _commits(target: Target, places: Sequence[Place], bare: Bare) -> None:
    await measure.at_share_of_capacity(target, _single(places, bare))
    for files in BATCHES:

        def make(n: int, files: int = files) -> list[bytes]:
            return work.commit_requests(places, n, files=files)

        batched = Kind(
            f"commits of {files} files",
            "files/s",
            files,
            make,
            8,
            bare.rows,
            bare.rows_of,
            ">= 10,000/s, p99 <= 100 ms",
            requests_max=1_000 * BATCH_FILES // files,
        )
        await measure.at_share_of_capacity(target, batched)


async def _blocks(target: Target, places: Sequence[Place], bare: Bare, sizes: Sizes) -> None:
    """Put blocks, and get those that were put."""
    stored: list[bytes] = []

    def puts(count: int) -> list[bytes]:
        made, again = work.put_requests(places, count)
        stored.extend(again)
        return made

    up = Kind("blocks up", "MB/s", PUT_MB, puts, MOVERS, bare.stored_up, bare.stored_of, ">= 200 MB/s", sizes.puts)
    down = replace(
        up,
        name="blocks down",
        make=lambda n: [stored[at % len(stored)] for at in range(n)],
        limit=bare.stored_down,
        requests_max=sizes.puts * 4,
    )
    await measure.at_share_of_capacity(target, up)
    await measure.at_share_of_capacity(target, down)


def _in_turns(
    target: Target,
    server: LoadedServer,
    cores: Cores,
    places: Sequence[Place],
    bare: Bare,
    sizes: Sizes,
    wanted: Sequence[str],
) -> None:
    """Measure against the service that runs; memory against one that is started anew, which reuses none."""
    for alone in ("", "held", "longpolls"):
        turn = [alone] if alone in wanted else [name for name in wanted if not alone and name not in ALONE]
        if not turn:
            continue
        if alone:
            server.stop()
            with on_core(cores.server):
                server.start()
        here = [replace(place, session=replace(place.session, url=server.url)) for place in places]
        fresh = replace(target, url=server.url, pid=server.pid)
        uvloop.run(measured(fresh, here, bare, sizes, turn))


def embedded(report: Report, folder: Path, sizes: Sizes, cores: Cores, bare: Bare, wanted: Sequence[str]) -> None:
    """(a) SQLite and local packs in `folder`."""
    seconds = sizes.seconds / 2
    syncs = limits.fsyncs_per_s(str(folder), seconds)
    disk = limits.durable_mb_per_s(str(folder), seconds)
    report.add(Figure("embedded", "fsync, bare", syncs, "fsyncs/s", note="4 KiB appended, one after another"))
    report.add(Figure("embedded", "4 MiB appended and fsynced, bare", disk, "MB/s"))
    here = replace(
        bare,
        commit=syncs,
        commit_of="single fsyncs/s",
        stored_up=min(disk, bare.up or disk),
        stored_down=bare.down,
        stored_of="MB/s, the bare server or the disk",
    )
    server = LoadedServer(folder / "data")
    with on_core(cores.server):
        server.start()
    try:
        places = work.furnish(server, sizes.accounts)
        _in_turns(Target("embedded", "", 0, (), report, sizes.seconds), server, cores, places, here, sizes, wanted)
    finally:
        server.stop()


def full(report: Report, folder: Path, sizes: Sizes, cores: Cores, bare: Bare, wanted: Sequence[str]) -> None:
    """(b) real stores, on the generator's core."""
    with _stores() as stores:
        environment, seconds = stores.environment(), sizes.seconds / 2
        database, objects = environment["SATCHEL_DATABASE_URL"], environment["SATCHEL_BLOCKS_URL"]
        bare_url = stores.postgres.create("bare")
        commit = uvloop.run(limits.inserts_per_s(bare_url, seconds, connections=10))
        rows = uvloop.run(limits.copied_rows_per_s(bare_url, seconds))
        up, down = uvloop.run(limits.object_mb_per_s(objects, (ACCESS_KEY, SECRET_KEY), seconds, at_once=MOVERS))
        for name, value, unit in (
            ("PostgreSQL, bare inserts", commit, "commits/s"),
            ("PostgreSQL, bare COPY", rows, "rows/s"),
            ("S3, bare PUT of 4 MiB", up, "MB/s"),
            ("S3, bare GET of 4 MiB", down, "MB/s"),
        ):
            report.add(Figure("full", name, value, unit))
        here = replace(
            bare,
            commit=commit,
            commit_of="bare INSERTs/s",
            rows=rows,
            rows_of="bare COPY rows/s",
            stored_up=up,
            stored_down=down,
            stored_of="MB/s of bare S3",
        )
        postgres = int(Path(stores.postgres.folder, "data", "postmaster.pid").read_text().split()[0])
        assert stores.s3.process is not None
        gateway = LoadedServer(folder / "gateway", ("--roles", "gateway"), environment)
        notifier = LoadedServer(folder / "notifier", ("--roles", "notifier"), environment)
        with on_core(cores.server):
            gateway.start()
        notifier.start()
        try:
            places = work.furnish(gateway, sizes.accounts)
            behind = (postgres, stores.s3.process.pid)
            target = Target("full", gateway.url, gateway.pid, behind, report, sizes.seconds)
            if "commits" in wanted:
                uvloop.run(_stored_size(target, places[0], database))
            _in_turns(target, gateway, cores, places, here, sizes, wanted)
        finally:
            gateway.stop()
            notifier.stop()


async def _stored_size(target: Target, place: Place, database: str) -> None:
    """Tell what a small file takes in PostgreSQL and in its log, and what another version of it adds."""
    lines = [await Line.open(target.url)]
    before = await limits.database_bytes(database)
    made, seqs = work.created(place, SIZED_BATCHES)
    between = await limits.database_bytes(database)
    done = await closed_loop(lines, work.edit_requests(place, made, seqs))
    after = await limits.database_bytes(database)
    lines[0].close()
    files = SIZED_BATCHES * BATCH_FILES
    if len(done.times_s) != SIZED_BATCHES:
        raise RuntimeError(f"edits: {dict(done.statuses)}")
    for name, at in (("row bytes", 0), ("log bytes", 1)):
        for what, taken in (("a file", between[at] - before[at]), ("an edit", after[at] - between[at])):
            figure = Figure("full", f"{name} of {what}", taken / files, "bytes", note=f"{files:,} of them")
            target.report.add(figure)


@contextlib.contextmanager
def _stores() -> Iterator[Stores]:
    with running_postgres() as postgres, running_s3() as s3, running_valkey() as valkey, running_kafka() as kafka:
        yield Stores(postgres, s3, valkey, kafka)


def run(given: argparse.Namespace, sizes: Sizes) -> Report:
    """Measure all that is wanted and return the figures."""
    cores, where = Cores.of_machine(), machine()
    os.sched_setaffinity(0, {cores.generator})
    facts: dict[str, object] = {
        "command": "python -m bench.load " + shlex.join(sys.argv[1:]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": where,
    }
    report = Report(facts)
    wanted = given.only.split(",") if given.only else MEASURES
    with tempfile.TemporaryDirectory(prefix="satchel-load-", dir=given.work) as made:
        folder = Path(made)
        print(f"{where}; the service on core {cores.server}, all else on core {cores.generator};")
        print(f"embedded data on {file_system(made)}, the stores' on {file_system(tempfile.gettempdir())}")
        print(HEAD)
        bare = uvloop.run(bare_figures(report, sizes, cores)) if "bare" in wanted else Bare()
        if given.stack in ("embedded", "both"):
            embedded(report, folder, sizes, cores, bare, wanted)
        if given.stack in ("full", "both"):
            full(report, folder, sizes, cores, bare, wanted)
    return report


def main() -> None:
    """Read the arguments, run, and write `build/load.jsonl` and `build/load.json`."""
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("--stack", choices=("embedded", "full", "both"), default="both")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures mean nothing")
    parser.add_argument("--short", action="store_true", help="about two minutes")
    parser.add_argument("--seconds", type=float, help="of each open load")
    parser.add_argument("--held", type=int, help="connections to hold")
    parser.add_argument("--only", default="", help=f"some of {','.join(MEASURES)}")
    parser.add_argument("--work", help="folder for the embedded data")
    given = parser.parse_args()
    sizes = QUICK if given.quick else SHORT if given.short else FULL
    sizes = replace(sizes, seconds=given.seconds or sizes.seconds, held=given.held or sizes.held)
    report = run(given, sizes)
    report.write(ROOT)


if __name__ == "__main__":
    main()
