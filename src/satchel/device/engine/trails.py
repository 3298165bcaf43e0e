"""Follows what is hinted to where its folder went.

A hint is a path as it was at one moment. Until it is looked at, a folder of that path may have got another name, by a
user or by this device; then nothing stands there, and what was hinted would only be found by the next look at all.
Invariant: a hint at or below a folder's old path is one at its new path too, and a folder about which something could
not be folded is looked into once it is found. Source: docs/design/040 (watching and scanning).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from satchel.core.entries import Kind
from satchel.core.ids import Nid
from satchel.device.engine.seen import AGAIN_S
from satchel.device.engine.state import State
from satchel.device.ports import ROOT_PATH, DiskPath, Hint, joined, split

TRAIL_S = 120.0
"""So long hints of an old path may come: the watcher tells within moments, but a look that is to be had again waits."""
TRAILS_MAX = 1_000


def leave_trail(state: State, nid: Nid, old: DiskPath | None) -> None:
    """A folder that stood at `old` has just been recorded at another place."""
    if old is None:
        return
    state.trails.pop(old, None)
    state.trails[old] = (nid, state.now.monotonic_s)
    if len(state.trails) > TRAILS_MAX:
        del state.trails[next(iter(state.trails))]
    if nid in state.doubted_below:
        state.doubted_below.discard(nid)
        _look_into(state, nid)


def doubt_below(state: State, nid: Nid) -> None:
    """What was seen of a folder could not be folded, and hints below it went with that: it is looked into again."""
    row = state.index.reader.local(nid)
    if row is None or row.kind is not Kind.FOLDER:
        return
    state.doubted_below.add(nid)
    if nid not in state.busy:
        _look_into(state, nid, AGAIN_S)
    elif (path := state.index.reader.path_of(nid)) is not None:
        state.look_when_free.setdefault(nid, path)


def _look_into(state: State, nid: Nid, delay_s: float = 0.0) -> None:
    path = state.index.reader.path_of(nid)
    if path:
        state.look_later(delay_s, path, is_deep=True)


def followed(state: State, hints: Iterable[Hint]) -> list[Hint]:
    """Return the hints, and with them those at the places to which folders of their paths went."""
    _forget_old(state)
    found = dict.fromkeys(hints)
    if state.trails:
        # A hint takes each trail once: a folder may have gone into one that has its old name now.
        waiting = [(hint, frozenset[DiskPath]()) for hint in found]
        while waiting:
            hint, taken = waiting.pop()
            for trail, other in _further(state, hint, taken):
                if other not in found:
                    found[other] = None
                    waiting.append((other, taken | {trail}))
    return list(found)


def _further(state: State, hint: Hint, taken: frozenset[DiskPath]) -> Iterator[tuple[DiskPath, Hint]]:
    at, rest = hint.folder, b""
    while at != ROOT_PATH:
        now = _now_at(state, at, taken)
        if now:
            yield at, Hint(DiskPath(now + rest), hint.names, hint.is_deep)
        at, name = split(at)
        rest = b"/" + name + rest
    for name in hint.names or ():
        path = joined(hint.folder, name)
        now = _now_at(state, path, taken)
        if now:
            folder, last = split(now)
            yield path, Hint(folder, frozenset((last,)), hint.is_deep)


def _now_at(state: State, path: DiskPath, taken: frozenset[DiskPath]) -> DiskPath | None:
    trail = None if path in taken else state.trails.get(path)
    return None if trail is None else state.index.reader.path_of(trail[0])


def _forget_old(state: State) -> None:
    while state.trails:
        oldest = next(iter(state.trails))
        if state.trails[oldest][1] > state.now.monotonic_s - TRAIL_S:
            return
        del state.trails[oldest]
