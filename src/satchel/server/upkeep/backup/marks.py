"""Marks in `store_meta` that keep a store out of service. Invariant: at most one of two copies of a store is served.

`restore`: a restore fills this store. `move_in`: another store is being copied into it. `move_out`: it is being or was
copied into another one, which is to be used instead.
"""

from __future__ import annotations

import msgspec

from satchel.core.errors import SettingInvalid
from satchel.server.db.engine import Connection, Database
from satchel.server.db.schema import STORE_KEY

RESTORE, MOVE_IN, MOVE_OUT = "restore", "move_in", "move_out"
MARKS = (RESTORE, MOVE_IN, MOVE_OUT)


class Mark(msgspec.Struct, frozen=True):
    """What is under way. source: hex id of the backup, or epoch of the store that is moved; run: that store's.

    target: URLs of the other store, for people; place: what tells it from any other. is_done: all was copied.
    """

    source: str = ""
    run: int = 0
    target: str = ""
    place: str = ""
    is_done: bool = False


async def marks(db: Database) -> dict[str, Mark]:
    """Return the marks of a store by name."""
    return await db.read(marks_txn)


async def marks_txn(conn: Connection) -> dict[str, Mark]:
    """As `marks`, inside a transaction."""
    rows = await conn.fetch("SELECT name, value FROM store_meta")
    return {name: msgspec.json.decode(value, type=Mark) for name, value in rows if name in MARKS}


async def put_mark_txn(conn: Connection, name: str, mark: Mark) -> None:
    """Write or replace a mark."""
    await conn.execute(
        "INSERT INTO store_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        name,
        msgspec.json.encode(mark),
    )


async def put_mark(db: Database, name: str, mark: Mark) -> None:
    """As `put_mark_txn`, durable on return."""
    await db.write(STORE_KEY, lambda conn: put_mark_txn(conn, name, mark))


async def remove_mark(db: Database, name: str) -> None:
    """Remove a mark; one that is not there is no error. Durable on return."""
    await db.write(STORE_KEY, lambda conn: conn.execute("DELETE FROM store_meta WHERE name = $1", name))


async def require_in_service(db: Database) -> None:
    """Return when the store may be served and administered. Raises: SettingInvalid."""
    found = await marks(db)
    if RESTORE in found:
        raise SettingInvalid(
            "This store is not whole: a restore into it has not ended.",
            setting="database_url",
            reason="go on with 'satchel admin restore SRC'; with '--partial' it ends without what is lost",
        )
    if MOVE_IN in found:
        raise SettingInvalid(
            "This store is not whole: another one is still being copied into it.",
            setting="database_url",
            reason="go on with 'satchel admin migrate-store' and the settings of the other one",
        )
    if MOVE_OUT in found:
        mark = found[MOVE_OUT]
        raise SettingInvalid(
            f"This store {'was' if mark.is_done else 'is being'} moved to {mark.target}.",
            setting="database_url",
            reason="name that one in the settings; or, to use this one all the same and give up the other,"
            " run 'satchel admin migrate-store --undo'",
        )
