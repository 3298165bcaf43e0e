"""What the service tells of the linked remote folder itself: that it was deleted, or made a shared one.

Invariant: that a folder is gone, or is a tree of its own now, is never taken for its having been emptied. A folder that
was made a shared one is followed there at the next start of the link (`device/following_shared.py`), which is near.
Source: docs/adr/2026-11-29-a-linked-folder-made-shared.md.
"""

from __future__ import annotations

from satchel.core.entries import Entry, Kind
from satchel.core.ids import ROOT_NODE
from satchel.core.messages import SnapshotPage
from satchel.device.engine.state import State

BECOMES = "becomes"
"""In the index: the namespace that the linked folder became."""
STANDS_ALONE = "stands_alone"
"""In the index: the link is of a shared folder, and stands in no other link."""
DELETED_TEXT = "The linked remote folder was deleted. Restore it or unlink this folder; no file is touched."
VIEW_ONLY_TEXT = (
    "This account may only look at the shared folder that is linked here, so nothing is synced. Ask for the right to"
    " edit, or unlink this folder; no file is touched."
)


def fold_own(state: State, entry: Entry) -> None:
    """The journal tells of the linked folder: moved or renamed it is the same; else this link does no more as it is."""
    if not entry.is_live:
        state.halted = DELETED_TEXT
    elif entry.kind == Kind.MOUNT:
        _follow(state, entry)


def is_told(state: State, page: SnapshotPage, *, is_first: bool) -> bool:
    """Look for the linked folder in a page of a join. Result: whether the page is to be folded.

    Every join of a folder that lives names it; one that does not tells of no folder that lost all that was in it.
    """
    if state.identity.unit == ROOT_NODE:
        return True
    own = next((entry for entry in page.entries if entry.node_id == state.identity.unit), None)
    state.is_own_told = own is not None or (state.is_own_told and not is_first)
    if own is not None and own.kind == Kind.MOUNT:
        _follow(state, own)
        return False
    if not (page.has_more or state.is_own_told):
        state.halted = DELETED_TEXT
        return False
    return True


def may_sync(state: State, *, can_write: bool) -> bool:
    """Tell whether the link can do its work. Where it may only look, what is only here goes to the folder around: a
    link that stands alone has none."""
    if not can_write and state.index.get(STANDS_ALONE):
        state.halted = VIEW_ONLY_TEXT
        return False
    return True


def _follow(state: State, entry: Entry) -> None:
    state.index.put(BECOMES, entry.content)
    state.is_turning = True
