"""Says how a link stands, in words for people. Reads the engine and the index; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from satchel.core.ids import Nid
from satchel.core.operations import Place
from satchel.core.trees import Item
from satchel.core.xattrs import TOO_LARGE
from satchel.device.engine import Engine, excluding, mounts
from satchel.device.engine.bringing_back import refused_back
from satchel.device.engine.results import COMMITS
from satchel.device.engine.state import ALLOWED_DELETION, HELD_DELETION, Job, Phase
from satchel.device.engine.state import Stage as JobStage
from satchel.device.index.copies import COPIES_COUNTED_MAX, conflicted_copies
from satchel.device.index.damage import notice
from satchel.device.index.left_out import Stage
from satchel.device.index.xattr_notes import noted
from satchel.device.links import Link
from satchel.device.status import HELD_SHOWN_MAX, TRANSFERS_SHOWN_MAX, Excluded, HeldItem, LinkStatus, State, Transfer

_STAGES: dict[Stage, Literal["leaving", "out", "returning"]] = {
    Stage.LEAVING: "leaving",
    Stage.OUT: "out",
    Stage.RETURNING: "returning",
}
CARRIED_SHOWN_MS = 7 * 24 * 3_600_000
SOON_S = 10.0
"""A row that is tried again so soon counts as being worked on."""


def held_items(engine: Engine) -> list[HeldItem]:
    """Return everything that waits, with its reason and next try; at most HELD_SHOWN_MAX."""
    state = engine.state
    index = state.index
    items = [
        HeldItem(
            index.reader.remote_path_of(nid).lstrip("/"),
            code,
            reason,
            next_try or 0,
            needs_consent=code == HELD_DELETION,
        )
        for nid, code, reason, next_try in index.held(HELD_SHOWN_MAX)
        if code != ALLOWED_DELETION
    ]
    items += [
        HeldItem(path.decode(errors="backslashreplace"), code, reason, next_try or 0)
        for path, code, reason, next_try in index.unread(HELD_SHOWN_MAX)
    ]
    next_try_ms = state.now.wall_ns // 1_000_000 + max(0, round(1_000 * (state.next_back_s - state.now.monotonic_s)))
    items += [
        HeldItem(one.path.decode(errors="backslashreplace"), fault.code, f"It stays in the trash: {fault}", next_try_ms)
        for one, fault in refused_back(state)
    ]
    return items[:HELD_SHOWN_MAX]


def held_count(engine: Engine, shown: list[HeldItem]) -> int:
    """Return how many wait in all, of which `shown` are told."""
    if len(shown) < HELD_SHOWN_MAX:
        return len(shown)
    return engine.state.index.count_waiting(but=ALLOWED_DELETION) + sum(1 for _ in refused_back(engine.state))


def describe(engine: Engine, link: Link, transfers: dict[Nid, int], degraded: str) -> LinkStatus:
    """Return the link's status."""
    state = engine.state
    held = held_items(engine)
    count = held_count(engine, held)
    jobs = [job for job in _jobs(engine) if job.stage is not JobStage.DONE]
    up = [job for job in jobs if isinstance(job.op, COMMITS)]
    down = [job for job in jobs if not isinstance(job.op, COMMITS)]
    moving = [job for job in jobs if job.size and job.stage is JobStage.RUNNING]
    shown = [_transfer(engine, job, transfers) for job in moving[:TRANSFERS_SHOWN_MAX]]
    word = _state(engine, held)
    return LinkStatus(
        link.local,
        link.remote,
        word,
        link.link_id.hex(),
        to_upload=len(up),
        to_download=len(down),
        bytes_up_todo=sum(job.size for job in up),
        bytes_up_done=state.progress.bytes_up_done,
        bytes_down_todo=sum(job.size for job in down),
        bytes_down_done=state.progress.bytes_down_done,
        held=count,
        transfers=tuple(shown),
        held_items=tuple(held),
        message=_message(engine, word, held, count),
        degraded=degraded,
        notice=notice(state.index, state.now.wall_ns // 1_000_000),
        last_sync_ms=state.progress.last_sync_ns // 1_000_000,
        excluded=len(excluding.paths_of(state)),
        notes=(*excluding.notes(state), *_xattr_notes(engine), *mounts.refusals(state), *_view_only_notes(engine)),
        conflicts=len(conflicted_copies(state.index.connection, COPIES_COUNTED_MAX)),
    )


def _view_only_notes(engine: Engine) -> Iterator[str]:
    """Yield a line where what was changed here could not stay."""
    state = engine.state
    at_ms = state.index.get("carried_ms")
    if state.is_view_only and isinstance(at_ms, int) and state.now.wall_ns // 1_000_000 - at_ms < CARRIED_SHOWN_MS:
        yield "You may only look at this folder: your own changes in it are kept as copies in 'Unsynced from ...'."


def _xattr_notes(engine: Engine) -> Iterator[str]:
    """Yield a line for each file or folder whose extended attributes stay out of the sync."""
    index = engine.state.index
    for nid, seen in noted(index.connection):
        path = index.reader.remote_path_of(nid).lstrip("/")
        if seen == TOO_LARGE:
            yield f"{path}: more extended attributes than are synced; all else of it is synced."
        else:
            yield f"{path}: this disk does not hold its extended attributes; the server does, and all else is synced."


def excluded_items(engine: Engine) -> list[Excluded]:
    """Return what a person leaves out on this device, by path."""
    state = engine.state
    found: list[Excluded] = []
    for nid, path in excluding.paths_of(state).items():
        row, stage = state.index.row(nid), state.left[nid]
        sides = (row.remote, row.local, row.synced) if row is not None else ()
        kind = next((side.kind.name.lower() for side in sides if isinstance(side, Item)), "")
        word = _STAGES[stage] if kind or stage is not Stage.OUT else "deleted"
        found.append(Excluded(path, word, kind))
    return sorted(found, key=lambda item: item.path)


def is_at_rest(engine: Engine) -> bool:
    """Tell whether nothing more happens by itself soon: what a wait for sync waits for. Cheaper than `describe`."""
    state = engine.state
    if state.busy and not (state.halted or state.is_paused):
        return False
    return _state(engine, held_items(engine)) in ("in_sync", "halted", "paused", "attention")


def _jobs(engine: Engine) -> list[Job]:
    state = engine.state
    lanes = (state.ready_commits, state.ready_disk, state.ready_fetch, state.ready_uploads, state.uploading.values())
    found = [job for lane in lanes for job in lane]
    found += [job for jobs in state.running.values() for job in jobs]
    return found


def _transfer(engine: Engine, job: Job, transfers: dict[Nid, int]) -> Transfer:
    path = engine.state.index.reader.remote_path_of(job.nids[0]).lstrip("/")
    done = min(job.size, transfers.get(job.nids[0], 0))
    return Transfer(path, "down" if isinstance(job.op, Place) else "up", done, job.size)


def _state(engine: Engine, held: list[HeldItem]) -> State:
    state = engine.state
    if state.halted:
        return "halted"
    if state.is_paused:
        return "paused"
    if state.phase is not Phase.LIVE:
        return "offline" if state.phase is Phase.OFFLINE or state.reach_tries else "syncing"
    if engine.is_settled:
        return "attention" if held else "in_sync"
    soon_s = state.now.monotonic_s + SOON_S
    is_waiting = engine.is_idle and not any(at_s <= soon_s for at_s in state.retry_at.values())
    if is_waiting and not any(at_s <= soon_s for at_s, _ in state.later_hints):
        return "attention" if held or state.waiting else "in_sync"
    return "syncing"


def _message(engine: Engine, word: State, held: list[HeldItem], count: int) -> str:
    match word:
        case "halted":
            return engine.state.halted
        case "offline":
            return "The server cannot be reached; edits wait here and are sent when it is back."
        case "attention" if any(item.needs_consent for item in held):
            return "Many deletions wait for a word: see 'satchel held list', then 'held allow' or 'held undo'."
        case "attention":
            return f"{count} items cannot be synced now; 'satchel held list' says why."
        case _:
            return ""
