"""Opens the store that a URL names. Invariant: its schema is the newest, and what failed to open is closed again."""

from __future__ import annotations

from satchel.core.errors import SettingInvalid
from satchel.server.db.engine import Database
from satchel.server.db.schema import migrate
from satchel.server.ports import Clock


async def open_database(url: str, clock: Clock) -> Database:
    """Open the store that `url` names and bring its schema up to date.

    `sqlite:///relative/path`, `sqlite:////absolute/path`, `postgresql://user:password@host:port/name`.
    Raises: SettingInvalid, VersionUnsupported (a newer schema), StorageFailed, Unavailable.
    """
    database: Database
    # Each driver is imported only where its URL asks for it: asyncpg is not part of the embedded installation.
    if url.startswith("sqlite:///"):
        from satchel.server.db.sqlite import SqliteDatabase

        database = SqliteDatabase(url.removeprefix("sqlite:///"), clock)
    elif url.startswith(("postgresql://", "postgres://")):
        database = await _open_postgres(url, clock)
    else:
        raise SettingInvalid("The database URL names no known store.", setting="database_url", reason="scheme")
    try:
        await migrate(database, clock)
    except BaseException:
        await database.close()
        raise
    return database


async def _open_postgres(url: str, clock: Clock) -> Database:
    try:
        from satchel.server.db.postgres import open_postgres
    except ImportError as error:
        reason = "PostgreSQL needs the extra 'cluster': pip install 'satchel[cluster]'"
        raise SettingInvalid("The database driver is missing.", setting="database_url", reason=reason) from error
    return await open_postgres(url, clock)
