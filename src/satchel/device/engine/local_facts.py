"""Folds what the scanner saw onto the local tree.

Invariant: a fact about a row that is in flight, or that was compared with an older version of the row, changes nothing
and is looked at again. Unknown never becomes absent by itself. Source: docs/design/040 (rules 1, 3, 6).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import assert_never, cast

from satchel.core.entries import Kind
from satchel.core.errors import RootMissing
from satchel.core.ids import Nid
from satchel.core.paths import name_key
from satchel.core.trees import Item
from satchel.device.engine.excluding import absence_is_leaving, is_another
from satchel.device.engine.missing import is_untold, note_gone, note_told
from satchel.device.engine.new_names import fold_new_names
from satchel.device.engine.power_cuts import end_doubts, is_doubtful, keep_doubts, trust_disk, weigh_change
from satchel.device.engine.seen import (
    AGAIN_S,
    is_below,
    is_current,
    is_shaken,
    look_soon,
    parent_of,
    see_again,
    takes_name,
    wait_for_twins,
)
from satchel.device.engine.shaken import end_shaken
from satchel.device.engine.state import (
    DEGRADED_SCAN_EVERY_S,
    FULL_SCAN_EVERY_S,
    RETRY_S_MAX,
    Phase,
    State,
)
from satchel.device.engine.trails import doubt_below, followed, leave_trail
from satchel.device.index.bulk import standing_here
from satchel.device.ports import EVERYTHING, ROOT_PATH, DiskPath, Hint, Stat, joined
from satchel.device.tasks import (
    Hinted,
    LocalFact,
    Scanned,
    ScanTask,
    SeenChanged,
    SeenGone,
    SeenMoved,
    SeenNew,
    SeenUnknown,
)

CUT_S_MAX = 5.0
"""So long a look that was cut short again and again waits for the next try; the first one soon has its own."""


def fold_hinted(state: State, fact: Hinted) -> None:
    """Queue looks. A scan that has not begun to look when everything is asked for will show it."""
    note_told(state, (hint for hint in fact.hints if hint != EVERYTHING))
    for hint in fact.hints:
        if hint == EVERYTHING and state.is_scanning and state.scan_begun_s is None:
            state.asked_s = state.now.monotonic_s
        else:
            state.hints.append(hint)


def _note_begin(state: State, fact: Scanned) -> None:
    """Tell whether the scan under way looks at everything that was asked for before; else that is looked at next."""
    if state.scan_begun_s is not None:
        return
    state.scan_begun_s = fact.begun_s
    if state.asked_s is not None and not (fact.is_full and fact.begun_s > state.asked_s):
        state.hints.append(EVERYTHING)
    state.asked_s = None


def next_scan(state: State) -> None:
    """Hand out the next look at the disk, when there is something to look at and none is under way."""
    now_s = state.now.monotonic_s
    if state.later_hints:
        due = [hint for at_s, hint in state.later_hints if at_s <= now_s]
        state.later_hints = [(at_s, hint) for at_s, hint in state.later_hints if at_s > now_s]
        state.hints += due
        state.seen_again.difference_update(path for hint in due for path in _named(hint))
    if state.scanned_once and not state.is_scanning and now_s >= state.next_full_scan_s:
        state.hints.append(EVERYTHING)
    if state.is_scanning or state.has_leftovers or not state.hints:
        return
    if EVERYTHING in state.hints or len(state.hints) > state.bounds.scan_hints:
        hints: tuple[Hint, ...] = (EVERYTHING,)
        wait_s = DEGRADED_SCAN_EVERY_S if state.is_degraded else FULL_SCAN_EVERY_S
        state.next_full_scan_s = now_s + wait_s
    else:
        hints = _merged(followed(state, state.hints))
    state.hints = []
    state.is_scanning = True
    state.scan_begun_s = None
    state.scan_orders.clear()
    state.adopted.clear()
    state.refused.clear()
    for hint in hints:
        for name in hint.names or ():
            state.index.clear_unread(joined(hint.folder, name), is_deep=True)
        if hint.names is None:
            state.index.clear_unread(hint.folder, is_deep=True)
    state.tasks.append(ScanTask(hints))


def joins_first(state: State) -> bool:
    """True at first contact while the remote tree is coming: each file then finds its equal as it is folded.

    Folded before, every one would be a new node of this disk until the planner finds the two to be one. With the
    service out of reach the folding goes ahead, so that nothing that happens meanwhile is missed.
    """
    is_coming = state.phase is not Phase.LIVE and state.reach_tries == 0
    return state.position is None and not state.scanned_once and is_coming


def _named(hint: Hint) -> Iterable[DiskPath]:
    return (hint.folder,) if hint.names is None else (joined(hint.folder, name) for name in hint.names)


def _merged(hints: list[Hint]) -> tuple[Hint, ...]:
    """Join hints about one folder, in the order in which they came."""
    names: dict[tuple[DiskPath, bool], frozenset[bytes] | None] = {}
    for hint in hints:
        key = (hint.folder, hint.is_deep)
        if key in names:
            known = names[key]
            names[key] = None if known is None or hint.names is None else known | hint.names
        else:
            names[key] = hint.names
    return tuple(Hint(folder, which, is_deep) for (folder, is_deep), which in names.items())


def fold_scanned(state: State, fact: Scanned) -> None:
    """Fold a part of a scan, or hold it while the remote tree is coming."""
    _note_begin(state, fact)
    if state.held_parts or joins_first(state):
        state.held_parts.append(fact)
    else:
        _fold_part(state, fact)


def fold_held(state: State, parts_max: int) -> None:
    """Fold parts that were held, in order, once the remote tree is there or nobody knows when it comes."""
    if joins_first(state):
        return
    for _ in range(min(parts_max, len(state.held_parts))):
        _fold_part(state, state.held_parts.popleft())


def _fold_part(state: State, fact: Scanned) -> None:
    touched: list[Nid] = []
    gone: list[Nid] = []
    for is_new, facts in itertools.groupby(fact.facts, key=lambda each: isinstance(each, SeenNew)):
        if is_new:
            fold_new_names(state, cast("Iterator[SeenNew]", facts), touched)
        else:
            for each in facts:
                if isinstance(each, SeenGone):
                    _fold_gone(state, each, touched, gone, is_full=fact.is_full)
                else:
                    _fold(state, each, touched)
    state.touch(touched)
    state.touch(gone, is_deletion=True)
    state.progress.files_seen += fact.files_seen
    if not fact.is_last:
        return
    state.is_scanning = False
    state.leaving_names.clear()
    if fact.is_full and fact.fault is None:
        state.doubted_below.clear()
    end_shaken(state)
    if isinstance(fact.fault, RootMissing):
        state.halted = f"{fact.fault.message} {fact.fault.hint}"
        return
    if fact.fault is not None:
        state.scan_cuts += 1
        wait_s = min(CUT_S_MAX, AGAIN_S * 2 ** min(state.scan_cuts - 1, 10))
        state.later_hints += [(state.now.monotonic_s + wait_s, hint) for hint in fact.task.hints]
        return
    state.scan_cuts = 0
    if fact.is_full:
        trust_disk(state)
        state.full_look_s = fact.begun_s
        state.release(list(state.stalled))
    if fact.is_full and not state.scanned_once:
        state.scanned_once = True
        state.fresh |= state.waiting | state.unseen
        state.waiting.clear()
        state.unseen.clear()
    looked_at = sorted(nid for nid, at_s in state.after_scan.items() if at_s <= fact.begun_s)
    for nid in looked_at:
        del state.after_scan[nid]
    state.touch([nid for nid in looked_at if state.index.exists(nid)])
    state.release(looked_at)


def _fold_gone(state: State, fact: SeenGone, touched: list[Nid], gone: list[Nid], *, is_full: bool) -> None:
    if not is_current(state, fact.nid, fact.base):
        doubt_below(state, fact.nid)
    elif (is_full or not is_untold(state, fact)) and not absence_is_leaving(state, fact.nid):
        is_taken_back = is_doubtful(state, fact.nid, fact.base)
        nids = state.index.clear_local_unit(fact.nid)
        if is_taken_back:
            # A power cut took it, nobody deleted it: what the service has of it comes back.
            state.index.clear_synced(nids)
            end_doubts(state, nids)
            touched += nids
        else:
            note_gone(state, nids)
            gone += nids


def _fold(state: State, fact: LocalFact, touched: list[Nid]) -> None:
    match fact:
        case SeenNew():
            fold_new_names(state, (fact,), touched)
        case SeenChanged():
            if is_current(state, fact.nid, fact.base) and not is_another(state, fact.nid, fact.stat):
                row = state.index.reader.local(fact.nid)
                assert row is not None
                weigh_change(state, row, fact)
                _write(state, fact.nid, row.parent, row.name.decode(), fact.content, fact.blocks, fact.stat)
                touched.append(fact.nid)
        case SeenMoved():
            parent = parent_of(state, fact.parent)
            if parent is None:
                state.refused.add(fact.nid)
            elif is_below(state, parent, fact.nid):
                # Two folders changed places in one another, and only one of the two moves was seen: look at both.
                state.refused.add(fact.nid)
                look_soon(state, ROOT_PATH)
            else:
                _fold_moved(state, fact, parent, touched)
        case SeenUnknown():
            _fold_unknown(state, fact, touched)
        case SeenGone():
            raise AssertionError(fact)
        case _:
            assert_never(fact)


def _fold_moved(state: State, fact: SeenMoved, parent: Nid, touched: list[Nid]) -> None:
    if not is_current(state, fact.nid, fact.base) or not takes_name(
        state, [row.nid for row in state.index.reader.named(parent, fact.name) if row.nid != fact.nid]
    ):
        state.refused.add(fact.nid)
        see_again(state, parent, fact.name)
        return
    name = fact.name.decode()
    here = standing_here(state.index, (parent, name_key(name)))
    wait_for_twins(state, [one for one in here if one.nid != fact.nid], name)
    was = state.index.reader.path_of(fact.nid) if fact.stat.kind is Kind.FOLDER else None
    _write(state, fact.nid, parent, name, fact.content, fact.blocks, fact.stat)
    leave_trail(state, fact.nid, was)
    state.leaving_names.discard(fact.nid)
    touched.append(fact.nid)


def _write(state: State, nid: Nid, parent: Nid, name: str, content: bytes, blocks: bytes, stat: Stat) -> None:
    state.index.set_local(nid, parent, name, content, stat, blocks)
    state.index.release([nid])


def _has_moved(state: State, nid: Nid) -> bool:
    """Tell whether it is a folder that was seen elsewhere than where it was agreed to be."""
    row = state.index.row(nid)
    if row is None or row.synced is None or not isinstance(row.local, Item):
        return False
    return row.local.kind is Kind.FOLDER and row.local.place != row.synced.place


def _fold_unknown(state: State, fact: SeenUnknown, touched: list[Nid]) -> None:
    parent = parent_of(state, fact.parent) if fact.parent is not None else None
    path: DiskPath | None
    if fact.nid is not None:
        path = state.index.reader.path_of(fact.nid)
        if state.index.reader.local(fact.nid) is None:
            # Its file became that of another row while the scan was under way.
            return
        if fact.nid in state.busy:
            state.refused.add(fact.nid)
            if path is not None:
                state.look_when_free[fact.nid] = path
            doubt_below(state, fact.nid)
            return
        if is_shaken(state, fact.nid):
            state.refused.add(fact.nid)
            return
        if fact.code == "file_changing" and _has_moved(state, fact.nid):
            # It stood there a moment ago, and something else may stand where it was when all was equal: as long as it
            # counts as being there, that would be one of two of a name.
            state.refused.add(fact.nid)
            doubt_below(state, fact.nid)
            return
        keep_doubts(state, fact.nid)
        state.index.set_local_unknown(fact.nid)
        state.index.hold(fact.nid, fact.code, fact.reason, None)
        touched.append(fact.nid)
    else:
        folder = state.index.reader.path_of(parent) if parent is not None else None
        path = joined(folder, fact.name) if folder is not None else None
        if path is not None:
            state.index.put_unread(path, fact.code, fact.reason, None)
    if fact.retry and path is not None:
        tries = state.unread_tries[path] = state.unread_tries.get(path, 0) + 1
        wait_s = min(RETRY_S_MAX if fact.code != "file_changing" else 60.0, 0.25 * 2 ** min(tries, 12))
        # A new folder may be known from this look already, and so would not be gone into.
        state.look_later(wait_s, path, is_deep=fact.nid is None)
    elif path is not None:
        state.unread_tries.pop(path, None)
