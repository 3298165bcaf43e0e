"""Files that come in parts: what is there of each, in rows. Invariant: an offset that was told is durable, and a row
moves on only from where its writer saw it, so of two writers one goes on and the other is told.

The bytes are blocks of the namespace, held by leases until the commit. Source: docs/use/api.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from satchel.core.errors import LimitExceeded, NotFound, OffsetMismatch
from satchel.core.ids import AccountId, NamespaceId, NodeId, OpId
from satchel.core.limits import UPLOAD_AGE_DAYS_MAX, UPLOAD_IDLE_HOURS_MAX, UPLOADS_PER_ACCOUNT_MAX
from satchel.server.db.engine import Connection, Database, Row

HOUR_MS = 3_600_000
IDLE_MS = UPLOAD_IDLE_HOURS_MAX * HOUR_MS
AGE_MS = UPLOAD_AGE_DAYS_MAX * 24 * HOUR_MS
_COLUMNS = (
    "account_id, upload_id, ns, parent_id, name, base_rev, size, wanted_hash, mtime_ns, node_id, op_id, op, received,"
    " cut, tail, created_at, seen_at, leased_at, finished_at"
)
_ONE = "account_id = $1 AND upload_id = $2"


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An upload as it stands; the fields are those of its row (see the migration). Times are Unix ms."""

    account_id: AccountId
    upload_id: bytes
    ns: NamespaceId
    parent_id: NodeId
    name: str
    base_rev: int | None
    size: int
    wanted_hash: bytes
    mtime_ns: int
    node_id: NodeId
    op_id: OpId
    op: bytes
    received: int
    cut: int
    tail: bytes
    created_ms: int
    seen_ms: int
    leased_ms: int
    finished_ms: int | None

    @property
    def expires_ms(self) -> int:
        """When it is forgotten, if nothing more comes."""
        return min(self.seen_ms + IDLE_MS, self.created_ms + AGE_MS)


async def begin_upload(db: Database, session: UploadSession) -> None:
    """Keep a new upload. Raises: LimitExceeded."""

    async def begin_txn(conn: Connection) -> None:
        count, _ = await _open_txn(conn, session.account_id, session.created_ms)
        if count >= UPLOADS_PER_ACCOUNT_MAX:
            raise LimitExceeded(
                "The account has begun too many uploads; finish or delete one.",
                limit="UPLOADS_PER_ACCOUNT_MAX",
                maximum=UPLOADS_PER_ACCOUNT_MAX,
                actual=count + 1,
            )
        values = ", ".join(f"${number}" for number in range(1, 20))
        await conn.execute(f"INSERT INTO upload_sessions ({_COLUMNS}) VALUES ({values})", *_values(session))

    await db.write(session.account_id, begin_txn)


async def open_bytes(db: Database, account: AccountId, now_ms: int) -> int:
    """Return how many bytes the account's unfinished uploads are to have, all together."""
    _, total = await db.glance(lambda conn: _open_txn(conn, account, now_ms))
    return total


async def upload_of(db: Database, account: AccountId, upload_id: bytes, now_ms: int) -> UploadSession:
    """Return one of the account's uploads. Raises: NotFound, also for one whose time is over."""
    rows = await db.glance(
        lambda conn: conn.fetch(f"SELECT {_COLUMNS} FROM upload_sessions WHERE {_ONE}", account, upload_id)
    )
    found = [_session(row) for row in rows]
    if not found or found[0].expires_ms <= now_ms:
        raise NotFound("There is no such upload.")
    return found[0]


async def uploads_of(db: Database, account: AccountId, after: bytes, limit: int, now_ms: int) -> list[UploadSession]:
    """Return the account's unfinished uploads behind the id `after`, the oldest first."""
    rows = await db.glance(
        lambda conn: conn.fetch(
            f"SELECT {_COLUMNS} FROM upload_sessions WHERE account_id = $1 AND upload_id > $2 AND finished_at IS NULL"
            " AND seen_at > $3 AND created_at > $4 ORDER BY upload_id LIMIT $5",
            *(account, after, now_ms - IDLE_MS, now_ms - AGE_MS, limit),
        )
    )
    return [_session(row) for row in rows]


async def advance(
    db: Database, was: UploadSession, *, blocks: bytes, cut: int, tail: bytes, received: int, now_ms: int
) -> UploadSession:
    """Note what came since `was`: new blocks of the file (packed), and the pieces behind them. Return the upload then.

    Raises: OffsetMismatch when another one went on with it meanwhile.
    """

    async def advance_txn(conn: Connection) -> None:
        count = await conn.execute(
            f"UPDATE upload_sessions SET received = $3, cut = $4, tail = $5, seen_at = $6 WHERE {_ONE}"
            " AND received = $7 AND cut = $8 AND tail = $9 AND finished_at IS NULL",
            *(was.account_id, was.upload_id, received, cut, tail, now_ms, was.received, was.cut, was.tail),
        )
        if not count:
            raise OffsetMismatch("Another request went on with this upload.", expected="", actual=was.received)
        if blocks:
            await conn.execute(
                "INSERT INTO upload_parts (account_id, upload_id, first_byte, blocks) VALUES ($1, $2, $3, $4)",
                *(was.account_id, was.upload_id, was.cut, blocks),
            )

    await db.write(was.account_id, advance_txn)
    return replace(was, received=received, cut=cut, tail=tail, seen_ms=now_ms)


async def parts_of(db: Database, session: UploadSession) -> bytes:
    """Return the packed blocklist of what was cut so far."""
    rows = await db.glance(
        lambda conn: conn.fetch(
            f"SELECT blocks FROM upload_parts WHERE {_ONE} ORDER BY first_byte", session.account_id, session.upload_id
        )
    )
    return b"".join(row[0] for row in rows)


async def note_lease(db: Database, session: UploadSession, now_ms: int) -> None:
    """Note that all blocks of the upload are held anew."""
    await db.write(
        session.account_id,
        lambda conn: conn.execute(
            f"UPDATE upload_sessions SET leased_at = $3 WHERE {_ONE}", session.account_id, session.upload_id, now_ms
        ),
    )


async def decide(db: Database, session: UploadSession, op: bytes, was: bytes) -> bytes:
    """Note what is about to be committed, if nobody else did since `was`; return what is noted then."""

    async def decide_txn(conn: Connection) -> bytes:
        one = (session.account_id, session.upload_id)
        await conn.execute(f"UPDATE upload_sessions SET op = $3 WHERE {_ONE} AND op = $4", *one, op, was)
        rows = await conn.fetch(f"SELECT op FROM upload_sessions WHERE {_ONE}", *one)
        return bytes(rows[0][0]) if rows else b""

    return await db.write(session.account_id, decide_txn)


async def finish_upload(db: Database, session: UploadSession, node_id: NodeId, now_ms: int) -> None:
    """Note that the upload is committed, as this node; its blocks are the namespace's now."""

    async def finish_txn(conn: Connection) -> None:
        one = (session.account_id, session.upload_id)
        await conn.execute(
            f"UPDATE upload_sessions SET finished_at = $3, seen_at = $3, node_id = $4 WHERE {_ONE}",
            *(*one, now_ms, node_id),
        )
        await conn.execute(f"DELETE FROM upload_parts WHERE {_ONE}", *one)

    await db.write(session.account_id, finish_txn)


async def begin_again(db: Database, session: UploadSession, now_ms: int) -> None:
    """Forget all that came: the upload is at its first byte again. One that another request finished stays so."""

    async def again_txn(conn: Connection) -> None:
        one = (session.account_id, session.upload_id)
        begun = await conn.execute(
            f"UPDATE upload_sessions SET received = 0, cut = 0, tail = $4, seen_at = $3 WHERE {_ONE}"
            " AND finished_at IS NULL",
            *(*one, now_ms, b""),
        )
        if begun:
            await conn.execute(f"DELETE FROM upload_parts WHERE {_ONE}", *one)

    await db.write(session.account_id, again_txn)


async def end_upload(db: Database, account: AccountId, upload_id: bytes) -> None:
    """Forget an upload; what came of it is collected once its leases are over. Raises: NotFound."""

    async def end_txn(conn: Connection) -> None:
        if not await conn.execute(f"DELETE FROM upload_sessions WHERE {_ONE}", account, upload_id):
            raise NotFound("There is no such upload.")
        await conn.execute(f"DELETE FROM upload_parts WHERE {_ONE}", account, upload_id)

    await db.write(account, end_txn)


async def _open_txn(conn: Connection, account: AccountId, now_ms: int) -> tuple[int, int]:
    rows = await conn.fetch(
        "SELECT size FROM upload_sessions WHERE account_id = $1 AND finished_at IS NULL AND seen_at > $2"
        " AND created_at > $3",
        *(account, now_ms - IDLE_MS, now_ms - AGE_MS),
    )
    return len(rows), sum(row[0] for row in rows)


def _session(row: Row) -> UploadSession:
    return UploadSession(*row)


def _values(one: UploadSession) -> tuple[bytes | int | str | None, ...]:
    return (
        one.account_id,
        one.upload_id,
        one.ns,
        one.parent_id,
        one.name,
        one.base_rev,
        one.size,
        one.wanted_hash,
        one.mtime_ns,
        one.node_id,
        one.op_id,
        one.op,
        one.received,
        one.cut,
        one.tail,
        one.created_ms,
        one.seen_ms,
        one.leased_ms,
        one.finished_ms,
    )
