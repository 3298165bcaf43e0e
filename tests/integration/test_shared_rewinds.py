"""Rewinds and activity of a shared folder: its owner rewinds, its members see who did what, all others see nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from satchel.core.ids import ROOT_NODE
from satchel.server.metadata.rewind import rewind
from satchel.server.upkeep.rewinds import forget_rewinds
from tests.integration.test_shares import People, code, done, got, names, plain, put
from tests.support.retention_world import DAY_MS, RetentionWorld, play_embedded
from tests.support.server import RunningServer, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("shared-rewinds")) as running:
        yield running


@pytest.fixture
def people(server: RunningServer) -> People:
    return People(server)


def head(people: People) -> int:
    return int(done(people.ann.ask("GET", "/api/v1/activity/days", path="/Team"))["head_seq"])


def does(answer: Any) -> list[tuple[str, str, str]]:
    return [(row["does"], row["path"], row["account"]) for row in done(answer)["rows"]]


def test_the_owner_leads_a_shared_folder_back_and_takes_that_back(server: RunningServer, people: People) -> None:
    share = people.shared()
    ann, bob = people.ann, people.bob
    done(ann.ask("POST", "/api/v1/move", {"from": "/Team", "to": "/Ours"}))
    was = int(done(ann.ask("GET", "/api/v1/activity/days", namespace=share))["head_seq"])
    put(ann, "/own.txt", b"own")
    put(bob, "/Team/plan.txt", b"spoiled")
    put(bob, "/Team/in/new.txt", b"new")
    done(bob.ask("POST", "/api/v1/delete", {"path": "/Team/in/deep.txt"}))
    shown = done(ann.ask("POST", "/api/v1/rewind/preview", {"path": "/Ours", "to_seq": was}))
    assert shown["counts"] == {"content": 1, "trash": 1, "back": 1}
    assert {line["path_now"] for line in shown["lines"]} == {
        "/Ours/plan.txt",
        "/Ours/in/new.txt",
        "/Ours/in/deep.txt",
    }
    made = done(ann.ask("POST", "/api/v1/rewind", {"path": "/Ours", "to_seq": was, "seen_seq": shown["head_seq"]}))
    assert (made["is_finished"], made["namespace"]) == (True, share)
    assert (got(bob, "/Team/plan.txt"), names(bob, "/Team/in"), got(ann, "/own.txt")) == (
        b"first",
        ["deep.txt"],
        b"own",
    )
    rows = done(bob.ask("GET", "/api/v1/activity", path="/Team"))["rows"]
    assert {row["account"] for row in rows if row["rewind"] == made["id"]} == {people.names["ann"]}
    assert all(row["path"].startswith("/Team") for row in rows)
    [listed] = done(ann.ask("GET", "/api/v1/rewinds", path="/Ours"))["rewinds"]
    assert (listed["id"], listed["path"], listed["account"]) == (made["id"], "/Ours", people.names["ann"])
    assert done(ann.ask("GET", "/api/v1/rewinds"))["rewinds"] == []
    told = [row for row in server.admin("audit", user=people.names["ann"]) if row["action"] == "rewound"]  # type: ignore[attr-defined]
    assert [row["subject"] for row in told] == [made["id"]]
    done(ann.ask("POST", "/api/v1/rewind", {"undo": made["id"]}))
    assert (got(bob, "/Team/plan.txt"), names(bob, "/Team/in")) == (b"spoiled", ["new.txt"])


def test_nobody_but_the_owner_rewinds_and_nobody_but_members_see(people: People) -> None:
    share = people.shared()
    ann, bob, eve = people.ann, people.bob, people.eve
    was = head(people)
    put(ann, "/Team/plan.txt", b"second")
    inner = done(ann.ask("GET", "/api/v1/entry", path="/Team/in"))["id"]
    made = done(ann.ask("POST", "/api/v1/rewind", {"path": "/Team", "to_seq": was}))
    for route in ("rewind", "rewind/preview"):
        asked = {"namespace": share, "to_seq": was}
        unknown = eve.ask("POST", f"/api/v1/{route}", asked | {"namespace": "00" * 16})
        for who in (bob, eve):
            for body in (asked, asked | {"id": inner}):
                refused = who.ask("POST", f"/api/v1/{route}", body)
                assert (code(refused)[0], plain(refused)) == (404, plain(unknown))
            assert who.ask("POST", f"/api/v1/{route}", {"undo": made["id"]}).status == 404
        assert bob.ask("POST", f"/api/v1/{route}", {"path": "/Team/in", "to_seq": was}).status == 404
    for route in ("activity", "rewinds", "activity/days"):
        refused = eve.ask("GET", f"/api/v1/{route}", namespace=share)
        assert (refused.status, plain(refused)) == (404, plain(eve.ask("GET", f"/api/v1/{route}", namespace="00" * 16)))
        assert bob.ask("GET", f"/api/v1/{route}", namespace=share).status == 200
    assert ("edit", "/Team/plan.txt", people.names["ann"]) in does(bob.ask("GET", "/api/v1/activity", path="/Team"))
    assert ann.ask("POST", "/api/v1/rewind", {"path": "/Team", "namespace": share, "to_seq": was}).status == 400
    done(ann.ask("DELETE", f"/api/v1/shares/{share}/members/{bob.account_id.hex()}"))
    assert bob.ask("GET", "/api/v1/activity", namespace=share).status == 404


def test_a_folder_in_a_shared_folder_is_led_back_alone(people: People) -> None:
    people.shared()
    was = head(people)
    put(people.bob, "/Team/plan.txt", b"second")
    put(people.bob, "/Team/in/deep.txt", b"deeper")
    done(people.ann.ask("POST", "/api/v1/rewind", {"path": "/Team/in", "to_seq": was}))
    assert (got(people.bob, "/Team/plan.txt"), got(people.bob, "/Team/in/deep.txt")) == (b"second", b"deep")


def test_rewinds_end_with_the_time_for_which_all_versions_are_kept() -> None:
    async def scenario(world: RetentionWorld) -> None:
        ns, principal = world.ada.ns, world.ada.principal

        async def made(data: bytes) -> None:
            ((seq,),) = await world.rows("SELECT head_seq FROM namespaces WHERE ns = $1", ns)
            await world.edit(node, data)
            await rewind(world.db, world.clock, world.workers, principal, principal.root_ns, ROOT_NODE, seq)

        async def forgotten() -> int:
            counts = await forget_rewinds(world.db, world.clock, kept_days=30, now_ms=world.clock.now_ms())
            return counts.done.get("rewinds", 0)

        node = await world.file(b"first")
        await made(b"second")
        world.days(20)
        await made(b"third")
        assert await forgotten() == 0
        world.days(11)
        # Somebody is at work on the old one again.
        until = world.clock.now_ms() + DAY_MS
        await world.execute("UPDATE rewinds SET claimed_until = $1", until)
        assert await forgotten() == 0
        await world.execute("UPDATE rewinds SET claimed_until = $1", 0)
        assert await forgotten() == 1
        world.days(20)
        assert await forgotten() == 1
        await world.check()

    play_embedded(scenario)
