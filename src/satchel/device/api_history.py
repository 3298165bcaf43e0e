"""Rewinds and activity over REST, typed, for the command line. Invariant: as of `api`, which asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypedDict

import msgspec

from satchel.core.limits import LIST_PAGE_MAX
from satchel.device.api import Api


class RewindTarget(TypedDict, total=False):
    """What to rewind, and to when: path and to_ms, or undo."""

    path: str
    to_ms: int
    undo: str


class RewindLine(msgspec.Struct, frozen=True):
    """A file or folder that a rewind changes. does: back, trash, content, moved, attributes, gone."""

    does: str
    id: str
    kind: str
    path_now: str
    path_then: str
    size: int
    instead_of: int


class RewindPreview(msgspec.Struct, frozen=True):
    """What a rewind would do, and the first lines of it. counts: by what they do; thinned: get an older version."""

    to_seq: int
    to_ms: int
    head_seq: int
    counts: dict[str, int]
    lines: list[RewindLine]
    next_at: int | None


class RewindDone(msgspec.Struct, frozen=True):
    """A rewind. is_finished: when false, the same call goes on with it; id: undoes it."""

    id: str
    to_seq: int
    before_seq: int
    head_seq: int
    counts: dict[str, int]
    is_finished: bool
    namespace: str = ""


class Rewind(msgspec.Struct, frozen=True):
    """A rewind that was made. finished_ms: None when it was cut; undoes: the one that it took back."""

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
    """A page of rewinds, the newest first. after: as for `Items`."""

    rewinds: list[Rewind]
    after: str = ""


class ActivityRow(msgspec.Struct, frozen=True):
    """What one device did in one minute: `entries` changes of one kind, told by the newest."""

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
    """A page of what was done, the newest first. before: give it to get the next page; 0 at the end."""

    rows: list[ActivityRow]
    before: int = 0


async def preview_rewind(api: Api, target: RewindTarget, *, limit: int = 200) -> RewindPreview:
    """Return what a rewind would do now, and its first lines. Raises: NotFound, HistoryEnded, LimitExceeded."""
    return await api.ask("POST", "/api/v1/rewind/preview", RewindPreview, body={**target, "limit": limit})


async def rewind(api: Api, target: RewindTarget, *, seen_seq: int | None = None) -> RewindDone:
    """Make a rewind, or go on with it. seen_seq: only if nothing changed since the preview that stood there.

    Raises: NotFound, HistoryEnded, LimitExceeded, PreconditionFailed, Unavailable.
    """
    return await api.ask("POST", "/api/v1/rewind", RewindDone, body={**target, "seen_seq": seen_seq})


async def list_rewinds(api: Api, path: str = "") -> AsyncIterator[Rewind]:
    """Yield the rewinds that were made, the newest first; path: of the shared folder that it leads into.

    Raises: NotFound.
    """
    after, has_more = "", True
    while has_more:
        page = await api.ask("GET", "/api/v1/rewinds", Rewinds, {"after": after, "path": path})
        for one in page.rewinds:
            yield one
        after, has_more = page.after, bool(page.after)


async def activity(api: Api, path: str = "/", *, before: int = 0, limit: int = 100) -> Activity:
    """Return a page of what was done in a folder, by anyone. Raises: NotFound."""
    query = {"path": path, "before": str(before), "limit": str(limit)}
    return await api.ask("GET", "/api/v1/activity", Activity, query)


class TrashEmptied(msgspec.Struct, frozen=True):
    """removed: how many of the trash's list are gone for good. has_more: ask again, and more of it goes."""

    removed: int
    has_more: bool


async def empty_trash(api: Api, ids: Sequence[str] = (), *, before_ms: int = 0, namespace: str = "") -> int:
    """Remove for good what the ids name, or with none all that was deleted before `before_ms` (Unix time; 0: by now).

    Nobody can take that back. namespace: whose trash; without it one's own. Result: how many of the trash's list went.
    Raises: NotFound, also for whoever does not own it.
    """
    removed = 0
    parts = [ids[at : at + LIST_PAGE_MAX] for at in range(0, len(ids), LIST_PAGE_MAX)]
    bodies: list[dict[str, object]] = [{"ids": list(part)} for part in parts] or [{"all": True, "before_ms": before_ms}]
    for body in bodies:
        has_more = True
        while has_more:
            done = await api.ask("POST", "/api/v1/trash/empty", TrashEmptied, body={**body, "namespace": namespace})
            removed, has_more = removed + done.removed, done.has_more
    return removed
