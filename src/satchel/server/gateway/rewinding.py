"""REST: rewinds of a folder or of the whole account, and what was done. Invariant: a rewind is shown before it is done,
and nothing that it does is for good.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import Parameter

from satchel.core.errors import MessageInvalid, NotFound
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.limits import LIST_PAGE_MAX, MIB
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.files import Limit
from satchel.server.gateway.rest import KINDS, Asked, address_of, from_hex, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.activity import GROUPS_MAX, Done, Wanted
from satchel.server.metadata.activity import activity as done_there
from satchel.server.metadata.moments import DAYS_MAX, reach
from satchel.server.metadata.moments import days as days_of
from satchel.server.metadata.rewind import Line, place_at, preview, rewind
from satchel.server.metadata.rewind_records import Told, rewind_of
from satchel.server.metadata.rewind_records import rewinds as rewinds_made
from satchel.server.metadata.tree import path_of, resolve

LINES_MAX = 1_000
PLAN_BYTES = 64 * MIB
"""Taken while a plan is made and held: so one account makes two at once, and the server eight."""
Lines = Annotated[int, Parameter(ge=1, le=GROUPS_MAX)]
Seq = Annotated[int, Parameter(ge=0, le=2**62)]


class RewindAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which folder (path, or id; the root is the whole account), and to where: one of a time (Unix ms), a seq, and the
    id of a rewind to undo. seen_seq: only if the journal still ends there, as a preview's `head_seq` said."""

    path: str = ""
    id: str = ""
    to_ms: int | None = None
    to_seq: int | None = None
    undo: str = ""
    seen_seq: int | None = None


class PreviewAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As for a rewind; at: where the page begins, as `next_at` of the one before it said."""

    path: str = ""
    id: str = ""
    to_ms: int | None = None
    to_seq: int | None = None
    undo: str = ""
    at: int = 0
    limit: int = 200


class RewindLine(msgspec.Struct, frozen=True):
    """A file, or a folder with all it holds. does: back (comes back), trash, content (gets what it held then), moved
    (or renamed), attributes, gone (was there, and was removed for good). path_now: empty when there is no trace of it;
    path_then: empty when it was not there. instead_of: the version that was thinned out, where the nearest older one
    stands for it; 0 otherwise."""

    does: str
    id: str
    kind: str
    path_now: str
    path_then: str
    size: int
    instead_of: int


class RewindPreview(msgspec.Struct, frozen=True):
    """What a rewind would do now. counts: lines by what they do, and how many get an older version (`thinned`); to_ms:
    when the last change before that was made; next_at: null at the end."""

    to_seq: int
    to_ms: int
    head_seq: int
    counts: dict[str, int]
    lines: list[RewindLine]
    next_at: int | None


class RewindDone(msgspec.Struct, frozen=True):
    """A rewind, done or begun. is_finished: when false, ask the same again: it goes on. id: undoes it."""

    id: str
    to_seq: int
    before_seq: int
    head_seq: int
    counts: dict[str, int]
    is_finished: bool


class Rewind(msgspec.Struct, frozen=True):
    """A rewind that was made. path: of the folder now, empty when that is gone; undoes: the rewind that it took back,
    empty for none; finished_ms: null when it was cut; is_undoable: the history reaches back to before it."""

    id: str
    path: str
    to_seq: int
    to_ms: int
    before_seq: int
    account: str
    device: str
    created_ms: int
    finished_ms: int | None
    undoes: str
    is_undoable: bool


class Rewinds(msgspec.Struct, frozen=True):
    """A page of rewinds, the newest first. after: give it to get the next page; empty at the end."""

    rewinds: list[Rewind]
    after: str


class ActivityRow(msgspec.Struct, frozen=True):
    """What one device did in one minute, one after another and of one kind. entries: how many; first_seq and last_seq
    open it (given back with `grouped=false`). does: create, edit, move, delete, restore, attributes, mount, unmount.
    What is told of one file is of the newest entry. path_before: of a move; rewind: the one it was a part of."""

    first_seq: int
    last_seq: int
    at_ms: int
    entries: int
    does: str
    account: str
    device: str
    rewind: str
    id: str
    kind: str
    path: str
    path_before: str
    size: int


class Activity(msgspec.Struct, frozen=True):
    """A page of what was done, the newest first; it may be empty and yet not the last. before: give it to get the next
    page; 0 at the end."""

    rows: list[ActivityRow]
    before: int


class ActivityDay(msgspec.Struct, frozen=True):
    """begin_ms: Unix ms at which the day begins; changes: how many there were on it."""

    begin_ms: int
    changes: int


class ActivityDays(msgspec.Struct, frozen=True):
    """Changes a day, the oldest day first, and how far back a rewind can go."""

    days: list[ActivityDay]
    oldest_seq: int
    oldest_ms: int
    head_seq: int
    head_ms: int


@post("/api/v1/rewind/preview", status_code=200)
async def preview_rewind(request: Asked, data: PreviewAsked) -> RewindPreview:
    """Show what a rewind would do. Needs what the rewind needs."""
    services, principal = services_of(request), await principal_of(request)
    if not (data.at >= 0 and 1 <= data.limit <= LINES_MAX):
        raise MessageInvalid("A page has 1 to 1,000 lines.", reason="limit")
    unit, seq, undoes = await _target(services, principal, data)
    with services.room.taken(principal.account_id, PLAN_BYTES):
        told = await preview(
            services.db,
            services.workers,
            principal,
            principal.root_ns,
            unit,
            seq,
            at=data.at,
            limit=data.limit,
            undoes=undoes,
        )
    lines = [_line_of(line) for line in told.lines]
    return RewindPreview(told.to_seq, told.to_ms, told.head_seq, told.counts, lines, told.next_at)


@post("/api/v1/rewind", status_code=200)
async def make_rewind(request: Asked, data: RewindAsked) -> RewindDone:
    """Lead a folder, or the whole account, back to what it was: the owner of the account, and for a folder whoever may
    change and delete what is in it. What was made since goes into the trash. Asked again, it goes on where it was cut.
    """
    services, principal = services_of(request), await principal_of(request)
    unit, seq, undoes = await _target(services, principal, data)
    with services.room.taken(principal.account_id, PLAN_BYTES):
        told = await rewind(
            services.db,
            services.clock,
            services.workers,
            principal,
            principal.root_ns,
            unit,
            seq,
            seen_seq=data.seen_seq,
            undoes=undoes,
            from_address=address_of(request),
        )
    if told.head_seq:
        await services.bus.publish(principal.root_ns, told.head_seq)
    record = told.record
    return RewindDone(
        record.rewind_id.hex(), record.to_seq, record.before_seq, told.head_seq, told.counts, told.is_finished
    )


@get("/api/v1/rewinds")
async def list_rewinds(request: Asked, after: str = "", limit: Limit = LIST_PAGE_MAX) -> Rewinds:
    """List the rewinds that were made, the newest first."""
    services, principal = services_of(request), await principal_of(request)
    below = from_hex(after, what="after") if after else b""
    found = await rewinds_made(services.db, principal, principal.root_ns, below, limit)
    shown = [await _rewind_of(services, principal, told) for told in found]
    return Rewinds(shown, found[-1].record.rewind_id.hex() if len(found) == limit else "")


@get("/api/v1/activity")
async def list_activity(
    request: Asked,
    path: str = "",
    id: str = "",  # the query's name
    before: Seq = 0,
    first_seq: Seq = 0,
    last_seq: Seq = 0,
    grouped: bool = True,
    limit: Lines = 100,
) -> Activity:
    """List what was done in the account, or in a folder of it, the newest first: who, with which device, when, and from
    where to where."""
    services, principal = services_of(request), await principal_of(request)
    unit = await _unit(services, principal, path=path, node=id)
    ends = [end for end in (before, last_seq + 1 if last_seq else 0) if end]
    wanted = Wanted(
        folder=None if unit == ROOT_NODE else unit,
        below=min(ends, default=2**62),
        above=max(0, first_seq - 1),
        limit=limit,
        is_grouped=grouped,
    )
    found, more = await done_there(services.db, principal, principal.root_ns, wanted)
    return Activity([_row_of(done) for done in found], more)


@get("/api/v1/activity/days")
async def count_days(
    request: Asked,
    days: Annotated[int, Parameter(ge=1, le=DAYS_MAX)] = 90,
    until_ms: Seq = 0,
    offset_min: Annotated[int, Parameter(ge=-1_440, le=1_440)] = 0,
) -> ActivityDays:
    """Count the changes of each of the last days. until_ms: in the last of them, now when it is left out; offset_min:
    by how many minutes the caller's clock is ahead of UTC."""
    services, principal = services_of(request), await principal_of(request)
    ns, end_ms = principal.root_ns, until_ms or services.clock.now_ms()
    found = await days_of(services.db, principal, ns, until_ms=end_ms, count=days, offset_min=offset_min)
    known = await reach(services.db, principal, ns)
    return ActivityDays([ActivityDay(*day) for day in found], *known)


async def _target(
    services: Services, principal: Principal, asked: RewindAsked | PreviewAsked
) -> tuple[NodeId, int, bytes | None]:
    """Return folder, seq and the rewind that is undone. Raises: MessageInvalid, NotFound, HistoryEnded."""
    db, ns = services.db, principal.root_ns
    named = [asked.to_ms is not None, asked.to_seq is not None, bool(asked.undo)]
    if sum(named) != 1 or (asked.undo and (asked.path or asked.id)):
        raise MessageInvalid("Say one of to_ms, to_seq and undo; an undo knows its folder.", reason="to")
    if asked.undo:
        record = await rewind_of(db, principal, ns, from_hex(asked.undo, what="undo"))
        return record.unit, record.before_seq, record.rewind_id
    unit = await _unit(services, principal, path=asked.path, node=asked.id)
    if asked.to_seq is not None:
        return unit, max(-1, min(asked.to_seq, 2**62)), None
    assert asked.to_ms is not None
    return unit, await place_at(db, principal, ns, max(0, min(asked.to_ms, 2**62))), None


async def _unit(services: Services, principal: Principal, *, path: str, node: str) -> NodeId:
    """Return the folder that is named by path or id; the root when neither is. Raises: MessageInvalid, NotFound."""
    if path and node:
        raise MessageInvalid("Name the folder by its path or by its id.", reason="path or id")
    if node:
        return NodeId(from_hex(node, what="id"))
    return (await resolve(services.db, principal, principal.root_ns, path or "/")).node_id


async def _rewind_of(services: Services, principal: Principal, told: Told) -> Rewind:
    record = told.record
    try:
        path = await path_of(services.db, principal, principal.root_ns, record.unit)
    except NotFound:
        path = ""
    return Rewind(
        id=record.rewind_id.hex(),
        path=path,
        to_seq=record.to_seq,
        to_ms=told.to_ms,
        before_seq=record.before_seq,
        account=told.actor,
        device=told.device,
        created_ms=record.created_ms,
        finished_ms=record.finished_ms,
        undoes=(record.undoes or b"").hex(),
        is_undoable=told.is_undoable,
    )


def _line_of(line: Line) -> RewindLine:
    return RewindLine(
        line.does,
        line.node_id.hex(),
        KINDS[line.kind],
        line.path_now,
        line.path_then,
        line.size,
        line.instead_of,
    )


def _row_of(done: Done) -> ActivityRow:
    return ActivityRow(
        done.first_seq,
        done.last_seq,
        done.at_ms,
        done.entries,
        done.does,
        done.actor,
        done.device,
        done.rewind.hex(),
        done.node_id.hex(),
        KINDS[done.kind],
        done.path,
        done.path_before,
        done.size,
    )


ROUTES = (preview_rewind, make_rewind, list_rewinds, list_activity, count_days)
