"""Metrics: counted rightly, served where told and nowhere else, and without a word of what people call things."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.core.errors import Unavailable
from satchel.core.messages import Hello
from satchel.server.adapters.blocks_measured import MeasuredBlocks
from satchel.server.db.engine import Connection
from satchel.server.db.measured import MeasuredDatabase
from satchel.server.db.sqlite import InlineSqliteDatabase
from satchel.server.metrics import SECONDS, Histogram, Metric, rendered
from satchel.server.monitor import METRICS
from satchel.server.ports import Place
from tests.support.server import RunningServer, ask, running_server
from tests.support.wire import Refusal, Wire, open_stream

LINE = re.compile(r'([a-z_]+)(\{[a-z_]+="[^"\n]*"(?:,[a-z_]+="[^"\n]*")*\})? (\d+(?:\.\d+)?(?:e-?\d+)?)')
CANARIES = ("canary-user", "canary-device", "canary-file", "canary-route", "PROPFIND")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    environment = {"SATCHEL_METRICS_LISTEN": "0"}
    with running_server(tmp_path_factory.mktemp("metrics"), environment=environment) as running:
        yield running


def test_what_happened_is_counted_and_nobody_is_named(server: RunningServer) -> None:
    session = server.add_user("canary-user").sign_in("canary-device")
    before = server.metrics()

    def more(name: str) -> float:
        return now.get(name, 0.0) - before.get(name, 0.0)

    async def holding() -> dict[str, float]:
        stream = await open_stream(session, Hello(1, b"", wire.link, 1, ()))
        await stream.next()
        try:
            return await asyncio.to_thread(server.metrics)
        finally:
            await stream.connection.close()

    with Wire(session) as wire:
        for name in ("canary-file one", "canary-file two"):
            wire.commit(wire.create(name, b"same"), inline=[b"same"])
        with pytest.raises(Refusal):
            wire.call("canary-route", None, Hello)
        assert ask(server.url, "REPORT", "/canary-route/canary-file").status == 404
        assert session.ask("GET", "/api/v1/entry", path="/canary-file three").status == 404
        now = asyncio.run(holding())
    commits = 'satchel_requests_total{method="POST",route="/sync/v1/commit",status="2xx",code=""}'
    assert (more(commits), more("satchel_commits_total")) == (2, 2)
    assert more('satchel_operations_total{outcome="stored"}') == 2
    assert (more("satchel_blocks_received_total"), more("satchel_blocks_duplicate_total")) == (2, 1)
    missing = 'satchel_requests_total{method="GET",route="/api/v1/entry",status="4xx",code="not_found"}'
    assert more(missing) == 1
    assert more('satchel_requests_total{method="other",route="other",status="4xx",code="not_found"}') == 1
    assert more('satchel_request_seconds_count{route="/sync/v1/commit"}') == 2
    assert (now["satchel_streams"], now["satchel_waiting"]) == (1, 1)
    assert more('satchel_database_seconds_count{call="write"}') >= 2
    assert more('satchel_block_store_seconds_count{call="put"}') == 1
    assert more("satchel_received_bytes_total") > 8 and more("satchel_sent_bytes_total") > 0
    assert now['satchel_upkeep_alarm{kind="garbage"}'] == 0
    assert now["process_resident_memory_bytes"] > 10_000_000
    text = " ".join(now)
    assert [word for word in (*CANARIES, session.token, session.device_id.hex()) if word in text] == []


def test_every_metric_has_its_type_and_every_line_its_form(server: RunningServer) -> None:
    body = ask(f"http://127.0.0.1:{server.metrics_port}", "GET", "/metrics").body.decode()
    assert [line for line in body.splitlines() if not line.startswith("# ") and not LINE.fullmatch(line)] == []
    assert re.findall(r"^# TYPE (\S+) (\S+)$", body, re.MULTILINE) == [(each.name, each.kind) for each in METRICS]


def test_the_public_door_has_no_metrics_and_their_door_has_nothing_else(server: RunningServer) -> None:
    assert ask(server.url, "GET", "/metrics").status == 404
    for method, path in (("GET", "/"), ("GET", "/health"), ("POST", "/metrics"), ("GET", "/api/v1/account")):
        assert ask(f"http://127.0.0.1:{server.metrics_port}", method, path).status == 404


def test_without_the_setting_nothing_is_served(tmp_path: Path) -> None:
    with running_server(tmp_path) as plain:
        assert plain.metrics_port == 0


def test_a_histogram_counts_each_value_once_and_names_its_bounds() -> None:
    seconds = Histogram()
    for value in (0.0, 0.001, 0.0011, 31.0):
        seconds.observe(value)
    parts = dict(seconds.parts())
    assert (parts["0.001"], parts["0.0025"], parts["30"], parts["+Inf"]) == (2, 3, 3, 4)
    assert (seconds.count, len(parts)) == (4, len(SECONDS) + 1)


def test_a_label_cannot_end_its_line() -> None:
    text = rendered([(Metric("m", "gauge", "Help.", ("a",)), {('x"} 1\nevil 2\\',): 1})]).decode()
    assert text.splitlines()[2:] == ['m{a="x\\"} 1\\nevil 2\\\\"} 1']


def test_failures_of_the_stores_are_counted_and_answers_to_people_are_not() -> None:
    class Failing:
        async def put(self, name: str, pieces: object) -> Place:
            raise Unavailable("Gone.", where="here", reason="test")

    async def main() -> None:
        blocks, db = MeasuredBlocks(Failing()), MeasuredDatabase(InlineSqliteDatabase())  # type: ignore[arg-type]
        with pytest.raises(Unavailable):
            await blocks.put("name", [])
        assert blocks.faults == {("put", "unavailable"): 1}

        async def broken(conn: Connection) -> None:
            await conn.fetch("SELECT no_such FROM nowhere")

        with pytest.raises(Exception, match="nowhere"):
            await db.read(broken)
        assert (db.reads.count, db.waiting) == (1, 0)
        assert sum(db.faults.values()) == 1

    asyncio.run(main())
