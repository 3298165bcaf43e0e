"""The database port, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from satchel.core.errors import NotFound, StorageFailed, VersionUnsupported
from satchel.server.db.engine import (
    Change,
    Connection,
    Database,
    Question,
    change_together,
    execute_in,
    fetch_in,
    fetch_in_pairs,
    fetch_together,
)
from satchel.server.db.schema import Migration, begin_run, migrate_txn, migrations, new_epoch, store_facts
from tests.support.clocks import SteppingClock
from tests.support.databases import Run


async def _put(conn: Connection, name: str, value: bytes) -> None:
    await conn.execute("INSERT INTO store_meta (name, value) VALUES ($1, $2)", name, value)


async def _names(conn: Connection) -> list[str]:
    rows = await conn.fetch("SELECT name FROM store_meta WHERE name LIKE 'test%' ORDER BY name")
    return [row[0] for row in rows]


def test_what_a_write_returned_is_there_after_a_restart(run: Run) -> None:
    async def write(db: Database) -> None:
        await db.write(b"k", lambda conn: _put(conn, "test", b"v"))

    async def read(db: Database) -> None:
        assert await db.read(_names) == ["test"]

    run(write)
    run(read)


def test_work_that_raises_changes_nothing_and_its_neighbours_hold(run: Run) -> None:
    async def scenario(db: Database) -> None:
        async def fails(conn: Connection) -> None:
            await _put(conn, "test-bad", b"v")
            raise NotFound("No.")

        works = [fails if number % 3 == 0 else _putter(f"test-{number:02}") for number in range(30)]
        results = await asyncio.gather(*(db.write(b"k", work) for work in works), return_exceptions=True)
        assert [isinstance(result, NotFound) for result in results] == [number % 3 == 0 for number in range(30)]
        assert await db.read(_names) == [f"test-{number:02}" for number in range(30) if number % 3]

    run(scenario)


def test_a_statement_that_fails_undoes_only_its_own_caller(run: Run) -> None:
    async def scenario(db: Database) -> None:
        await db.write(b"k", lambda conn: _put(conn, "test-00", b"v"))
        works = [_putter("test-00"), *(_putter(f"test-{number:02}") for number in range(1, 10))]
        results = await asyncio.gather(*(db.write(b"k", work) for work in works), return_exceptions=True)
        assert isinstance(results[0], StorageFailed)
        assert await db.read(_names) == [f"test-{number:02}" for number in range(10)]

    run(scenario)


def test_a_cancelled_caller_takes_nobody_with_it(run: Run) -> None:
    async def scenario(db: Database) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(db.write(b"k", _putter(f"test-{number:02}"))) for number in range(20)]
            await asyncio.sleep(0)
            for task in tasks[::4]:
                task.cancel()
        names = await db.read(_names)
        assert {f"test-{number:02}" for number in range(20) if number % 4} <= set(names)

    run(scenario)


def test_counters_of_many_writers_lose_no_increment(run: Run) -> None:
    async def scenario(db: Database) -> None:
        await db.write(b"k", lambda conn: _put(conn, "test", b"0"))

        async def increment(conn: Connection) -> None:
            from satchel.server.db.engine import row_lock

            rows = await conn.fetch(f"SELECT value FROM store_meta WHERE name = 'test'{row_lock(conn)}")
            value = str(int(rows[0][0]) + 1).encode()
            await conn.execute("UPDATE store_meta SET value = $1 WHERE name = 'test'", value)

        keys = [b"a", b"b", b"c"]
        await asyncio.gather(*(db.write(keys[number % 3], increment) for number in range(90)))
        rows = await db.read(lambda conn: conn.fetch("SELECT value FROM store_meta WHERE name = 'test'"))
        assert rows[0][0] == b"90"

    run(scenario)


def test_callers_that_lock_rows_crosswise_all_succeed(run: Run) -> None:
    async def scenario(db: Database) -> None:
        await db.write(b"k", lambda conn: _put(conn, "test-a", b"0"))
        await db.write(b"k", lambda conn: _put(conn, "test-b", b"0"))

        async def both(conn: Connection, names: tuple[str, str]) -> None:
            for name in names:
                rows = await conn.fetch("SELECT value FROM store_meta WHERE name = $1", name)
                await conn.execute("UPDATE store_meta SET value = $2 WHERE name = $1", name, rows[0][0] + b"x")

        orders = [("test-a", "test-b"), ("test-b", "test-a")]
        await asyncio.gather(
            *(db.write(bytes([number]), lambda conn, at=number: both(conn, orders[at % 2])) for number in range(16))
        )

    run(scenario)


def test_lists_longer_than_a_statement_takes_are_read_and_changed_whole(run: Run) -> None:
    async def scenario(db: Database) -> None:
        names = [f"test-{number:05}" for number in range(5_000)]

        async def work(conn: Connection) -> None:
            insert = "INSERT INTO store_meta (name, value) VALUES ($1, $2)"
            await conn.execute_many(insert, [(name, b"v") for name in names])
            found = await fetch_in(conn, "SELECT name FROM store_meta WHERE value = $1 AND name IN {keys}", names, b"v")
            assert sorted(row[0] for row in found) == names
            pairs = [(name, b"v") for name in names[:2_000]] + [(name, b"w") for name in names[2_000:]]
            found = await fetch_in_pairs(
                conn,
                "SELECT m.name FROM {wanted} CROSS JOIN store_meta m WHERE m.name = w.k0 AND m.value = w.k1",
                pairs,
            )
            assert sorted(row[0] for row in found) == names[:2_000]
            assert await execute_in(conn, "DELETE FROM store_meta WHERE name IN {keys}", names) == 5_000
            assert await fetch_in(conn, "SELECT name FROM store_meta WHERE name IN {keys}", []) == []

        await db.write(b"k", work)

    run(scenario)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 64, 100, 1_000])
def test_many_rows_are_written_as_if_one_after_another(run: Run, count: int) -> None:
    async def scenario(db: Database) -> None:
        async def work(conn: Connection) -> None:
            insert = (
                "INSERT INTO packs (pack_id, state, bytes, live_bytes, created_at, verified_at)"
                " VALUES ($1, 1, $2, 0, $3, $3) ON CONFLICT (pack_id)"
                " DO UPDATE SET bytes = packs.bytes + excluded.bytes"
            )
            rows = [(bytes([number % 7, number % 3]), number, -number) for number in range(count)]
            await conn.execute_many(insert, rows)
            expected: dict[bytes, tuple[int, int]] = {}
            for name, size, at in rows:
                expected[name] = (expected[name][0] + size, expected[name][1]) if name in expected else (size, at)
            found = await conn.fetch("SELECT pack_id, bytes, created_at, verified_at, state FROM packs")
            assert {row[0]: row[1:] for row in found} == {
                name: (size, at, at, 1) for name, (size, at) in expected.items()
            }

        await db.write(b"k", work)

    run(scenario)


def test_a_row_that_fails_among_many_undoes_them_all(run: Run) -> None:
    async def scenario(db: Database) -> None:
        async def work(conn: Connection) -> None:
            names = [f"test-{number:02}" for number in range(90)] + ["test-70"]
            await conn.execute_many("INSERT INTO store_meta (name, value) VALUES ($1, $2)", [(n, b"v") for n in names])

        results = await asyncio.gather(db.write(b"k", _putter("test")), db.write(b"k", work), return_exceptions=True)
        assert [type(result) for result in results] == [type(None), StorageFailed]
        assert await db.read(_names) == ["test"]

    run(scenario)


def test_facts_are_made_once_and_the_run_number_grows(run: Run) -> None:
    seen = []

    async def start(db: Database) -> None:
        seen.append(await begin_run(db))

    run(start)
    run(start)
    assert [facts.run for facts in seen] == [1, 2]
    assert seen[0].epoch == seen[1].epoch
    assert seen[0].cursor_key == seen[1].cursor_key
    assert seen[0].schema_version == migrations()[-1].number


def test_a_new_epoch_is_another(run: Run) -> None:
    async def scenario(db: Database) -> None:
        before = (await store_facts(db)).epoch
        epoch = await new_epoch(db, SteppingClock(seed=9))
        assert epoch != before
        assert (await store_facts(db)).epoch == epoch

    run(scenario)


def test_a_newer_schema_is_refused(run: Run) -> None:
    async def scenario(db: Database) -> None:
        newer = (*migrations(), Migration(9_999, "9999_newer.sql", "CREATE TABLE newer (a BIGINT)"))
        await db.write(b"k", lambda conn: migrate_txn(conn, SteppingClock(), newer))
        with pytest.raises(VersionUnsupported):
            await db.write(b"k", lambda conn: migrate_txn(conn, SteppingClock()))

    run(scenario)


def test_a_migration_that_changed_after_it_was_applied_is_refused(run: Run) -> None:
    async def scenario(db: Database) -> None:
        first = migrations()[0]
        changed = (Migration(first.number, first.name, first.text + "-- changed"), *migrations()[1:])
        with pytest.raises(StorageFailed):
            await db.write(b"k", lambda conn: migrate_txn(conn, SteppingClock(), changed))

    run(scenario)


def _putter(name: str):  # type: ignore[no-untyped-def]
    return lambda conn: _put(conn, name, b"v")


PUT = "INSERT INTO store_meta (name, value) VALUES ($1, $2)"


def test_a_glance_sees_what_was_written_and_its_second_statement_the_same_moment(run: Run) -> None:
    async def scenario(db: Database) -> None:
        await db.write(b"k", lambda conn: _put(conn, "test-1", b"v"))
        assert await db.glance(_names) == ["test-1"]
        views: list[list[str]] = []

        async def look_twice(conn: Connection) -> list[list[str]]:
            first = await _names(conn)
            if not views:
                views.append(first)
                return [first]
            return [first, await _names(conn)]

        assert await db.glance(look_twice) == [["test-1"]]
        assert await db.glance(look_twice) == [["test-1"], ["test-1"]]

        async def fails(conn: Connection) -> None:
            await conn.fetch("SELECT nothing FROM nowhere")

        with pytest.raises(StorageFailed):
            await db.glance(fails)
        assert await db.glance(_names) == ["test-1"]

    run(scenario)


def test_a_glance_that_catches_everything_does_not_mix_two_moments(run: Run) -> None:
    async def scenario(db: Database) -> None:
        tries: list[int] = []

        async def look(conn: Connection) -> int:
            tries.append(1)
            found = 0
            for _ in range(3):
                try:
                    await _names(conn)
                    found += 1
                except Exception:
                    continue
            return found

        assert await db.glance(look) == 3

    run(scenario)


def test_questions_asked_together_get_the_answers_that_they_get_alone(run: Run) -> None:
    async def scenario(db: Database) -> None:
        pairs = [(f"test-{number:02}", b"%02d" % number) for number in range(40)]
        await db.write(b"k", lambda conn: change_together(conn, [Change(PUT, pairs)]))
        names = "SELECT name, value FROM store_meta WHERE name IN {keys}"
        both = "SELECT t.name FROM {wanted} CROSS JOIN store_meta t WHERE t.name = w.k0 AND t.value = w.k1"
        questions = [
            Question("SELECT name FROM store_meta WHERE name > $1 AND name < $2", ("test-30", "test-33")),
            Question(names, keys=["test-01", "test-39", "test-99", "test-01"]),
            Question(names, keys=[]),
            Question(both, pairs=[pairs[3], ("test-04", b"other")]),
            Question("SELECT value, NULL, 7 FROM store_meta WHERE name = $1", ("test-05",)),
        ]
        answers = await db.glance(lambda conn: fetch_together(conn, questions))
        assert [sorted(rows) for rows in answers] == [
            [("test-31",), ("test-32",)],
            [("test-01", b"01"), ("test-39", b"39")],
            [],
            [("test-03",)],
            [(b"05", None, 7)],
        ]
        assert await db.read(lambda conn: fetch_together(conn, questions[2:3])) == [[]]
        assert await db.read(lambda conn: fetch_together(conn, questions[:1])) == [[("test-31",), ("test-32",)]]

    run(scenario)


def test_changes_made_together_are_those_made_alone(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ids = [b"%016d" % number for number in range(5)]
        device = "INSERT INTO devices (created_at, seen_at, account_id, device_id, name, token_hash, revoked_at)"
        device += " VALUES ($1, $1, $2, $3, $4, $5, $6) ON CONFLICT (device_id) DO UPDATE SET name = excluded.name"

        def rows(name: str, revoked: list[int | None]) -> list[tuple[bytes | str | int | None, ...]]:
            return [(id_, f"{name} {at}", id_ * 2, revoked[at]) for at, id_ in enumerate(ids)]

        async def make(conn: Connection) -> None:
            await change_together(
                conn,
                [
                    Change(device, rows("new", [None] * 5), (7, b"account")),
                    Change(PUT, [("test-1", b"1"), ("test-2", b"2")]),
                    Change("UPDATE store_meta SET value = $2 WHERE name = $1", [("epoch", b"changed")]),
                    Change(PUT, []),
                ],
            )
            await change_together(conn, [Change(device, rows("old", [None, 3, None, 5, None]), (8, b"account"))])
            await change_together(conn, [])

        await db.write(b"k", make)
        sql = "SELECT name, token_hash, created_at, seen_at, revoked_at FROM devices ORDER BY name"
        found = await db.read(lambda conn: conn.fetch(sql))
        assert found == [(f"old {at}", id_ * 2, 7, 7, None) for at, id_ in enumerate(ids)]
        assert await db.read(_names) == ["test-1", "test-2"]
        assert (await store_facts(db)).epoch == b"changed"

    run(scenario)
