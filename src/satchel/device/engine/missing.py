"""Keeps what is gone apart from what was only missed.

A look by few names sees one half of a move: the old name is empty, and where it went the look was not. A watcher tells
both names, though perhaps to two looks. Invariant: what is gone and comes again elsewhere, as the same file, before its
deletion was sent, has moved; a folder whose absence no watcher told of, and that was not missed by a look at all, is
not gone. Source: docs/design/040 (rules 1, 3, 6).
"""

from __future__ import annotations

from collections.abc import Iterable

from satchel.core.entries import Kind
from satchel.core.ids import Nid
from satchel.core.trees import Item
from satchel.device.engine.excluding import GOING
from satchel.device.engine.state import State
from satchel.device.index.bulk import identities_of
from satchel.device.ports import ROOT_PATH, DiskPath, Hint, split
from satchel.device.tasks import SeenGone, SeenNew

TOLD_S = 120.0
"""So long after a watcher told of a folder's names an absence there is one that it told."""
TOLD_MAX = 1_000
GONE_MAX = 100_000
LOOK_AT_ALL_S = 1.0
"""Longer than a watcher takes to tell, so that the look at all is seldom needed."""


def note_told(state: State, hints: Iterable[Hint]) -> None:
    """A watcher told of names in these folders."""
    for hint in hints:
        is_whole = hint.names is None and hint.is_deep
        state.told.pop(hint.folder, None)
        state.told[hint.folder] = (state.now.monotonic_s, is_whole)
        if len(state.told) > TOLD_MAX:
            del state.told[next(iter(state.told))]


def is_untold(state: State, fact: SeenGone) -> bool:
    """Tell whether nobody but a look at few names misses this folder; then all is looked at."""
    row = state.index.reader.local(fact.nid)
    path = state.index.reader.path_of(fact.nid)
    is_leaving = any(stage in GOING for stage in state.left.values())
    if row is None or row.kind is not Kind.FOLDER or path is None or is_leaving or _is_told(state, path):
        return False
    state.refused.add(fact.nid)
    state.look_later(LOOK_AT_ALL_S, ROOT_PATH)
    return True


def _is_told(state: State, path: DiskPath) -> bool:
    """A watcher told of names where this one is, or of all that is below a folder above."""
    folder, is_above = split(path)[0], False
    while True:
        told = state.told.get(folder)
        if told is not None and told[0] > state.now.monotonic_s - TOLD_S and (told[1] or not is_above):
            return True
        if folder == ROOT_PATH:
            return False
        folder, is_above = split(folder)[0], True


def note_gone(state: State, nids: list[Nid]) -> None:
    """These are gone from the disk; they may stand elsewhere, and be found there by a later look."""
    for nid, inode, birth_ns in identities_of(state.index, nids):
        state.gone[inode, birth_ns] = nid
    while len(state.gone) > GONE_MAX:
        del state.gone[next(iter(state.gone))]


def found_again(state: State, fact: SeenNew) -> Nid | None:
    """Return the row that was told to be gone and is this file, when its deletion was not sent yet."""
    nid = state.gone.pop((fact.stat.inode, fact.stat.birth_ns), None) if state.gone else None
    row = None if nid is None or nid in state.busy or nid in state.left else state.index.row(nid)
    if row is None or row.local is not None or not isinstance(row.remote, Item) or row.synced is None:
        return None
    return nid if row.remote.kind is row.synced.kind is fact.stat.kind else None
