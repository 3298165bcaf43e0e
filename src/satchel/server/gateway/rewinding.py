"""REST: rewinds of a folder or of the whole account, and what was done. Invariant: a rewind is shown before it is done,
and nothing that it does is for good.

A shared folder is rewound by its owner alone, since it undoes what others did; all its members see who did what.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
from litestar import get, post
from litestar.params import Parameter

from satchel.core.access import Right
from satchel.core.errors import MessageInvalid, NotFound
from satchel.core.ids import ROOT_NODE, NamespaceId, NodeId
from satchel.core.limits import LIST_PAGE_MAX, MIB
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.files import Limit
from satchel.server.gateway.rest import KINDS, Asked, address_of, from_hex, namespace_of, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.activity import GROUPS_MAX, NAMES, Done, Wanted
from satchel.server.metadata.activity import activity as done_there
from satchel.server.metadata.moments import DAYS_MAX, reach
from satchel.server.metadata.moments import days as days_of
from satchel.server.metadata.rewind import Line, place_at, preview, rewind
from satchel.server.metadata.rewind_records import Told, rewind_of
from satchel.server.metadata.rewind_records import rewinds as rewinds_made
from satchel.server.metadata.tree import locate, path_of
from satchel.server.sharing.listing import mount_path

LINES_MAX = 1_000
PLAN_BYTES = 64 * MIB
"""Taken while a plan is made and held: so one account makes two at once, and the server eight."""
Lines = Annotated[int, Parameter(ge=1, le=GROUPS_MAX)]
Seq = Annotated[int, Parameter(ge=0, le=2**62)]


class RewindAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which folder (path, or id; the root is the whole account), and to where: one of a time (Unix ms), a seq, and the
    id of a rewind to undo. namespace: of the id; a shared one without an id is the whole of it. seen_seq: only if the
    journal still ends there, as a preview's `head_seq` said."""

    path: str = ""
    id: str = ""
    to_ms: int | None = None
    to_seq: int | None = None
    undo: str = ""
    seen_seq: int | None = None
    namespace: str = ""


class PreviewAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As for a rewind; at: where the page begins, as `next_at` of the one before it said."""

    path: str = ""
    id: str = ""
    to_ms: int | None = None
    to_seq: int | None = None
    undo: str = ""
    at: int = 0
    limit: int = 200
    namespace: str = ""


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
    namespace: str = ""


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
    namespace: str = ""


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
    place, seq, undoes = await _target(services, principal, data)
    with services.room.taken(principal.account_id, PLAN_BYTES):
        told = await preview(
            services.db,
            services.workers,
            principal,
            place.ns,
            place.unit,
            seq,
            at=data.at,
            limit=data.limit,
            undoes=undoes,
        )
    above = await _above(services, principal, place.ns)
    lines = [_line_of(line, above) for line in told.lines]
    return RewindPreview(told.to_seq, told.to_ms, told.head_seq, told.counts, lines, told.next_at)


@post("/api/v1/rewind", status_code=200)
async def make_rewind(request: Asked, data: RewindAsked) -> RewindDone:
    """Lead a folder, or the whole account, back to what it was; a shared folder, or one in it: its owner alone. What
    was made since goes into the trash. Asked again, it goes on where it was cut.
    """
    services, principal = services_of(request), await principal_of(request)
    place, seq, undoes = await _target(services, principal, data)
    with services.room.taken(principal.account_id, PLAN_BYTES):
        told = await rewind(
            services.db,
            services.clock,
            services.workers,
            principal,
            place.ns,
            place.unit,
            seq,
            seen_seq=data.seen_seq,
            undoes=undoes,
            from_address=address_of(request),
        )
    if told.head_seq:
        await services.bus.publish(place.ns, told.head_seq)
    record = told.record
    return RewindDone(
        record.rewind_id.hex(),
        record.to_seq,
        record.before_seq,
        told.head_seq,
        told.counts,
        told.is_finished,
        place.ns.hex(),
    )


@get("/api/v1/rewinds")
async def list_rewinds(
    request: Asked, after: str = "", limit: Limit = LIST_PAGE_MAX, path: str = "", namespace: str = ""
) -> Rewinds:
    """List the rewinds that were made, the newest first: of the account's own folders, or of the shared folder that
    `path` leads into or `namespace` names."""
    services, principal = services_of(request), await principal_of(request)
    below = from_hex(after, what="after") if after else b""
    ns = (await _place(services, principal, path=path, node="", namespace=namespace)).ns
    found = await rewinds_made(services.db, principal, ns, below, limit)
    above = await _above(services, principal, ns)
    shown = [await _rewind_of(services, principal, ns, told, above) for told in found]
    return Rewinds(shown, found[-1].record.rewind_id.hex() if len(found) == limit else "")


@get("/api/v1/activity")
async def list_activity(
    request: Asked,
    path: str = "",
    id: str = "",  # the query's name
    before: Seq = 0,
    first_seq: Seq = 0,
    last_seq: Seq = 0,
    person: str = "",
    does: str = "",
    grouped: bool = True,
    limit: Lines = 100,
    namespace: str = "",
) -> Activity:
    """List what was done in the account, or in a folder of it, the newest first: who, with which device, when, and from
    where to where. What is done in a shared folder is told there, to all its members. `person` and `does` tell only
    what somebody did, and only acts of a kind; `mount` stands for `unmount` too."""
    services, principal = services_of(request), await principal_of(request)
    ns, unit = await _place(services, principal, path=path, node=id, namespace=namespace)
    if does and does not in NAMES.values():
        raise MessageInvalid("There are no acts of this kind.", reason="does")
    ends = [end for end in (before, last_seq + 1 if last_seq else 0) if end]
    wanted = Wanted(
        folder=None if unit == ROOT_NODE else unit,
        below=min(ends, default=2**62),
        above=max(0, first_seq - 1),
        person=person,
        does=frozenset({does, "unmount"} if does == "mount" else {does} if does else ()),
        limit=limit,
        is_grouped=grouped,
    )
    found, more = await done_there(services.db, principal, ns, wanted)
    above = await _above(services, principal, ns)
    return Activity([_row_of(done, above) for done in found], more)


@get("/api/v1/activity/days")
async def count_days(
    request: Asked,
    days: Annotated[int, Parameter(ge=1, le=DAYS_MAX)] = 90,
    until_ms: Seq = 0,
    offset_min: Annotated[int, Parameter(ge=-1_440, le=1_440)] = 0,
    path: str = "",
    namespace: str = "",
) -> ActivityDays:
    """Count the changes of each of the last days: in the account's own folders, or in the shared folder that `path`
    leads into or `namespace` names. until_ms: in the last of them, now when it is left out; offset_min: by how many
    minutes the caller's clock is ahead of UTC."""
    services, principal = services_of(request), await principal_of(request)
    ns = (await _place(services, principal, path=path, node="", namespace=namespace)).ns
    end_ms = until_ms or services.clock.now_ms()
    found = await days_of(services.db, principal, ns, until_ms=end_ms, count=days, offset_min=offset_min)
    known = await reach(services.db, principal, ns)
    return ActivityDays([ActivityDay(*day) for day in found], *known)


class _Place(NamedTuple):
    """A folder in its namespace."""

    ns: NamespaceId
    unit: NodeId


async def _target(
    services: Services, principal: Principal, asked: RewindAsked | PreviewAsked
) -> tuple[_Place, int, bytes | None]:
    """Return folder, seq and the rewind that is undone. Raises: MessageInvalid, NotFound, HistoryEnded."""
    db = services.db
    named = [asked.to_ms is not None, asked.to_seq is not None, bool(asked.undo)]
    if sum(named) != 1 or (asked.undo and (asked.path or asked.id or asked.namespace)):
        raise MessageInvalid("Say one of to_ms, to_seq and undo; an undo knows its folder.", reason="to")
    if asked.undo:
        ns, record = await rewind_of(db, principal, from_hex(asked.undo, what="undo"))
        await _may(services, principal, ns)
        return _Place(ns, record.unit), record.before_seq, record.rewind_id
    place = await _place(services, principal, path=asked.path, node=asked.id, namespace=asked.namespace)
    await _may(services, principal, place.ns)
    if asked.to_seq is not None:
        return place, max(-1, min(asked.to_seq, 2**62)), None
    assert asked.to_ms is not None
    return place, await place_at(db, principal, place.ns, max(0, min(asked.to_ms, 2**62))), None


async def _may(services: Services, principal: Principal, ns: NamespaceId) -> None:
    """Return when the principal may rewind in a namespace. Raises: NotFound."""
    if ns != principal.root_ns:
        await authorize(services.db, principal, ns, Right.REWIND)


async def _place(services: Services, principal: Principal, *, path: str, node: str, namespace: str) -> _Place:
    """Return the folder that is named by path, or by id in a namespace; the root when none is.

    Raises: MessageInvalid, NotFound.
    """
    if path and (node or namespace):
        raise MessageInvalid("Name the folder by its path or by its id.", reason="path or id")
    if path:
        return _Place(*(await locate(services.db, principal, path)).inside)
    unit = NodeId(from_hex(node, what="id")) if node else ROOT_NODE
    return _Place(namespace_of(principal, namespace), unit)


async def _above(services: Services, principal: Principal, ns: NamespaceId) -> str:
    """Return where a namespace stands in the principal's tree; empty for the root."""
    return "" if ns == principal.root_ns else await mount_path(services.db, principal, ns)


def _beneath(above: str, path: str) -> str:
    """Return a path of a namespace as the principal sees it; an empty one stays."""
    return above + path.removesuffix("/") if above and path else path


async def _rewind_of(services: Services, principal: Principal, ns: NamespaceId, told: Told, above: str) -> Rewind:
    record = told.record
    try:
        path = _beneath(above, await path_of(services.db, principal, ns, record.unit))
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
        namespace=ns.hex(),
    )


def _line_of(line: Line, above: str) -> RewindLine:
    return RewindLine(
        line.does,
        line.node_id.hex(),
        KINDS[line.kind],
        _beneath(above, line.path_now),
        _beneath(above, line.path_then),
        line.size,
        line.instead_of,
    )


def _row_of(done: Done, above: str) -> ActivityRow:
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
        _beneath(above, done.path),
        _beneath(above, done.path_before),
        done.size,
    )


ROUTES = (preview_rewind, make_rewind, list_rewinds, list_activity, count_days)
