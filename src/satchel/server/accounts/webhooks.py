"""Addresses that are told what happens in an account. Invariant: a place moves on only when what came before it was
taken, so everything is told at least once.

The secret signs what is sent. It stands in the database, since it is computed with; it is told once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from satchel.core.errors import LimitExceeded, NotFound
from satchel.core.ids import AccountId, NamespaceId
from satchel.core.limits import WEBHOOKS_PER_ACCOUNT_MAX
from satchel.server.db.engine import Connection, Database, Row

SECRET_BYTES = 32
_COLUMNS = (
    "account_id, webhook_id, url, secret, events, place, told_until, created_at, next_at, failures, failing_since,"
    " ended_at, last"
)
_ONE = "account_id = $1 AND webhook_id = $2"


class Told(StrEnum):
    """What can be told."""

    CHANGED = "file.changed"
    DELETED = "file.deleted"
    INVITED = "share.invited"
    LINK_USED = "link.used"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One address; the fields are those of its row (see the migration). Times are Unix ms."""

    account_id: AccountId
    webhook_id: bytes
    url: str
    secret: bytes
    events: str
    place: str
    told_until: int
    created_ms: int
    next_ms: int
    failures: int
    failing_since: int | None
    ended_ms: int | None
    last: str

    def wants(self, *events: Told) -> bool:
        """Tell whether one of these is told here."""
        return bool(set(self.events.split(",")) & {str(event) for event in events})


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose account it is."""

    name: str
    root_ns: NamespaceId
    is_disabled: bool


async def add_webhook(db: Database, made: Webhook) -> None:
    """Keep a new one. Raises: LimitExceeded."""

    async def add_txn(conn: Connection) -> None:
        held = await conn.fetch("SELECT COUNT(*) FROM webhooks WHERE account_id = $1", made.account_id)
        if held[0][0] >= WEBHOOKS_PER_ACCOUNT_MAX:
            raise LimitExceeded(
                "The account has too many webhooks.",
                limit="WEBHOOKS_PER_ACCOUNT_MAX",
                maximum=WEBHOOKS_PER_ACCOUNT_MAX,
                actual=held[0][0] + 1,
            )
        await conn.execute(
            f"INSERT INTO webhooks ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, NULL, NULL, '[]')",
            *(made.account_id, made.webhook_id, made.url, made.secret, made.events, made.place),
            *(made.told_until, made.created_ms, made.next_ms),
        )

    await db.write(made.account_id, add_txn)


async def webhooks_of(db: Database, account: AccountId) -> list[Webhook]:
    """Return the account's webhooks, the oldest first."""
    rows = await db.glance(
        lambda conn: conn.fetch(f"SELECT {_COLUMNS} FROM webhooks WHERE account_id = $1 ORDER BY webhook_id", account)
    )
    return [_webhook(row) for row in rows]


async def webhook_of(db: Database, account: AccountId, webhook_id: bytes) -> Webhook:
    """Return one of the account's webhooks. Raises: NotFound."""
    rows = await db.glance(
        lambda conn: conn.fetch(f"SELECT {_COLUMNS} FROM webhooks WHERE {_ONE}", account, webhook_id)
    )
    if not rows:
        raise _unknown()
    return _webhook(rows[0])


async def remove_webhook(db: Database, account: AccountId, webhook_id: bytes) -> None:
    """Tell this address nothing more. Raises: NotFound."""
    await _changed(db, account, f"DELETE FROM webhooks WHERE {_ONE}", webhook_id)


async def rotate_secret(db: Database, account: AccountId, webhook_id: bytes, secret: bytes, now_ms: int) -> None:
    """Sign with another secret from now on; one that was cut off is tried again. Raises: NotFound."""
    text = (
        "UPDATE webhooks SET secret = $3, ended_at = NULL, failing_since = NULL, failures = 0, next_at = $4"
        f" WHERE {_ONE}"
    )
    await _changed(db, account, text, webhook_id, secret, now_ms)


async def due_webhooks(
    db: Database, after: tuple[bytes, bytes], now_ms: int, limit: int
) -> list[tuple[Webhook, Owner]]:
    """Return webhooks that may be told something now, with their owners, behind a place in the order of keys."""
    columns = ", ".join(f"w.{column}" for column in _COLUMNS.split(", "))
    rows = await db.read(
        lambda conn: conn.fetch(
            f"SELECT {columns}, a.name, a.root_ns, a.is_disabled FROM webhooks w"
            " JOIN accounts a ON a.account_id = w.account_id"
            " WHERE (w.account_id, w.webhook_id) > ($1, $2) AND w.next_at <= $3 AND w.ended_at IS NULL"
            " ORDER BY w.account_id, w.webhook_id LIMIT $4",
            *(*after, now_ms, limit),
        )
    )
    return [(_webhook(row[:13]), Owner(row[13], row[14], bool(row[15]))) for row in rows]


async def note_taken(db: Database, was: Webhook, *, place: str, told_until: int, last: str, now_ms: int) -> None:
    """Note that all up to there was taken."""
    text = (
        "UPDATE webhooks SET place = $3, told_until = $4, last = $5, next_at = $6, failures = 0, failing_since = NULL"
        f" WHERE {_ONE} AND place = $7 AND told_until = $8"
    )
    args = (was.account_id, was.webhook_id, place, told_until, last, now_ms, was.place, was.told_until)
    await db.write(was.account_id, lambda conn: conn.execute(text, *args))


async def note_refused(db: Database, was: Webhook, *, next_ms: int, last: str, now_ms: int, is_over: bool) -> None:
    """Note that it was not taken, and when it is tried again; is_over: never."""
    text = (
        "UPDATE webhooks SET next_at = $3, last = $4, failures = failures + 1,"
        f" failing_since = COALESCE(failing_since, $5), ended_at = $6 WHERE {_ONE} AND place = $7"
    )
    args = (was.account_id, was.webhook_id, next_ms, last, now_ms, now_ms if is_over else None, was.place)
    await db.write(was.account_id, lambda conn: conn.execute(text, *args))


async def _changed(db: Database, account: AccountId, text: str, webhook_id: bytes, *args: bytes | int) -> None:
    if not await db.write(account, lambda conn: conn.execute(text, account, webhook_id, *args)):
        raise _unknown()


def _unknown() -> NotFound:
    return NotFound("There is no such webhook.")


def _webhook(row: Row) -> Webhook:
    return Webhook(*row)
