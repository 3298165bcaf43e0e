"""The only write path. Invariant: rows, versions, counts, journal and results of a request are one transaction.

The namespace's row is locked first and to the end, so the order in which changes become visible is the order of their
seqs, without a gap. Blocks are durable and verified before. Source: docs/design (commit).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from msgspec.structs import replace

from satchel.core.access import Right
from satchel.core.errors import EpochChanged
from satchel.core.ids import ROOT_NODE, TAG_BYTES, NamespaceId, OpId, Tag
from satchel.core.limits import LEASE_HOURS_MIN, MANIFEST_INLINE_BLOCKS_MAX
from satchel.core.messages import (
    CommitReply,
    CommitRequest,
    Conflict,
    CreateOp,
    DeleteOp,
    Outcome,
    Position,
    Refused,
    Stored,
)
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.blocks.refs import PlacedBlock, place_txn
from satchel.server.blocks.registering import register
from satchel.server.db.engine import (
    Change,
    Connection,
    Database,
    Question,
    Row,
    Value,
    change_together,
    execute_in,
    fetch_together,
)
from satchel.server.metadata.blocklists import blocklists_txn
from satchel.server.metadata.contents import Contents
from satchel.server.metadata.decide import Author, Batch, Version
from satchel.server.metadata.journal import Head, appended, head_txn, knows, tag_of, tag_question
from satchel.server.metadata.nodes import COLUMN_LIST, COLUMNS, LIFTED, LIVE, is_file, values_of
from satchel.server.metadata.prepare import Prepared, prepare
from satchel.server.metadata.quota import quota_of_txn, quota_question
from satchel.server.metadata.view import View
from satchel.server.ports import Clock

TAGS_DRAWN = 64
LEASE_MS = LEASE_HOURS_MIN * 60 * 60 * 1000
Guard = Callable[[Connection], Awaitable[None]]


async def commit(
    db: Database,
    clock: Clock,
    principal: Principal,
    request: CommitRequest,
    placed: Sequence[PlacedBlock] = (),
    guard: Guard | None = None,
) -> CommitReply:
    """Store what can be stored of a request, durable on return; one outcome per op, in order.

    placed: the blocks that came with the request, verified and durable. guard: called first in the transaction; it
    takes the namespace's row and raises when the request is not to be done. Idempotent by op_id. Raises: NotFound (no
    such namespace for the principal), EpochChanged, LimitExceeded, MessageInvalid, StorageFull, StorageFailed,
    Unavailable, and what `guard` raises.
    """
    is_deleting = any(isinstance(op, DeleteOp) for op in request.ops)
    await authorize(db, principal, request.ns, Right.WRITE, *([Right.DELETE] if is_deleting else ()))
    prepared = prepare(request)
    author = Author(principal.account_id, principal.device_id, request.link)
    if placed and db.dialect != "sqlite":
        # Other services write there too: block rows are never taken while a namespace row is held.
        now = clock.now_ms()
        await register(db, request.ns, placed, lease_until_ms=now + LEASE_MS, now_ms=now)

    async def work(conn: Connection) -> CommitReply:
        if guard is not None:
            await guard(conn)
        if placed and conn.dialect == "sqlite":
            now = clock.now_ms()
            await place_txn(conn, request.ns, placed, lease_until_ms=now + LEASE_MS, now_ms=now)
        return await commit_txn(conn, clock, request.ns, author, prepared, placed, request.position)

    return await db.write(request.ns, work)


async def commit_txn(
    conn: Connection,
    clock: Clock,
    ns: NamespaceId,
    author: Author,
    prepared: Sequence[Prepared],
    placed: Sequence[PlacedBlock] = (),
    position: Position | None = None,
) -> CommitReply:
    """Decide and write the ops inside a transaction; takes the namespace's row and gives it the right to `placed`.

    Raises: EpochChanged when the journal never had the sender's position, or not that entry there.
    """
    head = await head_txn(conn, ns, for_update=True)
    # What follows sees all that was committed before: the row was locked in a statement of its own.
    outcomes, batch = await _loaded_txn(conn, clock, ns, head, author, prepared, placed, position)
    fresh = [(at, one) for at, one in enumerate(prepared) if outcomes[at] is None]
    answered: dict[OpId, tuple[bytes, Outcome]] = {}
    for at, one in fresh:
        earlier = answered.get(one.op.op_id)
        if earlier is None:
            outcome = batch.decide(one)
            answered[one.op.op_id] = (one.body_hash, outcome)
        else:
            outcome = earlier[1] if earlier[0] == one.body_hash else Refused("op_id_reused")
        outcomes[at] = outcome
    await write_batch_txn(conn, ns, batch, _results(ns, author, batch.now_ms, answered))
    known = [outcome for outcome in outcomes if outcome is not None]
    return CommitReply(tuple(await _with_blocklists_txn(conn, ns, known)), batch.head_seq)


def _position_questions(ns: NamespaceId, head: Head, position: Position | None) -> list[Question]:
    """Ask what stands at the sender's position, unless that is the head."""
    if position is None or not position.seq or (position.seq, position.tag) == (head.seq, head.tag):
        return []
    return [tag_question(ns, position.seq)]


def _require_known(head: Head, position: Position, answer: Sequence[Row]) -> None:
    """A store that was put back uses its seqs again: a rev of before the restore may fit what others did since."""
    if not knows(head, seq=position.seq, tag=position.tag, found=tag_of(position.seq, answer)):
        raise EpochChanged(
            "The service was put back to an earlier state.", expected=position.tag.hex(), actual=head.tag.hex()
        )


def _results_question(ns: NamespaceId, author: Author, prepared: Sequence[Prepared]) -> Question:
    sql = "SELECT op_id, body_hash, seq FROM op_results WHERE ns = $1 AND actor = $2 AND op_id IN {keys}"
    return Question(sql, (ns, author.account), keys=sorted({one.op.op_id for one in prepared}))


def _replayed(prepared: Sequence[Prepared], answer: Sequence[Row]) -> list[Outcome | None]:
    """Return the first answers of ops that were stored before, None for the others."""
    known = {row[0]: (row[1], row[2]) for row in answer}
    outcomes: list[Outcome | None] = []
    for one in prepared:
        found = known.get(one.op.op_id)
        if found is None:
            outcomes.append(None)
        else:
            outcomes.append(Stored(found[1]) if found[0] == one.body_hash else Refused("op_id_reused"))
    return outcomes


async def _loaded_txn(
    conn: Connection,
    clock: Clock,
    ns: NamespaceId,
    head: Head,
    author: Author,
    prepared: Sequence[Prepared],
    placed: Sequence[PlacedBlock],
    position: Position | None,
) -> tuple[list[Outcome | None], Batch]:
    """Load what the ops touch with a few statements; return what was answered before, and the batch for the rest."""
    possible = [one for one in prepared if one.refusal is None]
    view = View(ns)
    contents = Contents(ns, bytes_used=head.bytes_used, quota=head.quota, placed=placed)
    places = {place for one in possible for place in one.places}
    ids = {node_id for one in possible for node_id in one.nodes}.union([parent for parent, _ in places])
    asked = [_results_question(ns, author, prepared), *view.questions(ids, places), *contents.questions(conn)]
    asked.append(quota_question(head))
    answers = await fetch_together(conn, asked + _position_questions(ns, head, position))
    results, by_id, by_place, used, held, owned = answers[: len(asked)]
    if position is not None and len(answers) > len(asked):
        _require_known(head, position, answers[-1])
    outcomes = _replayed(prepared, results)
    fresh = [one for at, one in enumerate(prepared) if outcomes[at] is None and one.refusal is None]
    await view.take_txn(conn, (by_id, by_place))
    await _load_elsewhere_txn(conn, view, fresh)
    seen = [one.op.seen_seq for one in fresh if isinstance(one.op, DeleteOp)]
    if seen and (oldest := max(0, min(seen))) < head.seq:
        await view.load_foreign_txn(
            conn, after=oldest, head_seq=head.seq, min_seq=head.min_seq, device=author.device, link=author.link
        )
    contents.quota = await quota_of_txn(conn, ns, head, owned)
    await contents.load_txn(conn, fresh, used=used, held=held)
    now = max(head.at, clock.now_ms())
    return outcomes, Batch(view, contents, author, head.seq, now, tags(clock.random))


async def _load_elsewhere_txn(conn: Connection, view: View, fresh: Sequence[Prepared]) -> None:
    """Load mounts for whoever deletes, and where unknown nodes went when their folder was shared."""
    if any(isinstance(one.op, DeleteOp) for one in fresh):
        await view.load_mounts_txn(conn)
    made = {one.op.node_id for one in fresh if isinstance(one.op, CreateOp)}
    named = {node_id for one in fresh for node_id in one.nodes}.union(
        parent for one in fresh for parent, _ in one.places
    )
    unknown = named.difference(view.nodes, made, (ROOT_NODE,))
    if unknown:
        await view.load_moved_txn(conn, unknown)


def tags(random: Callable[[int], bytes]) -> Iterator[Tag]:
    """Yield random tags for journal entries; the machine is asked for many at once: a call costs more than an entry."""
    while True:
        drawn = random(TAGS_DRAWN * TAG_BYTES)
        for at in range(0, len(drawn), TAG_BYTES):
            yield Tag(drawn[at : at + TAG_BYTES])


_UPSERT = (
    f"INSERT INTO files (ns, {COLUMN_LIST}) VALUES ({', '.join(f'${at + 1}' for at in range(len(COLUMNS) + 1))})"
    " ON CONFLICT (ns, node_id) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in COLUMNS if column not in ("node_id", "created_at"))
)


_VERSION = (
    "INSERT INTO file_versions (ns, author, device, created_at, node_id, rev, version_number, content, size, mtime_ns,"
    " op_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
_TOLD = (
    "INSERT INTO outbox (ns, seq, tag) VALUES ($1, $2, $3)"
    " ON CONFLICT (ns) DO UPDATE SET seq = excluded.seq, tag = excluded.tag"
)
_HEAD = "UPDATE namespaces SET head_seq = $2, head_tag = $3, head_at = $4, bytes_used = $5 WHERE ns = $1"


async def write_batch_txn(conn: Connection, ns: NamespaceId, batch: Batch, *more: Change) -> None:
    """Write what a batch decided, and `more`; the caller holds the namespace's row."""
    view, author = batch.view, batch.author
    changed = {node_id: view.nodes[node_id] for node_id, old in view.stored.items() if view.nodes[node_id] is not old}
    left = [
        node_id
        for node_id, node in changed.items()
        if (old := view.stored[node_id]) is not None
        and old.state == LIVE
        and (node.state != LIVE or node.place != old.place)
    ]
    if left and any(node.state == LIVE for node in changed.values()):
        # Names are checked row by row: all that leave a name do so before any takes one.
        await execute_in(conn, f"UPDATE files SET state = {LIFTED} WHERE ns = $1 AND node_id IN {{keys}}", left, ns)
    versions = [_version_row(version) for version in batch.versions]
    changes = [
        Change(_UPSERT, [values_of(node) for node in changed.values()], (ns,)),
        Change(_VERSION, versions, (ns, author.account, author.device, batch.now_ms)),
        *await batch.contents.write_txn(conn, lease_until_ms=batch.now_ms + LEASE_MS),
    ]
    if batch.rows:
        position = (ns, batch.head_seq, batch.rows[-1].tag)
        changes += [
            appended(ns, batch.rows),
            Change(_TOLD, [position]),
            Change(_HEAD, [(*position, batch.now_ms, batch.contents.bytes_used)]),
        ]
    await change_together(conn, [*changes, *more])


def _version_row(version: Version) -> tuple[Value, ...]:
    n = version.node
    return (n.node_id, n.content_rev, n.version_count, n.content, n.size, n.mtime_ns, version.op_id)


def _results(ns: NamespaceId, author: Author, now_ms: int, answered: dict[OpId, tuple[bytes, Outcome]]) -> Change:
    return Change(
        "INSERT INTO op_results (ns, actor, created_at, op_id, body_hash, seq) VALUES ($1, $2, $3, $4, $5, $6)",
        [(op_id, body, outcome.seq) for op_id, (body, outcome) in answered.items() if isinstance(outcome, Stored)],
        (ns, author.account, now_ms),
    )


async def _with_blocklists_txn(conn: Connection, ns: NamespaceId, outcomes: list[Outcome]) -> list[Outcome]:
    """Return the outcomes, a conflict's node with its blocklist where that is short."""
    files = {
        outcome.current.content
        for outcome in outcomes
        if isinstance(outcome, Conflict) and outcome.current is not None and is_file(outcome.current.kind)
    }
    if not files:
        return outcomes
    found = await blocklists_txn(conn, ns, files, blocks_max=MANIFEST_INLINE_BLOCKS_MAX)
    return [
        Conflict(replace(outcome.current, blocks=found.get(outcome.current.content, b"")))
        if isinstance(outcome, Conflict) and outcome.current is not None and is_file(outcome.current.kind)
        else outcome
        for outcome in outcomes
    ]
