"""The audit log for administrators on the machine. Invariant: what is told fits a line of the administration's socket.

Source: docs/operate/accounts.md.
"""

from __future__ import annotations

import msgspec

from satchel.core.errors import MessageInvalid
from satchel.server.accounts.audit import STORE_CHAIN, Recorded, read_chain, read_ends, read_newest, verify_part
from satchel.server.accounts.service import account_id_of, names_of
from satchel.server.db.engine import Database

SHOWN_MAX = 60
PROBLEMS_MAX = 50
ENDS_MAX = 100


class AuditAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The newest rows: of one account (user), of the store (is_store), or of all. before: of one chain, older ones."""

    user: str = ""
    is_store: bool = False
    before: int = 0
    limit: int = SHOWN_MAX


class AuditVerifyAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Verify a part of the log. chain, seq, hash: where the part before ended, in hex; empty: from the beginning."""

    chain: str = ""
    seq: int = 0
    hash: str = ""


async def shown_audit(db: Database, asked: AuditAsked) -> list[dict[str, object]]:
    """Return rows of the log, the newest first. Raises: NotFound, MessageInvalid."""
    limit = max(1, min(asked.limit, SHOWN_MAX))
    if asked.user or asked.is_store:
        chain = STORE_CHAIN if asked.is_store else await account_id_of(db, asked.user)
        rows = await read_chain(db, chain, before=asked.before, limit=limit)
    elif asked.before:
        raise MessageInvalid("Name a user, or the store, to go back.", reason="before")
    else:
        rows = await read_newest(db, limit)
    names = await names_of(db, {account for row in rows for account in (row.chain, row.actor)})
    return [_shown(row, names) for row in rows]


async def verified_audit(db: Database, asked: AuditVerifyAsked) -> dict[str, object]:
    """Verify a part; return what is wrong and where to go on (null at the end, then with the chains' ends)."""
    try:
        after = (bytes.fromhex(asked.chain), asked.seq, bytes.fromhex(asked.hash)) if asked.chain else None
    except ValueError as error:
        raise MessageInvalid("This is no place in the log.", reason=str(error)) from error
    found = await verify_part(db, after)
    ends = [] if found.after else (await read_ends(db))[:ENDS_MAX]
    return {
        "rows": found.rows,
        "chains": found.chains,
        "problems": [
            {"chain": chain.hex(), "seq": seq, "what": what} for chain, seq, what in found.problems[:PROBLEMS_MAX]
        ],
        "after": None
        if found.after is None
        else {"chain": found.after[0].hex(), "seq": found.after[1], "hash": found.after[2].hex()},
        "ends": [{"chain": chain.hex(), "seq": seq, "hash": value.hex()} for chain, seq, value in ends],
    }


def _shown(row: Recorded, names: dict[bytes, str]) -> dict[str, object]:
    def name(account: bytes) -> str:
        return names.get(account, account.hex())

    return {
        "at_ms": row.at_ms,
        "chain": row.chain.hex(),
        "seq": row.seq,
        "account": "" if row.chain == STORE_CHAIN else name(row.chain),
        "action": row.action,
        "actor": name(row.actor) if row.actor else "",
        "device": row.device.hex(),
        "address": row.address,
        "subject": row.subject,
        "detail": msgspec.json.decode(row.detail.encode()) if row.detail else {},
        "hash": row.hash.hex(),
    }
