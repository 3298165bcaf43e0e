"""The places of the journal that the remote tree here rests on, until the feed has passed them.

A page of a snapshot tells the tree as of a place (seq, tag), which lies before or after the feed's own. Invariant: each
of them is met again in the journal that is followed; if not, the service went back in time. A place is noted in the
transaction that folds its page. Source: docs/design/030 (tags).
"""

from __future__ import annotations

from satchel.core.ids import TAG_BYTES, Tag
from satchel.core.messages import Changes, Position, SnapshotPage, SnapshotRequest
from satchel.device.engine.state import State

SEQ_BYTES = 8
PLACES_MAX = 64
"""Beyond that the oldest are given up: the newest say more."""


def load_places(state: State) -> None:
    """At start: what a run before noted."""
    known = state.index.get("places")
    size = SEQ_BYTES + TAG_BYTES
    for at in range(0, len(known) if isinstance(known, bytes) else 0, size):
        assert isinstance(known, bytes)
        seq = int.from_bytes(known[at : at + SEQ_BYTES], "big")
        state.places[seq] = Tag(known[at + SEQ_BYTES : at + size])


def forget_places(state: State) -> None:
    """The remote tree is told anew, or the journal does not reach back so far any more."""
    state.places.clear()
    _keep(state)


def is_of_this_journal(state: State, request: SnapshotRequest, page: SnapshotPage) -> bool:
    """Note the page's place. False: the journal that it was told from is not the one that we knew; fold nothing of it.

    A service answers from a journal that is at least as long as the one that it told before, and all pages of one
    snapshot are of one place.
    """
    if page.seq < state.page_seq_min or (request.seq >= 0 and page.seq != request.seq):
        return False
    if not page.tag:
        # Every journal begins at 0; and it may not reach back to where a long snapshot began.
        return True
    if state.position is not None and page.seq == state.position.seq:
        return page.tag == state.position.tag
    known = state.places.get(page.seq)
    if known is None:
        _note(state, page.seq, page.tag)
        state.head_seq = max(state.head_seq, page.seq)
    return known is None or known == page.tag


def lowest_place(state: State) -> Position | None:
    """Return the lowest place that is noted, if it is lower than the feed's own, which is noted in its stead."""
    own = state.position
    assert own is not None
    if state.places.pop(own.seq, None) is not None:
        _keep(state)
    lowest = min(state.places, default=own.seq)
    if lowest >= own.seq:
        return None
    tag = state.places.pop(lowest)
    _note(state, own.seq, own.tag)
    return Position(state.identity.ns, lowest, tag)


def meets_places(state: State, changes: Changes) -> tuple[bool, Position | None]:
    """Compare a page of the feed with the noted places that it passes, and forget those.

    Result: False when another entry stands at one of them; and the first one whose entry the page does not tell of,
    since it is left out here: the feed is to go on from there, for the service says whether it knows the place.
    """
    assert state.position is not None
    passed = sorted(seq for seq in state.places if state.position.seq < seq <= changes.last_seq)
    if not passed:
        return True, None
    tags = {entry.seq: entry.tag for entry in changes.entries} | {changes.last_seq: changes.last_tag}
    for seq in passed:
        tag = state.places.pop(seq)
        _keep(state)
        if seq not in tags:
            return True, Position(state.identity.ns, seq, tag)
        if tags[seq] != tag:
            return False, None
    return True, None


def is_short(state: State, changes: Changes) -> bool:
    """True when the journal ends before a place that was noted before it was asked."""
    return state.is_place_asked and changes.head_seq < max(state.places, default=0)


def _note(state: State, seq: int, tag: Tag) -> None:
    if not tag:
        return
    state.places[seq] = tag
    state.is_place_asked = False
    for oldest in sorted(state.places)[:-PLACES_MAX]:
        del state.places[oldest]
    _keep(state)


def _keep(state: State) -> None:
    packed = (seq.to_bytes(SEQ_BYTES, "big") + tag for seq, tag in sorted(state.places.items()))
    state.index.put("places", b"".join(packed))
