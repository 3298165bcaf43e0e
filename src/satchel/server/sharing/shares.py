"""Links and file requests as rows. Invariant: a token is stored only as its hash, and told once.

A share names one node of one namespace. Whether it still opens is decided at each use, in `links`.
Source: docs/design/060 (2, 3).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from satchel.core.errors import LimitExceeded
from satchel.core.ids import AccountId, DeviceId, NamespaceId, NodeId
from satchel.core.limits import SHARES_PER_ACCOUNT_MAX
from satchel.server.db.engine import Connection, Row, Value, fetch_in

ShareId = NewType("ShareId", bytes)
TOKEN_BYTES = 32
TOKEN_CHARS_MAX = 128


class Permission(StrEnum):
    """What a link lets its holder do. UPLOAD: a file request, which shows nothing of what is there."""

    VIEW = "view"
    EDIT = "edit"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Share:
    """A row of `shares`, in the order of COLUMNS. password_hash: empty for none; times in Unix ms, seen_ms 0: never."""

    ns: NamespaceId
    share_id: ShareId
    node_id: NodeId
    maker: AccountId
    device: DeviceId
    permission: Permission
    password_hash: str
    is_no_download: bool
    expires_ms: int | None
    downloads_max: int | None
    downloads: int
    hits: int
    created_ms: int
    seen_ms: int

    @property
    def is_used_up(self) -> bool:
        """Whether no more downloads may begin."""
        return self.downloads_max is not None and self.downloads >= self.downloads_max


_COLUMNS = (
    "ns",
    "share_id",
    "node_id",
    "maker",
    "device",
    "permission",
    "password_hash",
    "is_no_download",
    "expires_at",
    "downloads_max",
    "downloads",
    "hits",
    "created_at",
    "seen_at",
)
COLUMN_LIST = ", ".join(f"s.{column}" for column in _COLUMNS)
COLUMN_COUNT = len(_COLUMNS)


def share_of(row: Row) -> Share:
    """Return the share of a row selected by COLUMN_LIST; what follows in the row is ignored."""
    values = list(row[:COLUMN_COUNT])
    values[5], values[7] = Permission(values[5]), bool(values[7])
    return Share(*values)


def new_token(randomness: bytes) -> str:
    """Return a token of 32 random bytes, in base64url."""
    assert len(randomness) == TOKEN_BYTES
    return base64.urlsafe_b64encode(randomness).rstrip(b"=").decode()


def hash_of_token(token: str) -> bytes:
    """Return what is stored of a token; of one that cannot be one, what no token has."""
    raw = token.encode(errors="surrogatepass") if len(token) <= TOKEN_CHARS_MAX else b""
    return hashlib.sha256(raw).digest()


async def insert_txn(conn: Connection, share: Share, token_hash: bytes) -> None:
    """Store a new share with its token. Raises: LimitExceeded."""
    held = await conn.fetch(
        "SELECT COUNT(*) FROM shares WHERE ns = $1 AND maker = $2 AND revoked_at IS NULL", share.ns, share.maker
    )
    if held[0][0] >= SHARES_PER_ACCOUNT_MAX:
        raise LimitExceeded(
            "There are too many links here.",
            limit="SHARES_PER_ACCOUNT_MAX",
            maximum=SHARES_PER_ACCOUNT_MAX,
            actual=held[0][0] + 1,
        )
    values: tuple[Value, ...] = (
        *(share.ns, share.share_id, share.node_id, share.maker, share.device, str(share.permission)),
        *(share.password_hash, int(share.is_no_download), share.expires_ms, share.downloads_max),
        *(share.downloads, share.hits, share.created_ms, share.seen_ms, token_hash),
    )
    await conn.execute(
        f"INSERT INTO shares ({', '.join(_COLUMNS)}, token_hash, revoked_at)"
        f" VALUES ({', '.join(f'${at + 1}' for at in range(len(values)))}, NULL)",
        *values,
    )
    await conn.execute(
        "INSERT INTO share_tokens (token_hash, ns, share_id) VALUES ($1, $2, $3)",
        *(token_hash, share.ns, share.share_id),
    )


async def change_txn(conn: Connection, share: Share) -> int:
    """Store what may change of a share; return 0 when it was revoked meanwhile."""
    return await conn.execute(
        "UPDATE shares SET password_hash = $4, is_no_download = $5, expires_at = $6, downloads_max = $7"
        " WHERE ns = $1 AND share_id = $2 AND maker = $3 AND revoked_at IS NULL",
        *(share.ns, share.share_id, share.maker, share.password_hash, int(share.is_no_download)),
        *(share.expires_ms, share.downloads_max),
    )


async def revoke_txn(conn: Connection, ns: NamespaceId, share_id: ShareId, maker: AccountId, now_ms: int) -> int:
    """End a share for ever; return 0 when there is none that lives."""
    rows = await conn.fetch(
        "SELECT token_hash FROM shares WHERE ns = $1 AND share_id = $2 AND maker = $3 AND revoked_at IS NULL",
        *(ns, share_id, maker),
    )
    if not rows:
        return 0
    await conn.execute("DELETE FROM share_tokens WHERE token_hash = $1", rows[0][0])
    return await conn.execute(
        "UPDATE shares SET revoked_at = $4 WHERE ns = $1 AND share_id = $2 AND maker = $3 AND revoked_at IS NULL",
        *(ns, share_id, maker, now_ms),
    )


async def one_txn(conn: Connection, ns: NamespaceId, share_id: ShareId, maker: AccountId) -> Share | None:
    """Return a share that was not revoked, None when the account made none like that."""
    rows = await conn.fetch(
        f"SELECT {COLUMN_LIST} FROM shares s"
        " WHERE s.ns = $1 AND s.share_id = $2 AND s.maker = $3 AND s.revoked_at IS NULL",
        *(ns, share_id, maker),
    )
    return share_of(rows[0]) if rows else None


async def made_by_txn(
    conn: Connection, ns: NamespaceId, maker: AccountId, *, after: ShareId, limit: int
) -> list[Share]:
    """Return the shares that an account made in a namespace and that were not revoked, the oldest first."""
    rows = await conn.fetch(
        f"SELECT {COLUMN_LIST} FROM shares s WHERE s.ns = $1 AND s.maker = $2 AND s.share_id > $3"
        " AND s.revoked_at IS NULL ORDER BY s.share_id LIMIT $4",
        *(ns, maker, after, limit),
    )
    return [share_of(row) for row in rows]


async def with_links_txn(conn: Connection, inside: Sequence[NamespaceId], maker: AccountId) -> set[NamespaceId]:
    """Return those of the namespaces in which an account made a share that was not revoked."""
    rows = await fetch_in(
        conn,
        "SELECT DISTINCT ns FROM shares WHERE ns IN {keys} AND maker = $1 AND revoked_at IS NULL",
        inside,
        maker,
    )
    return {NamespaceId(row[0]) for row in rows}


async def take_download_txn(conn: Connection, share: Share) -> bool:
    """Count one download of a share with a limit, if one is left: the one statement decides, whoever else asks."""
    return bool(
        await conn.execute(
            "UPDATE shares SET downloads = downloads + 1 WHERE ns = $1 AND share_id = $2 AND revoked_at IS NULL"
            " AND (downloads_max IS NULL OR downloads < downloads_max)",
            *(share.ns, share.share_id),
        )
    )
