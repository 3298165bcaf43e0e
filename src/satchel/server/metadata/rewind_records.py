"""The rewinds that were made: rows of `rewinds`. Invariant: before_seq is the place before the first step of a rewind,
also of one that was cut and taken up again, so a rewind to it takes the whole of it back.
"""

from __future__ import annotations

from typing import NamedTuple

from satchel.core.access import Right, Role
from satchel.core.errors import NotFound, PreconditionFailed, Unavailable
from satchel.core.ids import AccountId, DeviceId, LinkId, NamespaceId, NodeId, uuid7
from satchel.core.limits import LIST_PAGE_MAX
from satchel.server.accounts.access import authorize
from satchel.server.accounts.audit import Action, Detail, Event, record_txn
from satchel.server.accounts.members import State, memberships_txn
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, Question, Row, fetch_in, fetch_together
from satchel.server.metadata.journal import head_txn
from satchel.server.ports import Clock

CLAIM_MS = 60_000
LOOKED_AT_MAX = 20
LAST_ID = b"\xff" * 17


class Record(NamedTuple):
    """One rewind. unit: the folder, or the root for the whole namespace; after_seq: the journal's end when it was done,
    0 before; undoes: the rewind that it takes back; finished_ms: None while it is not done."""

    rewind_id: LinkId
    unit: NodeId
    to_seq: int
    before_seq: int
    after_seq: int
    actor: AccountId
    device: DeviceId
    undoes: bytes | None
    claimed_until_ms: int
    created_ms: int
    finished_ms: int | None


_COLUMNS = (
    "rewind_id, unit, to_seq, before_seq, after_seq, actor, device, undoes, claimed_until, created_at, finished_at"
)


async def begin(
    db: Database,
    clock: Clock,
    principal: Principal,
    ns: NamespaceId,
    *,
    unit: NodeId,
    to_seq: int,
    seen_seq: int | None,
    undoes: bytes | None,
    from_address: str = "",
) -> Record:
    """Claim a rewind for CLAIM_MS: the unfinished one of this folder to this place, or a new one.

    seen_seq: begin a new one only while the journal ends there. Raises: PreconditionFailed, Unavailable (another one is
    being done), NotFound.
    """
    rewind_id = LinkId(uuid7(clock.now_ms(), clock.random(10)))

    async def begin_txn(conn: Connection) -> Record:
        head, now_ms = await head_txn(conn, ns, for_update=True), clock.now_ms()
        open_ones = [record for record in await _newest_txn(conn, ns, LOOKED_AT_MAX) if record.finished_ms is None]
        if any(record.claimed_until_ms > now_ms for record in open_ones):
            raise Unavailable("A rewind is being done here; wait for its end.", where="rewind", reason="claimed")
        for record in open_ones:
            if (record.unit, record.to_seq) == (unit, to_seq):
                await _claim_txn(conn, ns, record.rewind_id, now_ms + CLAIM_MS)
                return record
        if seen_seq is not None and seen_seq != head.seq:
            raise PreconditionFailed("Something changed since the preview.", expected=seen_seq, actual=head.seq)
        actor, device = principal.account_id, principal.device_id
        made = Record(rewind_id, unit, to_seq, head.seq, 0, actor, device, undoes, now_ms + CLAIM_MS, now_ms, None)
        marks = ", ".join(f"${number}" for number in range(1, 2 + len(made)))
        await conn.execute(f"INSERT INTO rewinds (ns, {_COLUMNS}) VALUES ({marks})", ns, *made)
        await _tell_txn(conn, ns, made, Action.REWIND_BEGUN, now_ms, from_address)
        return made

    return await db.write(ns, begin_txn)


async def claim(db: Database, ns: NamespaceId, rewind_id: LinkId, until_ms: int) -> None:
    """Hold a rewind until then, or let go of it."""
    await db.write(ns, lambda conn: _claim_txn(conn, ns, rewind_id, until_ms))


async def finish(
    db: Database, clock: Clock, ns: NamespaceId, record: Record, *, is_needed: bool, from_address: str = ""
) -> None:
    """Note that a rewind is done; one that had nothing to do is forgotten."""

    async def finish_txn(conn: Connection) -> None:
        head = await head_txn(conn, ns, for_update=True)
        if is_needed or head.seq != record.before_seq:
            text = (
                "UPDATE rewinds SET finished_at = $3, after_seq = $4, claimed_until = 0"
                " WHERE ns = $1 AND rewind_id = $2"
            )
            now_ms = clock.now_ms()
            await conn.execute(text, ns, record.rewind_id, now_ms, head.seq)
            await _tell_txn(conn, ns, record._replace(after_seq=head.seq), Action.REWOUND, now_ms, from_address)
        else:
            await conn.execute("DELETE FROM rewinds WHERE ns = $1 AND rewind_id = $2", ns, record.rewind_id)

    await db.write(ns, finish_txn)


class Told(NamedTuple):
    """A rewind for people. actor and device: as they are called now, empty when gone; to_ms: the time that it led back
    to, 0 when the journal does not reach there any more; is_undoable: the journal reaches back to before it."""

    record: Record
    actor: str
    device: str
    to_ms: int
    is_undoable: bool


async def rewinds(
    db: Database, principal: Principal, ns: NamespaceId, after: bytes = b"", limit: int = LIST_PAGE_MAX
) -> list[Told]:
    """Return the rewinds that were made, the newest first, from the one after the id `after`. Raises: NotFound."""
    await authorize(db, principal, ns, Right.READ)
    limit = max(1, min(limit, LIST_PAGE_MAX))

    async def read_txn(conn: Connection) -> list[Told]:
        head = await head_txn(conn, ns)
        found = await _newest_txn(conn, ns, limit, below=after or LAST_ID)
        times = "SELECT seq, created_at FROM file_changes WHERE ns = $1 AND seq IN {keys}"
        people = "SELECT account_id, name FROM accounts WHERE account_id IN {keys}"
        machines = "SELECT device_id, name FROM devices WHERE device_id IN {keys}"
        asked = (
            Question(times, (ns,), keys=[record.to_seq for record in found]),
            Question(people, keys=[record.actor for record in found]),
            Question(machines, keys=[record.device for record in found]),
        )
        rows = await fetch_together(conn, asked)
        at: dict[int, int] = dict(rows[0])
        named: dict[bytes, str] = dict(rows[1])
        called: dict[bytes, str] = dict(rows[2])
        return [
            Told(
                record,
                named.get(record.actor, ""),
                called.get(record.device, ""),
                at.get(record.to_seq, 0),
                record.before_seq >= head.min_seq,
            )
            for record in found
        ]

    return await db.read(read_txn)


async def rewind_of(db: Database, principal: Principal, rewind_id: bytes) -> tuple[NamespaceId, Record]:
    """Return one rewind of the principal's root or of a shared folder that it owns, and where. Raises: NotFound."""
    text = f"SELECT ns, {_COLUMNS} FROM rewinds WHERE ns IN {{keys}} AND rewind_id = $1"

    async def find_txn(conn: Connection) -> list[Row]:
        parts = await memberships_txn(conn, principal.account_id)
        owned = [each.ns for each in parts if each.role == Role.OWNER and each.state == State.ACCEPTED]
        return await fetch_in(conn, text, sorted([principal.root_ns, *owned]), rewind_id)

    rows = await db.read(find_txn)
    if not rows:
        raise NotFound("There is no such rewind.")
    return NamespaceId(rows[0][0]), Record._make(rows[0][1:])


async def _tell_txn(
    conn: Connection, ns: NamespaceId, record: Record, action: Action, now_ms: int, address: str
) -> None:
    """Write into the audit log of the namespace's owner what is done to it."""
    told: Detail = {
        "ns": ns.hex(),
        "unit": record.unit.hex(),
        "to_seq": record.to_seq,
        "before_seq": record.before_seq,
        "after_seq": record.after_seq,
        "undoes": (record.undoes or b"").hex(),
    }
    owner = await conn.fetch("SELECT owner FROM namespaces WHERE ns = $1", ns)
    event = Event(action, now_ms, record.actor, record.device, address, record.rewind_id.hex(), told)
    await record_txn(conn, owner[0][0], event)


async def _newest_txn(conn: Connection, ns: NamespaceId, limit: int, *, below: bytes = LAST_ID) -> list[Record]:
    text = f"SELECT {_COLUMNS} FROM rewinds WHERE ns = $1 AND rewind_id < $2 ORDER BY rewind_id DESC LIMIT $3"
    return [Record._make(row) for row in await conn.fetch(text, ns, below, limit)]


async def _claim_txn(conn: Connection, ns: NamespaceId, rewind_id: LinkId, until_ms: int) -> None:
    text = "UPDATE rewinds SET claimed_until = $3 WHERE ns = $1 AND rewind_id = $2"
    await conn.execute(text, ns, rewind_id, until_ms)
