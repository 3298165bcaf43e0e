"""Looks again at what went to the trash (a program may still write to it), and empties the trash after 30 days.

Invariant: what was swapped out or trashed is looked at 2 s, 30 s and 10 min later, over restarts too; what changed by
then comes back as a conflicted copy. Source: docs/design/040, rule 2.
"""

from __future__ import annotations

from satchel.core.entries import Kind
from satchel.device.engine.state import State
from satchel.device.index.late import LateRow, clamp_late, drop_late, due_late, next_late_ms, put_late, put_off
from satchel.device.ports import DiskPath, Stat
from satchel.device.tasks import Failed, LateItem, LateLooked, LateTask, Purged, PurgeTask

LOOKS_AFTER_S = (2.0, 30.0, 600.0)
LOOK_RETRY_S = 60.0
LATE_ITEMS_MAX = 200
PURGE_EVERY_S = 24 * 3_600.0
TRASH_KEPT_NS = 30 * 24 * 3_600 * 10**9
PURGE_STEP_NS_MAX = 2 * 24 * 3_600 * 10**9
"""So far the purge's idea of today moves at once: a clock that jumps years ahead empties no trash."""


def remember_trashed(state: State, trashed: str, path: DiskPath, members: dict[bytes, Stat], content: bytes) -> None:
    """Something is in the trash now; members[b""] is what it was. A symlink cannot be written to and is left out."""
    if not trashed or members[b""].kind not in (Kind.FILE, Kind.FOLDER):
        return
    due_ms = _now_ms(state) + int(LOOKS_AFTER_S[0] * 1000)
    put_late(state.index, LateRow(trashed, path, members, content), due_ms)
    state.next_late_s = min(state.next_late_s, state.now.monotonic_s + LOOKS_AFTER_S[0])


def next_looks(state: State) -> None:
    """Hand out the looks that are due; one task at a time."""
    if state.is_looking_late or state.now.monotonic_s < state.next_late_s:
        return
    now_ms = _now_ms(state)
    rows = due_late(state.index, now_ms, LATE_ITEMS_MAX)
    if not rows:
        _schedule(state)
        return
    state.is_looking_late = True
    items = tuple(
        LateItem(row.trashed, row.path, row.members, row.content if _is_last(row.looks) else b"", row.looks)
        for row in rows
    )
    state.tasks.append(LateTask(items))


def fold_looked(state: State, fact: LateLooked) -> None:
    """What changed is back in the linked folder and is looked at; the rest waits for its next look, if any."""
    state.is_looking_late = False
    now_ms = _now_ms(state)
    for item, result in zip(fact.task.items, fact.results, strict=True):
        if isinstance(result, Failed):
            put_off(state.index, item.trashed, item.looks, now_ms + int(LOOK_RETRY_S * 1000))
            continue
        state.look_again(*result.paths)
        is_moved_out = bool(result.paths) and item.members[b""].kind is Kind.FILE
        if is_moved_out or result.is_gone or _is_last(item.looks):
            drop_late(state.index, item.trashed)
        else:
            wait_s = LOOKS_AFTER_S[item.looks + 1] - LOOKS_AFTER_S[item.looks]
            put_off(state.index, item.trashed, item.looks + 1, now_ms + int(wait_s * 1000))
    _schedule(state)


def next_purge(state: State) -> None:
    """Once a day, and after each start: delete for good what went to the trash more than 30 days ago."""
    if not state.scanned_once or state.now.monotonic_s < state.next_purge_s:
        return
    state.next_purge_s = state.now.monotonic_s + PURGE_EVERY_S
    known = state.index.get("purge_ns")
    today_ns = state.now.wall_ns
    if isinstance(known, int):
        today_ns = min(today_ns, known + PURGE_STEP_NS_MAX)
    state.index.put("purge_ns", today_ns)
    state.tasks.append(PurgeTask(today_ns - TRASH_KEPT_NS))


def fold_purged(state: State, fact: Purged) -> None:
    """A purge that failed is tried again tomorrow; nothing depends on it."""


def _is_last(looks: int) -> bool:
    return looks + 1 >= len(LOOKS_AFTER_S)


def _schedule(state: State) -> None:
    due_ms = next_late_ms(state.index)
    wait_s = float("inf") if due_ms is None else max(0.0, (due_ms - _now_ms(state)) / 1000)
    state.next_late_s = state.now.monotonic_s + wait_s


def _now_ms(state: State) -> int:
    """Wall time as it was at the first step plus what passed since: a clock that jumps moves no look."""
    if state.late_base_ms is None:
        state.late_base_ms = state.now.wall_ns // 1_000_000 - int(state.now.monotonic_s * 1000)
        clamp_late(state.index, state.now.wall_ns // 1_000_000 + int(LOOKS_AFTER_S[-1] * 1000))
    return state.late_base_ms + int(state.now.monotonic_s * 1000)
