"""Alive, ready, degraded: what a process says of itself, what a look costs, and what names it gives."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from satchel.core.errors import Unavailable
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.db.engine import Database
from satchel.server.gateway import readiness
from satchel.server.gateway.readiness import Readiness
from tests.support.clocks import SteppingClock
from tests.support.databases import Run
from tests.support.server import ask, running_server
from tests.support.valkey import ValkeyServer


class ProbedBlocks:
    """Only the probe of a block store, which counts how often it was asked."""

    def __init__(self) -> None:
        self.probes = 0
        self.is_well = True

    async def probe(self) -> None:
        self.probes += 1
        if not self.is_well:
            raise Unavailable("Gone.", where="here", reason="test")


def looking(db: Database, blocks: ProbedBlocks, **more: object) -> Readiness:
    return Readiness(db, blocks, **more)  # type: ignore[arg-type]


def test_a_hundred_looks_at_once_ask_each_store_once(run: Run) -> None:
    async def scenario(db: Database) -> None:
        blocks = ProbedBlocks()
        ready = looking(db, blocks)
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(ready.look()) for _ in range(100)]
        assert {look.result().status for look in looks} == {"ready"}
        assert blocks.probes == 1

    run(scenario)


def test_what_is_missing_is_named_and_found_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "KEPT_S", 0.0)

    async def scenario(db: Database) -> None:
        blocks = ProbedBlocks()
        ready = looking(db, blocks)
        blocks.is_well = False
        assert ((await ready.look()).status, ready.last.not_ready) == ("not_ready", ("blocks",))
        blocks.is_well = True
        assert (await ready.look()).is_ready
        newest = "UPDATE schema_migrations SET number = {} WHERE number = (SELECT MAX(number) FROM schema_migrations)"
        await db.write(b"", lambda conn: conn.execute(newest.format(0)))
        assert (await ready.look()).not_ready == ("schema",)
        # A newer one is that of the next release.
        await db.write(b"", lambda conn: conn.execute(newest.format(1_000)))
        assert (await ready.look()).is_ready
        await db.close()
        assert (await ready.look()).not_ready == ("database",)
        ready.is_draining = True
        assert (await ready.look()).not_ready == ("draining",)

    run(scenario)


def test_what_only_makes_things_faster_is_named_and_leaves_it_ready(run: Run) -> None:
    async def scenario(db: Database) -> None:
        away = {"state": lambda: True, "bus": lambda: False}
        ready = looking(db, ProbedBlocks(), state=MemoryState(SteppingClock()), away=away)
        found = await ready.look()
        assert (found.status, found.degraded, found.is_ready) == ("degraded", ("state",), True)

    run(scenario)


def test_a_process_lives_and_is_ready_and_says_when_its_blocks_cannot_be_written(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        assert ask(server.url, "GET", "/health").json() == {"status": "ok"}
        answer = ask(server.url, "GET", "/ready")
        assert (answer.status, answer.json()) == (200, {"status": "ready", "not_ready": [], "degraded": []})
        assert answer.headers["cache-control"] == "no-store"
        server.stop()
        shutil.rmtree(server.data / "blocks")
        server.start()
        shutil.rmtree(server.data / "blocks")
        (server.data / "blocks").write_text("no folder")
        answer = ask(server.url, "GET", "/ready")
        assert (answer.status, answer.json()["not_ready"]) == (503, ["blocks"])
        assert ask(server.url, "GET", "/health").status == 200
        (server.data / "blocks").unlink()


def test_without_valkey_a_process_of_any_role_is_ready_and_degraded(
    tmp_path: Path, valkey_server: ValkeyServer
) -> None:
    environment = {"SATCHEL_STATE_URL": valkey_server.url(), "SATCHEL_BUS_URL": valkey_server.url()}
    with running_server(tmp_path, "--roles", "upkeep", environment=environment) as server:
        assert ask(server.url, "GET", "/ready").json()["status"] == "ready"
        valkey_server.stop()
        try:
            answer = ask(server.url, "GET", "/ready")
            while answer.json()["status"] == "ready":
                # The look before is kept for a second.
                answer = ask(server.url, "GET", "/ready")
            assert answer.status == 200
            assert "state" in answer.json()["degraded"]
        finally:
            valkey_server.start()
