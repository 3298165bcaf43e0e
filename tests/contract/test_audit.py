"""The audit log on both databases: what is done stands in it, and whoever changes it is found."""

from __future__ import annotations

import asyncio

import pytest

from satchel.server.accounts.audit import (
    STORE_CHAIN,
    Action,
    Event,
    Place,
    Recorded,
    hash_of,
    read_chain,
    read_newest,
    record,
    record_txn,
    verify_part,
)
from satchel.server.accounts.audit_reports import AuditAsked, AuditVerifyAsked, shown_audit, verified_audit
from satchel.server.accounts.service import (
    authenticate,
    disable_user,
    register_account,
    register_device,
    revoke_device,
    set_quota,
)
from satchel.server.db.engine import Connection, Database
from tests.support.clocks import SteppingClock
from tests.support.databases import Run


async def verified(db: Database, rows_max: int = 5_000) -> list[tuple[bytes, int, str]]:
    """Verify everything, in parts."""
    problems, place, parts = [], None, 0
    while parts == 0 or place is not None:
        part = await verify_part(db, place, rows_max=rows_max)
        problems += part.problems
        place, parts = part.after, parts + 1
    return problems


async def fill(db: Database) -> list[bytes]:
    """Write three chains, one after another and at once; return them."""
    chains = [STORE_CHAIN, b"a" * 16, b"b" * 16]
    for at in range(5):
        for chain in chains:
            await record(db, chain, Event(Action.SIGN_IN, at, address="192.0.2.1", detail={"at": at}))
    return chains


def test_writers_at_once_make_one_chain(run: Run) -> None:
    async def scenario(db: Database) -> None:
        chain = b"c" * 16
        await asyncio.gather(*(record(db, chain, Event(Action.SIGN_IN, at)) for at in range(40)))
        rows = await read_chain(db, chain)
        assert [row.seq for row in rows] == list(range(40, 0, -1))
        assert sorted(row.at_ms for row in rows) == list(range(40))
        assert await verified(db) == []
        assert [row.seq for row in await read_chain(db, chain, before=3)] == [2, 1]

    run(scenario)


def test_a_row_goes_with_the_transaction_that_wrote_it(run: Run) -> None:
    async def scenario(db: Database) -> None:
        async def failing_txn(conn: Connection) -> None:
            await record_txn(conn, STORE_CHAIN, Event(Action.PURGED, 1))
            raise ValueError

        with pytest.raises(ValueError):
            await db.write(STORE_CHAIN, failing_txn)
        assert await read_newest(db) == []
        assert await verified(db) == []

    run(scenario)


CHANGES = {
    "content": "UPDATE audit SET subject = 'x' WHERE chain = $1 AND seq = 3",
    "time": "UPDATE audit SET at = 99 WHERE chain = $1 AND seq = 3",
    "actor": "UPDATE audit SET actor = chain WHERE chain = $1 AND seq = 3",
    "first": "DELETE FROM audit WHERE chain = $1 AND seq = 1",
    "middle": "DELETE FROM audit WHERE chain = $1 AND seq = 3",
    "last": "DELETE FROM audit WHERE chain = $1 AND seq = 5",
    "all": "DELETE FROM audit WHERE chain = $1",
    "end": "DELETE FROM audit_heads WHERE chain = $1",
    "detail": "UPDATE audit SET detail = '{}' WHERE chain = $1 AND seq = 5",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_row_that_is_changed_or_removed_is_found(run: Run, change: str) -> None:
    async def scenario(db: Database) -> None:
        for chain in await fill(db):
            assert await verified(db) == []

            async def change_txn(conn: Connection, chain: bytes = chain) -> None:
                assert await conn.execute(CHANGES[change], chain)
                for rows_max in (1, 4, 5, 100):
                    raise_if_clean(await verified(_Inside(conn), rows_max))  # type: ignore[arg-type]
                raise _Undo

            with pytest.raises(_Undo):
                await db.write(chain, change_txn)

    run(scenario)


class _Undo(Exception):
    """Takes a change back."""


class _Inside:
    """A database that is one transaction's view."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    async def read(self, work):  # type: ignore[no-untyped-def]
        return await work(self._conn)


def raise_if_clean(problems: list[tuple[bytes, int, str]]) -> None:
    assert problems, "nothing was found"


def test_rows_that_change_places_are_found_with_or_without_their_hashes(run: Run) -> None:
    async def scenario(db: Database) -> None:
        _, one, other = await fill(db)
        rows = {row.seq: row for row in await read_chain(db, one)}

        async def put(chain: bytes, seq: int, row: Recorded) -> None:
            await db.write(
                chain,
                lambda conn: conn.execute(
                    "UPDATE audit SET at = $3, detail = $4, hash = $5 WHERE chain = $1 AND seq = $2",
                    *(chain, seq, row.at_ms, row.detail, row.hash),
                ),
            )

        await put(one, 2, rows[3])
        await put(one, 3, rows[2])
        assert {problem[0] for problem in await verified(db)} == {one}
        await put(one, 2, rows[2])
        await put(one, 3, rows[3])
        assert await verified(db) == []
        await put(other, 3, rows[3])
        assert {problem[0] for problem in await verified(db)} == {other}

    run(scenario)


def test_a_last_row_with_a_hash_that_was_made_anew_does_not_fit_the_end(run: Run) -> None:
    async def scenario(db: Database) -> None:
        _, chain, _ = await fill(db)
        last, before = (await read_chain(db, chain))[:2]
        forged = last._replace(detail="{}")
        forged = forged._replace(hash=hash_of(before.hash, forged))
        await db.write(
            chain,
            lambda conn: conn.execute(
                "UPDATE audit SET detail = '{}', hash = $2 WHERE chain = $1 AND seq = 5", chain, forged.hash
            ),
        )
        assert await verified(db) == [(chain, 5, "the chain's end differs")]

    run(scenario)


def test_what_is_done_to_an_account_stands_in_its_chain_and_holds_no_secret(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        ada = await register_account(db, clock, name="Ada", password_hash="-", quota_bytes=7)
        token, _ = await register_device(db, clock, account_id=ada.account_id, name="laptop")
        mine = await authenticate(db, token)
        _, phone = await register_device(db, clock, account_id=ada.account_id, name="phone")
        await revoke_device(db, clock, mine, phone)
        await set_quota(db, clock, "ada", None)
        await disable_user(db, clock, "ada")
        rows = (await shown_audit(db, AuditAsked(user="ADA")))[::-1]
        assert [row["action"] for row in rows] == [
            *("account_made", "token_made", "token_made", "device_revoked", "quota_changed", "account_disabled"),
        ]
        assert (rows[3]["actor"], rows[3]["subject"]) == ("Ada", phone.hex())
        assert rows[0]["detail"] == {"is_admin": False, "quota_bytes": 7}
        assert token not in str(rows)
        assert await shown_audit(db, AuditAsked()) == rows[::-1]
        told = await verified_audit(db, AuditVerifyAsked())
        assert (told["problems"], told["rows"], told["chains"], told["after"]) == ([], 6, 1, None)

    run(scenario)


def test_all_chains_are_read_as_one_a_page_at_a_time(run: Run) -> None:
    async def scenario(db: Database) -> None:
        await fill(db)
        whole = await read_newest(db)
        assert [row.at_ms for row in whole] == [at for at in range(4, -1, -1) for _ in range(3)]
        for limit in (1, 2, 4):
            found, after = list[object](), None
            while rows := await read_newest(db, limit, after=after, action=Action.SIGN_IN):
                found += rows
                after = Place(rows[-1].at_ms, rows[-1].chain, rows[-1].seq)
            assert found == whole
        assert await read_newest(db, action=Action.SIGN_OUT) == []

    run(scenario)


def test_texts_from_outside_are_cut_and_whole(run: Run) -> None:
    async def scenario(db: Database) -> None:
        event = Event(Action.SIGN_IN_FAILED, 1, address="x\0\ud800" * 500, detail={"name": "y" * 5_000})
        await record(db, STORE_CHAIN, event)
        [row] = await read_newest(db)
        assert (len(row.address), row.detail) == (256, '{"cut":true}')
        assert await verified(db) == []

    run(scenario)
