"""Leads a namespace, or one folder of it, back to what it was at a place in its journal: first shown, then done.

Invariant: it is made of ordinary operations through the one write path, in batches in a fixed order, so whoever cuts it
leaves a valid tree, and doing it again finishes it: each round plans anew from what is there. What was made since goes
into the trash, what was edited since stays a version. It is undone by a rewind to the place before it.
Source: docs/design/030 (rewind).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from satchel.core.access import Right
from satchel.core.entries import Kind
from satchel.core.errors import PreconditionFailed, Unavailable
from satchel.core.hashing import PACKED_BYTES
from satchel.core.ids import ID_BYTES, ROOT_NODE, ContentHash, NamespaceId, NodeId, OpId
from satchel.core.limits import BLOCKS_PER_COMMIT_MAX, COMMIT_OPS_MAX
from satchel.core.messages import (
    AttrOp,
    CommitRequest,
    Content,
    DeleteOp,
    EditOp,
    MoveOp,
    Op,
    Placement,
    Refused,
    Stored,
    UndeleteOp,
)
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, fetch_in
from satchel.server.metadata.commit import commit
from satchel.server.metadata.journal import head_txn
from satchel.server.metadata.moments import seq_at_txn, time_of_txn, whole_txn
from satchel.server.metadata.rewind_plan import Plan, Step, What, plan
from satchel.server.metadata.rewind_records import CLAIM_MS, Record, begin, claim, finish
from satchel.server.ports import Clock, Workers

BATCHES_MAX = 20
"""So many commits are made by one call; who wants the rest calls again."""
ROUNDS_MAX = 8
"""So often a plan is made anew within one call because somebody changed something meanwhile."""
GONE = "gone"
CONFIRMED = 2
"""Flag in an op id's first byte: a person allowed this deletion, so devices carry it out however many there are. It was
shown before it was asked for. Source: docs/protocol/device.md (op ids)."""
FINAL = frozenset({"quota_exceeded", "too_deep", "name_invalid", "content_invalid", "forbidden", "kind_mismatch"})
"""Refusals that a new plan does not help with."""


class Line(NamedTuple):
    """One file or folder (with all it holds) of a preview.

    does: as `What`, or "gone": it was there and cannot come back, since it was removed for good. path_now: where it is,
    or was when it was deleted; path_then: where it was then, empty when it was not there. size: of a file then.
    instead_of: the rev that was thinned out, where an older version stands for it; 0 otherwise.
    """

    does: str
    node_id: NodeId
    kind: int
    path_now: str
    path_then: str
    size: int
    instead_of: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a rewind would do, and a page of it. counts: lines by what they do, and `thinned`; to_ms: when the entry at
    to_seq was stored; head_seq: where the journal stood; next_at: where the next page begins, None at the end."""

    to_seq: int
    to_ms: int
    head_seq: int
    counts: dict[str, int]
    lines: list[Line]
    next_at: int | None


@dataclass(frozen=True, slots=True)
class Rewound:
    """How a call ended. counts: what its first plan came to, as in a preview; is_finished: False when there is more to
    do by calling again; head_seq: the journal's end after its last change, 0 when it made none."""

    record: Record
    counts: dict[str, int]
    is_finished: bool
    head_seq: int


async def place_at(db: Database, principal: Principal, ns: NamespaceId, time_ms: int) -> int:
    """Return the newest seq that was there at a time. Raises: NotFound, HistoryEnded."""
    await authorize(db, principal, ns, Right.READ)

    async def find_txn(conn: Connection) -> int:
        return await seq_at_txn(conn, ns, await head_txn(conn, ns), time_ms)

    return await db.read(find_txn)


async def preview(
    db: Database,
    workers: Workers,
    principal: Principal,
    ns: NamespaceId,
    unit: NodeId,
    to_seq: int,
    *,
    at: int = 0,
    limit: int = 200,
    undoes: bytes | None = None,
) -> Preview:
    """Return what a rewind of `unit` (the root: of all) to `to_seq` would do now, and lines from `at` on.

    Costs what changed since then, whatever the tree. Raises: NotFound, HistoryEnded, LimitExceeded.
    """
    await _authorize(db, principal, ns, unit)

    to_seq = await db.read(lambda conn: whole_txn(conn, ns, to_seq))
    made = await plan(db, workers, ns, unit, to_seq, undoes)
    to_ms = await db.read(lambda conn: time_of_txn(conn, ns, to_seq))

    def shown() -> Preview:
        every = _shown(made)
        page = [_line(made, *one) for one in every[at : at + limit]]
        next_at = at + limit if at + limit < len(every) else None
        return Preview(to_seq, to_ms, made.head_seq, _counts(made), page, next_at)

    return await workers.run(shown)


async def rewind(
    db: Database,
    clock: Clock,
    workers: Workers,
    principal: Principal,
    ns: NamespaceId,
    unit: NodeId,
    to_seq: int,
    *,
    seen_seq: int | None = None,
    undoes: bytes | None = None,
    from_address: str = "",
    batches_max: int = BATCHES_MAX,
    ops_max: int = COMMIT_OPS_MAX,
) -> Rewound:
    """Lead `unit` (the root: all) back to what it was at `to_seq`. Safe to stop anywhere and to repeat: the same call
    goes on with what was begun. seen_seq: only if nothing changed since a preview that stood there; batches_max,
    ops_max: commits that this call makes at most, and operations in each.

    Raises: NotFound, HistoryEnded, LimitExceeded, PreconditionFailed (something changed since, or a step is refused),
    Unavailable (another rewind is at work here; or others change the same files all the time), and as `commit`.
    """
    await _authorize(db, principal, ns, unit)
    to_seq = await db.read(lambda conn: whole_txn(conn, ns, to_seq))
    made = await plan(db, workers, ns, unit, to_seq, undoes)
    record = await begin(
        db,
        clock,
        principal,
        ns,
        unit=unit,
        to_seq=to_seq,
        seen_seq=seen_seq,
        undoes=undoes,
        from_address=from_address,
    )
    work = _Work(db, clock, principal, ns, record, batches_max, ops_max)
    counts = _counts(made)
    try:
        for round_number in range(ROUNDS_MAX):
            if round_number:
                made = await plan(db, workers, ns, unit, to_seq, undoes)
            if (ended := await work.do(made)) is not Ended.STALE:
                break
        else:
            raise Unavailable("Others change the same files all the time.", where="rewind", reason="changed")
    except BaseException:
        await claim(db, ns, record.rewind_id, 0)
        raise
    if ended is Ended.DONE:
        await finish(db, clock, ns, record, is_needed=work.head_seq > 0, from_address=from_address)
    else:
        await claim(db, ns, record.rewind_id, 0)
    return Rewound(record, counts, ended is Ended.DONE, work.head_seq)


async def _authorize(db: Database, principal: Principal, ns: NamespaceId, unit: NodeId) -> None:
    """All of a namespace is rewound by who has that right, its owner; a folder by whoever may make each of the changes
    that it comes to by hand: owner and editor. Raises: NotFound."""
    if unit == ROOT_NODE:
        await authorize(db, principal, ns, Right.REWIND)
    await authorize(db, principal, ns, Right.WRITE, Right.DELETE)


class Ended(Enum):
    """How the steps of a plan ended: all done; more than one call does; or something changed since the plan."""

    DONE = 1
    MORE = 2
    STALE = 3


class _Work:
    """The commits of one call. head_seq: the journal's end after the last one; batches: how many were made."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        principal: Principal,
        ns: NamespaceId,
        record: Record,
        batches_max: int,
        ops_max: int,
    ) -> None:
        self._db, self._clock, self._principal, self._ns = db, clock, principal, ns
        self._record, self._batches_max, self._ops_max = record, batches_max, ops_max
        self._claimed_until_ms = record.claimed_until_ms
        self.head_seq = 0
        self.batches = 0

    async def do(self, made: Plan) -> Ended:
        """Do a plan's steps, as many as this call may."""
        contents = {step.content for step in made.steps if step.content}
        lengths = await self._db.read(lambda conn: _lengths_txn(conn, self._ns, contents))
        put_aside: dict[NodeId, int] = {}
        for batch in _batches(made.steps, lengths, self._ops_max):
            if self.batches == self._batches_max:
                return Ended.MORE
            await self._keep_claim()
            used = {step.content for step in batch if step.content}
            found = await self._db.read(lambda conn, used=used: _contents_txn(conn, self._ns, used))  # type: ignore[misc]
            if len(found) < len(used):
                # One was thinned out since the plan.
                return Ended.STALE
            ops = tuple([self._op(step, made.head_seq, found, put_aside) for step in batch])
            request = CommitRequest(self._ns, self._record.rewind_id, ops)
            reply = await commit(self._db, self._clock, self._principal, request)
            self.batches += 1
            stored = [outcome.seq if isinstance(outcome, Stored) else 0 for outcome in reply.outcomes]
            if any(stored):
                self.head_seq = reply.head_seq
            for step, outcome in zip(batch, reply.outcomes, strict=True):
                if isinstance(outcome, Refused) and outcome.code in FINAL:
                    raise PreconditionFailed("A step of the rewind is refused.", reason=outcome.code, what=step.what)
                if not isinstance(outcome, Stored):
                    return Ended.STALE
                if step.what == What.ASIDE:
                    put_aside[step.node_id] = outcome.seq
        return Ended.DONE

    async def _keep_claim(self) -> None:
        now_ms = self._clock.now_ms()
        if now_ms > self._claimed_until_ms - CLAIM_MS // 2:
            self._claimed_until_ms = now_ms + CLAIM_MS
            await claim(self._db, self._ns, self._record.rewind_id, self._claimed_until_ms)

    def _op(self, step: Step, seen_seq: int, found: dict[bytes, Content], put_aside: dict[NodeId, int]) -> Op:
        flags = CONFIRMED if step.what == What.TRASH else 0
        op_id, node_id = OpId(bytes((flags,)) + self._clock.random(ID_BYTES - 1)), step.node_id
        content = found.get(step.content)
        base = put_aside[node_id] if step.base_rev is None else step.base_rev
        bit, xattrs = step.is_executable, step.xattrs
        match step.what:
            case What.MOVED | What.ASIDE:
                return MoveOp(op_id, (Placement(node_id, base, step.parent_id, step.name),))
            case What.TRASH:
                return DeleteOp(op_id, node_id, seen_seq)
            case What.CONTENT:
                return EditOp(op_id, node_id, base, content, step.target, step.mtime_ns, bit, xattrs)
            case What.ATTRIBUTES:
                return AttrOp(op_id, node_id, base, bit, xattrs)
            case What.BACK:
                place = (step.parent_id, step.name)
                unit = step.is_subtree
                return UndeleteOp(op_id, node_id, *place, content, step.target, step.mtime_ns, bit, unit, xattrs)


def _batches(steps: list[Step], lengths: dict[bytes, int], ops_max: int) -> Iterator[list[Step]]:
    """Yield the steps in order, as many together as one commit takes. What was put aside moves on in a later batch, for
    its rev is known only then."""
    batch: list[Step] = []
    blocks = 0
    aside: set[NodeId] = set()
    for step in steps:
        more = lengths.get(step.content, 0)
        is_too_much = len(batch) == ops_max or blocks + more > BLOCKS_PER_COMMIT_MAX
        if batch and (is_too_much or (step.base_rev is None and step.node_id in aside)):
            yield batch
            batch, blocks, aside = [], 0, set()
        batch.append(step)
        blocks += more
        if step.what == What.ASIDE:
            aside.add(step.node_id)
    if batch:
        yield batch


async def _lengths_txn(conn: Connection, ns: NamespaceId, contents: set[bytes]) -> dict[bytes, int]:
    """Return how many blocks each content has."""
    text = "SELECT manifest_id, LENGTH(blocks) FROM manifests WHERE ns = $1 AND refs > 0 AND manifest_id IN {keys}"
    return {name: length // PACKED_BYTES for name, length in await fetch_in(conn, text, sorted(contents), ns)}


async def _contents_txn(conn: Connection, ns: NamespaceId, contents: set[bytes]) -> dict[bytes, Content]:
    text = (
        "SELECT manifest_id, blocks, size, cutter FROM manifests WHERE ns = $1 AND refs > 0 AND manifest_id IN {keys}"
    )
    rows = await fetch_in(conn, text, sorted(contents), ns)
    return {name: Content(ContentHash(name), blocks, size, cutter) for name, blocks, size, cutter in rows}


def _shown(made: Plan) -> list[tuple[str, NodeId, int]]:
    """Return what the steps come to, each node's part once: what it does, the node, and `instead_of`.

    What comes back within a folder may have steps of its own, to another place or into the trash again.
    """
    shown: list[tuple[str, NodeId, int]] = []
    back: set[NodeId] = set()
    for step in made.steps:
        if step.what == What.ASIDE:
            continue
        if step.node_id in made.living:
            shown.append((step.what.value, step.node_id, step.instead_of))
        elif step.what != What.TRASH and step.node_id not in back:
            back.add(step.node_id)
            shown.append((What.BACK.value, step.node_id, step.instead_of))
    return [*shown, *[(GONE, node_id, 0) for node_id in made.gone]]


def _counts(made: Plan) -> dict[str, int]:
    shown = _shown(made)
    counted = Counter([does for does, _, _ in shown])
    counted["thinned"] = sum(instead_of > 0 for _, _, instead_of in shown)
    return dict(+counted)


def _line(made: Plan, does: str, node_id: NodeId, instead_of: int) -> Line:
    row, was = made.rows.get(node_id), made.past.was(node_id)
    is_there = was is not None and made.past.lived(node_id)
    kind = row.kind if row is not None else was.kind if was is not None else int(Kind.FILE)
    size = was.size if was is not None and is_there else 0 if row is None else row.size
    path_now = made.path_now(node_id) if row is not None else ""
    return Line(does, node_id, kind, path_now, made.past.path(node_id) if is_there else "", size, instead_of)
