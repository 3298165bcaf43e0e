"""Folds what the scanner saw onto the local tree.

Invariant: a fact about a row that is in flight, or that was compared with an older version of the row, changes nothing
and is looked at again. Unknown never becomes absent by itself. Source: docs/design/040 (rules 1, 3, 6).
"""

from __future__ import annotations

from typing import assert_never

from satchel.core.entries import Kind
from satchel.core.errors import RootMissing
from satchel.core.ids import ROOT_NID, Nid, NodeId, uuid7
from satchel.core.paths import name_key
from satchel.device.engine.state import (
    DEGRADED_SCAN_EVERY_S,
    FULL_SCAN_EVERY_S,
    RETRY_S_MAX,
    Phase,
    State,
)
from satchel.device.ports import ROOT_PATH, DiskPath, Hint, Stat, joined
from satchel.device.tasks import (
    LocalFact,
    NewParent,
    Scanned,
    ScanTask,
    SeenChanged,
    SeenGone,
    SeenMoved,
    SeenNew,
    SeenUnknown,
)

HINTS_PER_SCAN_MAX = 2_000


def next_scan(state: State) -> None:
    """Hand out the next look at the disk, when there is something to look at and none is under way."""
    now_s = state.now.monotonic_s
    if state.later_hints:
        due = [hint for at_s, hint in state.later_hints if at_s <= now_s]
        state.later_hints = [(at_s, hint) for at_s, hint in state.later_hints if at_s > now_s]
        state.hints += due
    if state.scanned_once and not state.is_scanning and now_s >= state.next_full_scan_s:
        state.hints.append(Hint(ROOT_PATH, None, True))
    if state.is_scanning or not state.hints or _joins_first(state):
        return
    full = Hint(ROOT_PATH, None, True)
    if full in state.hints or len(state.hints) > HINTS_PER_SCAN_MAX:
        hints: tuple[Hint, ...] = (full,)
        wait_s = DEGRADED_SCAN_EVERY_S if state.is_degraded else FULL_SCAN_EVERY_S
        state.next_full_scan_s = now_s + wait_s
    else:
        hints = _merged(state.hints)
    state.hints = []
    state.is_scanning = True
    state.scan_orders.clear()
    for hint in hints:
        for name in hint.names or ():
            state.index.clear_unread(joined(hint.folder, name), is_deep=True)
        if hint.names is None:
            state.index.clear_unread(hint.folder, is_deep=True)
    state.tasks.append(ScanTask(hints))


def _joins_first(state: State) -> bool:
    """True at first contact while the remote tree is coming: each file then finds its equal as it is seen.

    Seen before, every one would be a new node of this disk until the planner finds the two to be one. With the service
    out of reach the look goes ahead, so that nothing that happens meanwhile is missed.
    """
    is_coming = state.phase is not Phase.LIVE and state.reach_tries == 0
    return state.position is None and not state.scanned_once and is_coming


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
    """Fold a part of a scan."""
    touched: list[Nid] = []
    gone: list[Nid] = []
    for each in fact.facts:
        _fold(state, each, touched, gone)
    state.touch(touched)
    state.touch(gone, is_deletion=True)
    state.progress.files_seen += fact.files_seen
    if not fact.is_last:
        return
    state.is_scanning = False
    if isinstance(fact.fault, RootMissing):
        state.halted = f"{fact.fault.message} {fact.fault.hint}"
        return
    if fact.fault is not None:
        state.later_hints += [(state.now.monotonic_s + 5.0, hint) for hint in fact.task.hints]
        return
    if fact.is_full and not state.scanned_once:
        state.scanned_once = True
        state.fresh |= state.waiting
        state.waiting.clear()
    if state.after_scan:
        nids, state.after_scan = state.after_scan, set()
        state.touch([nid for nid in sorted(nids) if state.index.exists(nid)])


def _fold(state: State, fact: LocalFact, touched: list[Nid], gone: list[Nid]) -> None:
    match fact:
        case SeenNew():
            _fold_new(state, fact, touched)
        case SeenChanged():
            if _is_current(state, fact.nid, fact.base):
                row = state.index.reader.local(fact.nid)
                assert row is not None
                _write(state, fact.nid, row.parent, row.name.decode(), fact.content, fact.blocks, fact.stat)
                touched.append(fact.nid)
        case SeenMoved():
            parent = _parent(state, fact.parent)
            if parent is not None and _is_current(state, fact.nid, fact.base):
                _write(state, fact.nid, parent, fact.name.decode(), fact.content, fact.blocks, fact.stat)
                touched.append(fact.nid)
            elif parent is not None:
                _again(state, parent, fact.name)
        case SeenGone():
            if _is_current(state, fact.nid, fact.base):
                gone += state.index.clear_local_unit(fact.nid)
        case SeenUnknown():
            _fold_unknown(state, fact, touched)
        case _:
            assert_never(fact)


def _write(state: State, nid: Nid, parent: Nid, name: str, content: bytes, blocks: bytes, stat: Stat) -> None:
    state.index.set_local(nid, parent, name, content, stat)
    if blocks:
        state.index.put_local_blocks(content, blocks)
    state.index.release([nid])


def _fold_new(state: State, fact: SeenNew, touched: list[Nid]) -> None:
    parent = _parent(state, fact.parent)
    if parent is None:
        return
    name = fact.name.decode()
    claimant = state.claimed.get((parent, name_key(name)))
    if claimant is not None:
        # Our own applier may just have put it there; its result comes, then this is looked at again.
        _again(state, parent, fact.name)
        return
    known = state.index.reader.find(parent, fact.name)
    if known is not None and known.kind is not fact.stat.kind:
        # What stood there before is still in flight: it goes first, then this is another node.
        _again(state, parent, fact.name)
        return
    nid = known.nid if known is not None else _equal_remote(state, parent, name, fact)
    if nid is None:
        nid = _returned(state, parent, name, fact)
    if nid is None:
        nid = state.index.add(NodeId(uuid7(state.now.wall_ns // 1_000_000, state.clock.random(10))))
    elif nid in state.busy:
        _again(state, parent, fact.name)
        return
    state.scan_orders[fact.order] = nid
    _write(state, nid, parent, name, fact.content, fact.blocks, fact.stat)
    touched.append(nid)


def _equal_remote(state: State, parent: Nid, name: str, fact: SeenNew) -> Nid | None:
    """The row of an equal remote node at this place that this disk did not have: both are one (first contact)."""
    found = state.index.remote_only(parent, name)
    if found is None:
        return None
    nid, kind, content, is_executable = found
    same = kind == fact.stat.kind and (kind == Kind.FOLDER or content == fact.content)
    return nid if same and (kind != Kind.FILE or is_executable == fact.stat.is_executable) else None


def _returned(state: State, parent: Nid, name: str, fact: SeenNew) -> Nid | None:
    """The row of this place whose deletion still waits: a program deletes and writes anew what it saves."""
    nid = state.index.missing_here(parent, name, fact.stat.kind)
    return nid if nid in state.deleting or nid in state.held_back else None


def _fold_unknown(state: State, fact: SeenUnknown, touched: list[Nid]) -> None:
    parent = _parent(state, fact.parent) if fact.parent is not None else None
    path: DiskPath | None
    if fact.nid is not None:
        path = state.index.reader.path_of(fact.nid)
        if fact.nid in state.busy:
            return
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
        state.look_later(min(RETRY_S_MAX if fact.code != "file_changing" else 60.0, 0.25 * 2 ** min(tries, 12)), path)
    elif path is not None:
        state.unread_tries.pop(path, None)


def _parent(state: State, parent: Nid | NewParent | None) -> Nid | None:
    if isinstance(parent, NewParent):
        return state.scan_orders.get(parent.order)
    if parent is not None and parent != ROOT_NID and state.index.reader.local(parent) is None:
        # The folder went, or became another node, while the scan was under way: what is in it is looked at anew.
        state.look_later(0.3, ROOT_PATH)
        return None
    return parent


def _is_current(state: State, nid: Nid, base: int) -> bool:
    """True when the row is as the scanner compared it and nothing is in flight for it; else queue another look."""
    row = state.index.reader.local(nid)
    if row is not None and row.version == base and nid not in state.busy:
        return True
    if row is not None:
        path = state.index.reader.path_of(nid)
        if path is not None:
            state.look_later(0.3, path)
    return False


def _again(state: State, parent: Nid, name: bytes) -> None:
    folder = state.index.reader.path_of(parent)
    if folder is not None:
        state.look_later(0.3, joined(folder, name))
