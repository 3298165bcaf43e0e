"""A device that was away for longer than the trash and old versions are kept: what was removed for good stays away, and
nothing that was done on the device meanwhile is lost.

The real engine and the real service core in one process, in virtual time.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from satchel.core.ids import LinkId
from satchel.core.limits import FEED_PAGE_ENTRIES_MAX
from satchel.core.messages import CommitRequest, EditOp, Stored
from satchel.core.retention import DAY_MS, VersionPolicy
from satchel.server.blocks.codec import shut_block
from satchel.server.upkeep import garbage
from satchel.server.upkeep.thinning import drop_blocklists, thin_versions
from satchel.server.upkeep.trash import purge_trash
from tests.support.scripted_world import World
from tests.support.upkeep_world import UNBRAKED
from tests.support.writers import content_of, op_id

BIG = bytes(range(256)) * 3_000
EARLY: dict[bytes, bytes | None] = {
    b"papers": None,
    b"papers/draft": b"draft",
    b"papers/letter": b"letter",
    b"papers/deep": None,
    b"papers/deep/note": b"a note",
    b"old": None,
    b"old/one": b"one",
    b"old/two": b"two",
    b"notes": b"notes",
    b"big": BIG,
    b"gone": b"gone",
}
AWAY_DAYS = 40


@pytest.fixture
def world() -> World:
    made = World(11, 2)
    made.settle_with(EARLY)
    return made


def tidy(world: World) -> dict[str, int]:
    """Let upkeep do all that it does within the days; garbage waits for nothing. Return what it did."""
    service = world.service
    now_ms = service.clock.now_ms() + AWAY_DAYS * DAY_MS
    bounds = replace(UNBRAKED, gone_ms=0, condemned_ms=0, old_ms=0, unused_ms=0)

    async def main() -> dict[str, int]:
        db, clock = service.db, service.clock
        purged = await purge_trash(db, clock, keep_days=30, now_ms=now_ms)
        thinned = await thin_versions(db, clock, VersionPolicy(newest_min=1), now_ms=now_ms)
        await db.write(b"test", lambda conn: conn.execute("UPDATE namespace_blocks SET lease_until = 0"))
        await db.write(b"test", lambda conn: conn.execute("UPDATE block_refs SET lease_until = 0"))
        collected = [await garbage.run(db, service.store, clock, bounds) for _ in range(4)]
        await drop_blocklists(db, clock)
        removed = sum(counts.blocks_removed for counts in collected)
        return {
            "deleted": purged.done.get("deleted", 0),
            "beneath": purged.done.get("beneath", 0),
            "thinned": thinned.done["versions"],
            "blocks": removed,
        }

    return asyncio.run(main())


async def save_often(world: World, path: bytes, times: int) -> None:
    """Save a file again and again as another program of the account."""
    service, remote = world.service, world.service.remote()
    name = path.rsplit(b"/", 1)[-1].decode()
    text = "SELECT node_id, content_rev FROM files WHERE ns = $1 AND name = $2"
    ((node, rev),) = await service.db.read(lambda conn: conn.fetch(text, service.ns, name))
    for at in range(times):
        data = b"saved %d" % at
        wire, body = shut_block(data)
        op = EditOp(op_id(), node, rev, content_of(data))
        reply = await remote.commit(CommitRequest(service.ns, LinkId(b"another program."), (op,), (wire,)), [body])
        (outcome,) = reply.outcomes
        assert isinstance(outcome, Stored)
        rev = outcome.seq


def month_of_work(world: World) -> None:
    """What the first device does while the second is away: deletions, and a file that is saved again and again."""
    first = world.devices[0].user
    first.delete(b"papers")
    first.delete(b"old")
    first.delete(b"gone")
    for at in range(6):
        first.write_file(b"notes", b"notes %d" % at)
        first.write_file(b"big", BIG[: 100_000 * (at + 1)] + b"%d" % at + BIG[100_000 * (at + 1) :])
        world.look(600.0)


def test_a_device_that_comes_back_after_the_purge_removes_what_it_had_and_keeps_what_it_made(world: World) -> None:
    first, second = world.devices
    world.kill(second.number, "crash")
    month_of_work(world)
    second.user.write_file(b"papers/draft", b"edited far away")
    second.user.write_file(b"papers/deep/new", b"made far away")
    second.user.write_file(b"old/one", b"edited far away, too")
    second.user.write_file(b"alone", b"made in the root")
    assert tidy(world) == {"deleted": 3, "beneath": 6, "thinned": 12, "blocks": 6 + 12}
    second.start()
    world.settle()
    tree = world.tree()
    assert tree == {
        b"papers": None,
        b"papers/draft": b"edited far away",
        b"papers/deep": None,
        b"papers/deep/new": b"made far away",
        b"old": None,
        b"old/one": b"edited far away, too",
        b"alone": b"made in the root",
        b"notes": first.user.tree()[b"notes"],
        b"big": first.user.tree()[b"big"],
    }
    assert tree[b"notes"] == b"notes 5"


def test_a_device_that_changed_nothing_ends_with_what_the_others_have(world: World) -> None:
    second = world.devices[1]
    world.kill(second.number, "crash")
    month_of_work(world)
    tidy(world)
    second.start()
    world.settle()
    assert world.tree().keys() == {b"notes", b"big"}


def test_pages_of_changes_that_name_what_was_thinned_away_hold_a_device_up_by_nothing(world: World) -> None:
    second = world.devices[1]
    world.kill(second.number, "crash")
    edits = FEED_PAGE_ENTRIES_MAX + 500
    asyncio.run(save_often(world, b"notes", edits))
    asyncio.run(save_often(world, b"old/two", 50))
    assert tidy(world)["thinned"] > edits
    second.start()
    second.user.write_file(b"alone", b"made far away")
    world.settle()
    tree = world.tree()
    assert (tree[b"notes"], tree[b"old/two"]) == (b"saved %d" % (edits - 1), b"saved 49")
    assert tree.keys() == {*EARLY, b"alone"}


def test_a_device_put_back_to_before_the_purge_loses_nothing_that_it_has(world: World) -> None:
    second = world.devices[1]
    image = second.image()
    month_of_work(world)
    world.settle()
    world.kill(second.number, "crash")
    tidy(world)
    second.put_back(image)
    second.user.write_file(b"papers/draft", b"edited after that")
    second.start()
    world.settle()
    tree = world.tree()
    assert tree[b"papers/draft"] == b"edited after that"
    assert {b"notes 5", b"edited after that"} <= {data for data in tree.values() if data is not None}
