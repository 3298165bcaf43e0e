"""What was done about rights and secrets, and by whom.

Invariant: rows are added and never changed, and the hash of each is over the one before it, so that a row that was
changed, removed or swapped is found.

A chain belongs to an account; one more, `STORE_CHAIN`, to the store. Whoever could rewrite a chain to its end would not
be found: the hashes of the ends, which `satchel admin audit --verify` tells, can be kept elsewhere. No commit of files
writes here. Source: docs/design/060 (12).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import msgspec

from satchel.core.ids import ID_BYTES
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, row_lock

STORE_CHAIN = bytes(ID_BYTES)
"""The chain of what belongs to no account."""
TEXT_CHARS_MAX = 256
DETAIL_CHARS_MAX = 2_048
PAGE_MAX = 100
VERIFY_ROWS_MAX = 5_000
"""So many rows are verified in one look."""

Detail = Mapping[str, str | int | bool | None]


class Action(StrEnum):
    """What can stand in the log."""

    SIGN_IN = "sign_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGN_OUT = "sign_out"
    TOKEN_MADE = "token_made"
    DEVICE_APPROVED = "device_approved"
    DEVICE_REVOKED = "device_revoked"
    SESSION_REVOKED = "session_revoked"
    PASSWORD_CHANGED = "password_changed"
    SECOND_FACTOR_SET = "second_factor_set"
    SECOND_FACTOR_ENDED = "second_factor_ended"
    RECOVERY_CODES_MADE = "recovery_codes_made"
    RECOVERY_CODE_USED = "recovery_code_used"
    APP_PASSWORD_MADE = "app_password_made"
    APP_PASSWORD_REVOKED = "app_password_revoked"
    ACCOUNT_MADE = "account_made"
    ACCOUNT_DISABLED = "account_disabled"
    ACCOUNT_ENABLED = "account_enabled"
    ROLE_CHANGED = "role_changed"
    QUOTA_CHANGED = "quota_changed"
    SET_UP = "set_up"
    INVITATION_MADE = "invitation_made"
    INVITATION_ACCEPTED = "invitation_accepted"
    INVITATION_REVOKED = "invitation_revoked"
    GROUP_MADE = "group_made"
    GROUP_CHANGED = "group_changed"
    GROUP_REMOVED = "group_removed"
    SHARE_MADE = "share_made"
    SHARE_OFFERED = "share_offered"
    SHARE_ACCEPTED = "share_accepted"
    SHARE_DECLINED = "share_declined"
    SHARE_CHANGED = "share_changed"
    SHARE_REMOVED = "share_removed"
    SHARE_LEFT = "share_left"
    SHARE_HANDED_OVER = "share_handed_over"
    SHARE_ENDED = "share_ended"
    LINK_MADE = "link_made"
    LINK_CHANGED = "link_changed"
    LINK_REVOKED = "link_revoked"
    PURGED = "purged"
    REWIND_BEGUN = "rewind_begun"
    REWOUND = "rewound"
    OIDC_LINKED = "oidc_linked"
    OIDC_UNLINKED = "oidc_unlinked"
    EXPORTED = "exported"
    IMPORTED = "imported"
    BACKED_UP = "backed_up"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Event:
    """One act. actor, device: empty for the machine's administrator and for strangers; address: where from.

    subject: what it was done to (a name or an id in hex); detail: plain values, never a secret.
    """

    action: Action
    at_ms: int
    actor: bytes = b""
    device: bytes = b""
    address: str = ""
    subject: str = ""
    detail: Detail = field(default_factory=dict)


class Recorded(NamedTuple):
    """A row of the log. hash: over the row before and this one; detail: JSON."""

    chain: bytes
    seq: int
    at_ms: int
    action: str
    actor: bytes
    device: bytes
    address: str
    subject: str
    detail: str
    hash: bytes


class Verified(NamedTuple):
    """How far chains were verified. problems: where and what; after: where to go on (None: all was seen)."""

    rows: int
    chains: int
    problems: list[tuple[bytes, int, str]]
    after: tuple[bytes, int, bytes] | None


def by(
    principal: Principal | None, action: Action, at_ms: int, *, address: str = "", subject: str = "", **detail: object
) -> Event:
    """Return an act of the principal; None: of the machine's administrator. detail: plain values."""
    told = {name: value if isinstance(value, str | int | None) else str(value) for name, value in detail.items()}
    actor, device = (principal.account_id, principal.device_id) if principal is not None else (b"", b"")
    return Event(action, at_ms, actor, device, address, subject, told)


async def record_txn(conn: Connection, chain: bytes, event: Event) -> int:
    """Add a row to the chain, an account's id or STORE_CHAIN; return its seq. It is there if the transaction is.

    Call it last: it locks the chain's end until the transaction does.
    """
    seq, before = await lock_chain_txn(conn, chain)
    detail = msgspec.json.encode(event.detail, order="sorted").decode()
    texts = [text[:TEXT_CHARS_MAX].replace("\0", "?") for text in (event.address, event.subject)]
    texts = [text.encode(errors="replace").decode() for text in texts]
    if len(detail) > DETAIL_CHARS_MAX:
        detail = '{"cut":true}'
    bare = Recorded(
        chain, seq + 1, event.at_ms, str(event.action), event.actor, event.device, texts[0], texts[1], detail, b""
    )
    row = bare._replace(hash=hash_of(before, bare))
    await conn.execute(
        "INSERT INTO audit (chain, seq, at, action, actor, device, address, subject, detail, hash)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        *row,
    )
    await conn.execute("UPDATE audit_heads SET seq = $2, hash = $3 WHERE chain = $1", chain, row.seq, row.hash)
    return row.seq


async def record_in_txn(conn: Connection, chains: Iterable[bytes], event: Event) -> None:
    """As `record_txn`, in each of the chains: those of all whom the act is about."""
    # In the order of their ids, so that two acts about the same people do not wait for each other.
    for chain in sorted(set(chains)):
        await record_txn(conn, chain, event)


async def lock_chain_txn(conn: Connection, chain: bytes) -> tuple[int, bytes]:
    """Hold the chain's end until the transaction's; return its seq and hash."""
    await conn.execute(
        "INSERT INTO audit_heads (chain, seq, hash) VALUES ($1, 0, $2) ON CONFLICT (chain) DO NOTHING", chain, b""
    )
    rows = await conn.fetch(f"SELECT seq, hash FROM audit_heads WHERE chain = $1{row_lock(conn)}", chain)
    return rows[0][0], rows[0][1]


async def record(db: Database, chain: bytes, event: Event) -> None:
    """As `record_txn`, in a transaction of its own."""

    async def one_txn(conn: Connection) -> int:
        return await record_txn(conn, chain, event)

    await db.write(chain, one_txn)


async def read_chain(
    db: Database, chain: bytes, *, before: int = 0, limit: int = PAGE_MAX, action: str = ""
) -> list[Recorded]:
    """Return a chain's rows, the newest first. before: only those with a smaller seq; 0: from the end. action: only
    this; empty for all."""
    only, more = (" AND action = $4", (action,)) if action else ("", ())
    rows = await db.read(
        lambda conn: conn.fetch(
            f"SELECT {_COLUMNS} FROM audit WHERE chain = $1 AND seq < $2{only} ORDER BY seq DESC LIMIT $3",
            *(chain, before or 1 << 62, min(limit, PAGE_MAX), *more),
        )
    )
    return [Recorded(*row) for row in rows]


class Place(NamedTuple):
    """Where a row stands among those of all chains, the newest first."""

    at_ms: int
    chain: bytes
    seq: int


async def read_newest(
    db: Database, limit: int = PAGE_MAX, *, after: Place | None = None, action: str = ""
) -> list[Recorded]:
    """Return the newest rows of all chains, the newest first. after: only those behind this place; action: only this,
    for which as much of the log is read as it takes; empty for all."""
    where, values = ["1 = 1"], list[bytes | int | str]()
    if after is not None:
        where.append("at <= $2 AND (at < $2 OR (at = $2 AND (chain > $3 OR (chain = $3 AND seq < $4))))")
        values += after
    if action:
        where.append(f"action = ${len(values) + 2}")
        values.append(action)
    text = f"SELECT {_COLUMNS} FROM audit WHERE {' AND '.join(where)} ORDER BY at DESC, chain, seq DESC LIMIT $1"
    rows = await db.read(lambda conn: conn.fetch(text, min(limit, PAGE_MAX), *values))
    return [Recorded(*row) for row in rows]


async def verify_part(
    db: Database, after: tuple[bytes, int, bytes] | None = None, *, rows_max: int = VERIFY_ROWS_MAX
) -> Verified:
    """Verify up to `rows_max` rows, chain by chain. after: where the last part ended (chain, seq, hash of its row)."""
    return await db.read(lambda conn: _verify_txn(conn, after or (b"", 0, b""), rows_max))


async def read_ends(db: Database) -> list[tuple[bytes, int, bytes]]:
    """Return the end of each chain: chain, seq and hash."""
    rows = await db.read(lambda conn: conn.fetch("SELECT chain, seq, hash FROM audit_heads ORDER BY chain"))
    return [(row[0], row[1], row[2]) for row in rows]


def hash_of(before: bytes, row: Recorded) -> bytes:
    """Return the hash of a row whose predecessor has the hash `before` (empty for the first)."""
    parts = [
        *(before, row.chain, b"%d" % row.seq, b"%d" % row.at_ms, row.action.encode(), row.actor, row.device),
        *(row.address.encode(), row.subject.encode(), row.detail.encode()),
    ]
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


_COLUMNS = "chain, seq, at, action, actor, device, address, subject, detail, hash"


async def _verify_txn(conn: Connection, after: tuple[bytes, int, bytes], rows_max: int) -> Verified:
    found = [
        Recorded(*row)
        for row in await conn.fetch(
            f"SELECT {_COLUMNS} FROM audit WHERE chain > $1 OR (chain = $1 AND seq > $2) ORDER BY chain, seq LIMIT $3",
            *(after[0], after[1], rows_max),
        )
    ]
    is_last = len(found) < rows_max
    # Ends of the chains that are seen to their end here; one without a single row is found by its end alone.
    last = found[-1].chain if found else after[0]
    heads = await conn.fetch(
        "SELECT chain, seq, hash FROM audit_heads WHERE chain >= $1 AND (chain < $2 OR $3 = 1) ORDER BY chain",
        *(after[0], last, int(is_last)),
    )
    problems, ends = _compared(found, after)
    if is_last or not found:
        complete = set(ends)
    else:
        complete = {chain for chain in ends if chain < last}
    known = {row[0]: (row[1], row[2]) for row in heads}
    for chain, (seq, value) in sorted(known.items()):
        end = ends.get(chain, (0, b""))
        if (chain in complete or chain not in ends) and end != (seq, value):
            problems.append((chain, seq, "the chain's end is missing" if end[0] < seq else "the chain's end differs"))
    problems += [(chain, ends[chain][0], "the chain has no end") for chain in complete if chain and chain not in known]
    chains = len({row.chain for row in found} - {after[0]})
    place = None if is_last else (found[-1].chain, found[-1].seq, found[-1].hash)
    return Verified(len(found), chains, problems, place)


def _compared(
    rows: Sequence[Recorded], after: tuple[bytes, int, bytes]
) -> tuple[list[tuple[bytes, int, str]], dict[bytes, tuple[int, bytes]]]:
    """Return what is wrong in rows that follow `after`, and the end of each of their chains as it is found."""
    problems: list[tuple[bytes, int, str]] = []
    ends: dict[bytes, tuple[int, bytes]] = {after[0]: after[1:]} if after[0] else {}
    for row in rows:
        seq, before = ends.get(row.chain, (0, b""))
        if row.seq != seq + 1:
            problems.append((row.chain, row.seq, f"{row.seq - seq - 1} rows before it are missing"))
        elif hash_of(before, row) != row.hash:
            problems.append((row.chain, row.seq, "the row is not what was written"))
        ends[row.chain] = (row.seq, row.hash)
    return problems, ends
