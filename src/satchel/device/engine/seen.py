"""What folding any fact of a scan needs: where it is, and looking again when that cannot be told now."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from satchel.core.ids import ROOT_NID, Nid
from satchel.core.limits import DEPTH_MAX
from satchel.device.engine.state import State
from satchel.device.index.rows import Standing
from satchel.device.ports import ROOT_PATH, DiskPath, joined
from satchel.device.tasks import NewParent

AGAIN_S = 0.3


def look_soon(state: State, path: DiskPath) -> None:
    """Queue another look at the path, once: each look that finds the same asks for the next, and they must not grow."""
    if path not in state.seen_again:
        state.seen_again.add(path)
        state.look_later(AGAIN_S, path)


def parent_of(state: State, parent: Nid | NewParent | None) -> Nid | None:
    """Return the row of the folder in which something was seen; None when it went or moved (it is looked at anew)."""
    if isinstance(parent, NewParent):
        parent = state.scan_orders.get(parent.order)
        while parent in state.adopted:
            parent = state.adopted[parent]
    if parent is not None and parent != ROOT_NID and state.index.reader.local(parent) is None:
        # The folder went, or became another node, while the scan was under way: what is in it is looked at anew.
        look_soon(state, ROOT_PATH)
        return None
    return None if parent is not None and is_shaken(state, parent) else parent


def is_current(state: State, nid: Nid, base: int) -> bool:
    """True when the row is as the scanner compared it and stood still meanwhile; else queue another look."""
    row = state.index.reader.local(nid)
    if row is not None and row.version == base and nid not in state.busy and not is_shaken(state, nid):
        return True
    state.refused.add(nid)
    path = state.index.reader.path_of(nid) if row is not None else None
    if path is not None and nid in state.busy:
        state.look_when_free[nid] = path
    elif path is not None:
        look_soon(state, path)
    return False


def takes_name(state: State, standing: Collection[Nid]) -> bool:
    """Something was seen at the very name of these rows, which then stand elsewhere. Tell whether it can be folded now.

    Not while what was told of them could not be folded: two rows of one name would be taken for a clash. Else nothing
    is planned until this scan has told where they went.
    """
    if any(nid in state.busy or nid in state.refused for nid in standing):
        return False
    state.leaving_names.update(standing)
    return True


def wait_for_twins(state: State, standing: Iterable[Standing], seen: str) -> None:
    """Something was seen at a name that differs from those of these rows only as one folder cannot tell. Where one of
    them is known from before, it may have gone: nothing is planned until this scan has told, or it would be a clash."""
    state.leaving_names.update(one.nid for one in standing if one.s_state and one.name != seen)


def is_below(state: State, nid: Nid, folder: Nid) -> bool:
    """Return whether the local row is the folder or lies below it."""
    at, seen = nid, set[Nid]()
    while at != ROOT_NID and at not in seen:
        if at == folder:
            return True
        seen.add(at)
        row = state.index.reader.local(at)
        if row is None:
            return False
        at = row.parent
    return False


def is_shaken(state: State, nid: Nid) -> bool:
    """Tell whether nothing can be told of the row by this look; then it is looked at again."""
    at, steps = nid, 0
    while state.shaken and at != ROOT_NID and steps <= DEPTH_MAX:
        if at in state.shaken:
            state.shaken[at] = True
            return True
        row = state.index.reader.local(at)
        if row is None:
            return False
        at, steps = row.parent, steps + 1
    return False


def see_again(state: State, parent: Nid, name: bytes) -> None:
    """Queue another look at a name in a folder."""
    folder = state.index.reader.path_of(parent)
    if folder is not None:
        look_soon(state, joined(folder, name))
