"""Folds what the service says onto the remote tree; brings the connection to where the feed can flow.

Invariant: the position moves in the same transaction as the entries before it. An own entry that stated what was on
this disk sets the synced side of just the values it committed; a reply never writes the remote side. Source: 040, 030.
"""

from __future__ import annotations

import itertools

from satchel.core.entries import Action, Entry, Kind
from satchel.core.errors import Fault, Unauthenticated
from satchel.core.hashing import content_hash
from satchel.core.ids import ID_BYTES, ROOT_NODE, TAG_BYTES, BlockHash, LinkId, Nid, NodeId, Tag
from satchel.core.messages import (
    PROTOCOL_VERSION,
    Behind,
    Changes,
    ChangesRequest,
    Hello,
    Position,
    Pushed,
    SnapshotPage,
    SnapshotRequest,
    Welcome,
    agreed_version,
)
from satchel.device.engine.bringing_back import doubt_left
from satchel.device.engine.excluding import forget, hide, is_hiding, is_out, shows_again, tidy_below
from satchel.device.engine.guard import allow_units
from satchel.device.engine.journal_places import (
    forget_places,
    is_of_this_journal,
    is_short,
    lowest_place,
    meets_places,
)
from satchel.device.engine.link_run import leap, run_of
from satchel.device.engine.mounts import take_mount, told_as_folder
from satchel.device.engine.own_entries import agree_own
from satchel.device.engine.own_folder import fold_own, is_told, may_sync
from satchel.device.engine.pages import (
    fold_own_creates,
    fold_rows,
    hide_stray,
    is_lost,
    is_stated,
    is_stated_create,
    parent_nid,
    shows_what_is_in,
)
from satchel.device.engine.power_cuts import doubt_all
from satchel.device.engine.results import fail, finish, finish_all, outdate
from satchel.device.engine.scope import has_returned, is_believed
from satchel.device.engine.state import CONFIRMED, Phase, State, is_flagged
from satchel.device.engine.yielding import set_view_only
from satchel.device.index.bulk import untold_in
from satchel.device.index.left_out import Stage
from satchel.device.service_tasks import (
    Pulled,
    PullTask,
    Reached,
    ReachTask,
    SnapshotTaken,
    SnapshotTask,
    StreamEnded,
    StreamFrameCame,
    StreamTask,
)

ZERO_TAG = Tag(bytes(TAG_BYTES))
NO_LINK = LinkId(b"")
UNTOLD = 0
"""The seq of what the snapshot of a unit did not name: it went, or it moved out of the unit. The journal is read on
from an older place and tells which; what it says must not count as old."""
TWIN_TEXT = (
    "Another computer syncs this folder as this device: its disk was copied. Sign in again on one of them with"
    " 'satchel login' and restart its daemon; no file is touched."
)
VERSION_TEXT = (
    "The server and this Satchel have no version of the protocol in common. Update the older one, then restart this"
    " daemon; no file is touched."
)
JOURNAL_ENTRIES_KEPT = 1_000_000
"""A service never prunes its newest entries (docs/design/030)."""


def reach(state: State, after_s: float = 0.0) -> None:
    """Start (again) to connect."""
    state.phase = Phase.REACHING
    state.tasks.append(ReachTask(after_s))


def fold_reached(state: State, fact: Reached) -> None:
    """The first answer of a connection: who we are, which store, where the journal stands."""
    if fact.reply is None:
        _lost(state, fact.fault)
        return
    state.reach_tries = 0
    head = next((each for each in fact.reply.namespaces if each.ns == state.identity.ns), None)
    if head is None:
        state.halted = "The linked remote folder is not there any more, or this account may not read it."
        return
    version = agreed_version(newest=fact.reply.version, oldest=fact.reply.version_min)
    if version is None:
        state.halted = VERSION_TEXT
        return
    state.version = version
    if not may_sync(state, can_write=head.can_write):
        return
    set_view_only(state, is_view_only=not head.can_write)
    known = state.index.get("epoch")
    if known is not None and known != fact.reply.epoch:
        begin_recovery(state)
    elif state.position is None and head.head_seq < max(state.places, default=0):
        # A snapshot that was cut short was told from a longer journal.
        begin_recovery(state)
    state.head_seq = head.head_seq
    if not state.is_caught_up:
        state.catches_up_at = head.head_seq
    state.index.put("epoch", fact.reply.epoch)
    if state.position is None:
        _begin_join(state)
    else:
        if state.places or (head.head_seq, head.head_tag) != (state.position.seq, state.position.tag):
            # News; or the store's database was put back, and the answer is that it never had our place.
            pull(state)
        _open_stream(state)


def begin_recovery(state: State, *, is_same_store: bool = False) -> None:
    """The server or this device went back in time: union merge by content, no deletion in either direction.

    Revs and seqs of before say nothing any more, so the remote tree is forgotten too; the snapshot tells it anew.
    is_same_store: only this device went back. What its disk shows as it was agreed on then is an ancestor of what the
    service has now, and no conflict; the rest of the disk may be of another time than the index, and is in doubt.
    """
    outdate(state)
    for lane in (state.ready_commits, state.ready_uploads, state.ready_disk, state.ready_fetch):
        for job in list(lane):
            fail(state, job)
        lane.clear()
    for jobs in state.following.values():
        for job in jobs:
            finish(state, job)
    state.following.clear()
    state.index.put("recovering", int(is_same_store))
    if is_same_store:
        state.index.forget_what_is_not_shown()
        doubt_all(state)
    else:
        state.index.forget_agreements()
        doubt_left(state)
    state.head_seq = 0
    state.index.put("seq", None)
    state.position = None
    forget_places(state)


def _begin_join(state: State) -> None:
    state.phase = Phase.JOINING
    # All of the tree is told now, and so are the units that were waited for.
    for unit in (state.unit_asked, *state.snapshot_units):
        nid = state.index.reader.nid_of(unit) if unit is not None else None
        if nid is not None:
            state.snapshot_busy.discard(nid)
            state.touch([nid])
    state.unit_asked = None
    state.snapshot_units.clear()
    state.homeless.clear()
    _keep_units(state)
    _new_mark(state)
    state.index.put("join_seq", -1)
    _ask_page(state, state.identity.unit, ROOT_NODE, -1)


def _new_mark(state: State) -> None:
    """Rows that a snapshot names from now on are told from all others."""
    state.index.put("mark", _mark(state) + 1)


def _mark(state: State) -> int:
    mark = state.index.get("mark")
    return mark if isinstance(mark, int) else 0


def _ask_page(state: State, unit: NodeId, after: NodeId, seq: int) -> None:
    state.is_snapshotting = True
    if seq < 0:
        # Later pages are of the first one's place, however far the feed has come meanwhile.
        state.page_seq_min = state.position.seq if state.position is not None else 0
    own = state.identity
    nid = state.index.reader.nid_of(unit)
    # What went out of sight is told to nobody who leaves anything out.
    link = NO_LINK if nid is not None and is_hiding(state, nid) else own.link
    state.page_asked = SnapshotRequest(
        own.ns, unit, after, seq, state.bounds.page_entries, link=link, with_xattrs=own.has_xattrs
    )
    state.tasks.append(SnapshotTask(state.page_asked))


def _open_stream(state: State) -> None:
    assert state.position is not None
    state.phase = Phase.LIVE
    state.plan_waiting()
    if state.has_stream:
        return
    state.has_stream = True
    epoch = state.index.get("epoch")
    hello = Hello(
        state.version,
        epoch if isinstance(epoch, bytes) else b"",
        state.identity.link,
        run_of(state),
        (state.position,),
        with_xattrs=state.identity.has_xattrs,
    )
    state.tasks.append(StreamTask(hello))


def _welcomed(state: State, frame: Welcome) -> None:
    """The service knows this start; or it does not: a start of this link that it saw is newer than this one, or as new.

    At the first hello of a start this index is that of an older image. Later it cannot have become one: then somebody
    else goes on with this link's past, on a copy of this machine.
    """
    # It may have been replaced by a newer one since the hello's version was agreed on.
    state.version = max(state.version, min(frame.version, PROTOCOL_VERSION))
    is_same_store = frame.epoch == state.index.get("epoch")
    if not state.is_answered:
        state.is_answered = True
        state.plan_waiting()
    if not frame.recover:
        state.is_welcomed = True
        return
    if is_same_store and state.is_welcomed:
        state.halted = TWIN_TEXT
        return
    state.index.put("epoch", frame.epoch)
    if not is_same_store:
        state.is_welcomed = True
    else:
        leap(state, frame.newest_start)
    begin_recovery(state, is_same_store=is_same_store)
    _begin_join(state)


def _lost(state: State, fault: Fault | None) -> None:
    state.phase = Phase.OFFLINE
    state.is_snapshotting = False
    state.is_pulling = False
    if isinstance(fault, Unauthenticated):
        state.halted = "This device is signed out. Sign in again with 'satchel login'; no file is touched."
        return
    state.reach_tries += 1
    wait_s = fault.fields.get("retry_after_s") if fault is not None else None
    backoff_s = min(30.0, 0.2 * 2 ** min(state.reach_tries, 8)) * (0.75 + state.clock.random(1)[0] / 512)
    reach(state, max(backoff_s, float(wait_s)) if isinstance(wait_s, (int, float)) else backoff_s)


def fold_stream_ended(state: State, fact: StreamEnded) -> None:
    """The line is lost. What is in flight reports for itself."""
    state.has_stream = False
    _lost(state, fact.fault)


# -- snapshots ------------------------------------------------------------------------------------------------


def fold_snapshot(state: State, fact: SnapshotTaken) -> None:
    """A page of the link's tree (joining) or of one unit that appeared whole; void when a join began meanwhile."""
    if fact.task.request != state.page_asked:
        return
    state.page_asked = None
    state.is_snapshotting = False
    is_join = fact.task.request.unit == state.identity.unit
    if is_join and state.phase is not Phase.JOINING:
        # The line was lost meanwhile, and with it the join.
        return
    if fact.page is None:
        if is_join:
            _lost(state, fact.fault)
        elif fact.fault is not None and fact.fault.retryable:
            state.calm_down(fact.fault)
            _ask_again(state, fact.task.request.unit)
        elif fact.fault is not None:
            state.calm_down(fact.fault)
            _unit_done(state, fact.task.request.unit)
        return
    page, unit = fact.page, fact.task.request.unit
    if is_join and not is_told(state, page, is_first=fact.task.request.seq < 0):
        return
    if not is_believed(state, page.scope):
        if not is_join:
            _ask_again(state, unit)
        return
    if not is_of_this_journal(state, fact.task.request, page):
        begin_recovery(state)
        _begin_join(state)
        return
    state.touch(fold_rows(state, page.entries, _mark(state), page.seq))
    if page.has_more:
        _ask_page(state, unit, page.entries[-1].node_id, page.seq)
    elif is_join:
        _end_join(state, page)
    else:
        _end_unit(state, fact.task.request, page)


def _end_join(state: State, page: SnapshotPage) -> None:
    tidy_below(state)
    state.touch([nid for nid in state.index.dirty_nids() if nid not in state.fresh])
    if not state.scanned_once:
        state.unseen |= state.fresh.intersection(state.index.unseen_nids())
        state.fresh -= state.unseen
    for nid in state.index.unmarked_remote(_mark(state), page.seq):
        # What hides in something left out is not in sight, and lives.
        if state.index.is_remote(nid) and not is_hiding(state, nid):
            gone = state.index.clear_remote_unit(nid, page.seq)
            if state.index.get("recovering"):
                state.index.clear_synced(gone)
            state.touch(gone, is_deletion=True)
    hide_stray(state)
    state.index.put("recovering", 0)
    state.set_position(page.seq, page.tag)
    _go_back_to_lowest(state)
    _open_stream(state)
    pull(state)


def _go_back_to_lowest(state: State) -> None:
    """Follow the journal from the first place that a page was told of: it tells whether all of them are in it."""
    lowest = lowest_place(state)
    if lowest is not None:
        state.set_position(lowest.seq, lowest.tag)
        pull(state)


def next_unit(state: State) -> None:
    """Ask for the next unit that appeared whole, one at a time; or join anew when that was not believed."""
    if state.is_snapshotting or state.scope_told is None:
        return
    if state.phase is Phase.JOINING:
        _begin_join(state)
    elif state.snapshot_units and state.may_ask:
        state.unit_asked = state.snapshot_units.popleft()
        _new_mark(state)
        _ask_page(state, state.unit_asked, ROOT_NODE, -1)


def _need_unit(state: State, nid: Nid, node_id: NodeId) -> None:
    if node_id not in state.snapshot_units:
        state.snapshot_units.append(node_id)
        state.snapshot_busy.add(nid)
        _keep_units(state)


def _keep_units(state: State) -> None:
    """Let a start that follows a crash ask for them as well."""
    asked = (state.unit_asked,) if state.unit_asked is not None else ()
    state.index.put("units", b"".join((*asked, *state.snapshot_units)))


def load_units(state: State) -> None:
    """At start: what appeared whole and was not told of yet."""
    known = state.index.get("units")
    for at in range(0, len(known) if isinstance(known, bytes) else 0, ID_BYTES):
        assert isinstance(known, bytes)
        node_id = NodeId(known[at : at + ID_BYTES])
        nid = state.index.reader.nid_of(node_id)
        if nid is not None:
            state.snapshot_units.append(node_id)
            state.snapshot_busy.add(nid)


def _ask_again(state: State, unit: NodeId) -> None:
    state.unit_asked = None
    state.snapshot_units.appendleft(unit)


def _end_unit(state: State, request: SnapshotRequest, page: SnapshotPage) -> None:
    """All of the unit was told. What the snapshot did not name is gone; what came meanwhile is folded once more."""
    nid = state.index.reader.nid_of(request.unit)
    if nid is not None:
        is_whole = request.link == NO_LINK
        if is_whole and not page.entries and state.left.get(nid) is Stage.HIDING:
            # Out of sight it was deleted.
            forget(state, nid)
        untold = untold_in(state.index, nid, _mark(state), page.seq)
        for each in untold:
            # What went out of sight is named in no other snapshot, and its top, which stands there, in none.
            is_gone = not is_hiding(state, each) or (is_whole and each != nid)
            if is_gone and state.index.is_remote(each):
                state.touch(state.index.clear_remote_unit(each, UNTOLD), is_deletion=True)
        tidy_below(state)
        hide_stray(state)
        has_returned(state, nid, untold)
    _unit_done(state, request.unit)
    # An entry of a folder that was not told yet was passed over.
    _go_back_to_lowest(state)


def _unit_done(state: State, unit: NodeId) -> None:
    state.unit_asked = None
    _keep_units(state)
    nid = state.index.reader.nid_of(unit)
    if nid is not None:
        state.snapshot_busy.discard(nid)
        state.touch([nid])


# -- the feed -------------------------------------------------------------------------------------------------


def pull(state: State) -> None:
    """Ask for the next page of the journal."""
    if state.is_pulling or state.position is None:
        return
    state.is_pulling = state.is_place_asked = True
    own = state.identity
    asked = ChangesRequest(state.position, own.link, state.bounds.page_entries, with_xattrs=own.has_xattrs)
    state.tasks.append(PullTask(asked))


def fold_frame(state: State, fact: StreamFrameCame) -> None:
    """A frame of the stream."""
    match fact.frame:
        case Welcome():
            _welcomed(state, fact.frame)
        case Behind(position=position) if position.ns == state.identity.ns:
            state.head_seq = max(state.head_seq, position.seq)
            pull(state)
        case Pushed(changes=changes):
            fold_changes(state, changes, fact.contents)
        case _:
            pass


def fold_pulled(state: State, fact: Pulled) -> None:
    """An answer to `pull`."""
    state.is_pulling = False
    if fact.changes is not None:
        state.calm_tries = 0
        if is_short(state, fact.changes):
            begin_recovery(state)
            _begin_join(state)
            return
        fold_changes(state, fact.changes, fact.contents)
    elif fact.fault is not None and fact.fault.retryable:
        state.calm_down(fact.fault)
        state.wants_pull = True
    elif fact.fault is not None:
        _lost(state, fact.fault)


def fold_changes(state: State, changes: Changes, contents: dict[BlockHash, bytes]) -> None:
    """Fold a page of the journal in order. One with a gap before it, or of another journal, is asked for again."""
    if state.position is None or changes.ns != state.identity.ns or not is_believed(state, changes.scope):
        return
    if changes.is_reset:
        if changes.head_seq - state.position.seq < JOURNAL_ENTRIES_KEPT:
            # So near the end nothing is pruned: this journal never had our place.
            begin_recovery(state)
        state.position = None
        forget_places(state)
        _begin_join(state)
        return
    state.head_seq = max(state.head_seq, changes.head_seq)
    if changes.prev_seq > state.position.seq or _is_another_journal(state.position, changes):
        pull(state)
        return
    is_met, untold = meets_places(state, changes)
    if not is_met:
        begin_recovery(state)
        _begin_join(state)
        return
    if any(is_lost(state, entry) for entry in changes.entries if entry.seq > state.position.seq):
        # Which file here is which node there may not be what this index knows.
        begin_recovery(state, is_same_store=True)
        _begin_join(state)
        return
    for block, data in contents.items():
        state.contents.put(content_hash((block,)), data)
    touched: list[Nid] = []
    gone: list[Nid] = []
    stated: set[Nid] = set()
    begun_seq = state.position.seq
    fresh = [entry for entry in changes.entries if entry.seq > begun_seq]
    for is_own_create, entries in itertools.groupby(fresh, key=lambda entry: is_stated_create(state, entry)):
        together = list(entries)
        # What cannot be folded together is folded one by one.
        for entry in fold_own_creates(state, together, stated) if is_own_create else together:
            _fold_entry(state, entry, touched, gone)
    if changes.last_seq > state.position.seq:
        state.set_position(changes.last_seq, changes.last_tag)
    if untold is not None:
        state.set_position(untold.seq, untold.tag)
        pull(state)
    for entry in fresh:
        state.sent.forget(entry.op_id)
    _release_followers(state, touched, stated.difference(touched, gone))
    state.touch(gone, is_deletion=True)
    if changes.has_more:
        pull(state)


def _is_another_journal(position: Position, changes: Changes) -> bool:
    """True when the page holds another entry where ours was: a stream that outlived a restore goes on in another."""
    if changes.last_seq == position.seq:
        return changes.last_tag != position.tag
    is_overlapping = changes.prev_seq < position.seq
    return is_overlapping and any(one.seq == position.seq and one.tag != position.tag for one in changes.entries)


def _fold_entry(state: State, entry: Entry, touched: list[Nid], gone: list[Nid]) -> None:
    index = state.index
    if entry.node_id == state.identity.unit and entry.node_id != ROOT_NODE:
        fold_own(state, entry)
        return
    entry, ns = told_as_folder(entry)
    is_own = is_stated(state, entry)
    nid = index.reader.nid_of(entry.node_id)
    if not entry.is_live:
        if nid is not None and index.remote_seq(nid) < entry.seq:
            unit = index.clear_remote_unit(nid, entry.seq)
            if is_own:
                index.clear_synced(unit)
            if is_flagged(entry.op_id, CONFIRMED):
                # A person allowed this deletion on the device that made it: nobody is asked again.
                allow_units(state, unit)
            gone += unit
        return
    parent = parent_nid(state, entry.parent_id)
    if parent is None or not shows_what_is_in(state, parent):
        # Its place lies outside the linked folder, or in what is left out: for this link the unit is gone.
        if nid is not None and index.is_remote(nid):
            is_mount = nid in state.mounts
            gone += index.clear_remote_unit(nid, entry.seq) if is_mount else hide(state, nid, entry)
            touched.append(nid)
            if is_own and nid in state.left:
                agree_own(state, nid, None, entry)
        return
    was_live = nid is not None and index.is_remote(nid)
    if nid is None:
        nid = index.add(entry.node_id)
    elif index.remote_seq(nid) >= entry.seq:
        gone += _fold_old(state, nid, entry)
        return
    was_hiding = shows_again(state, nid)
    index.set_remote(nid, parent, entry)
    take_mount(state, nid, ns)
    is_unit = entry.kind == Kind.FOLDER and ns is None and not is_out(state, nid)
    if is_own:
        agree_own(state, nid, parent, entry)
    elif is_unit and not was_live and (entry.is_subtree or entry.action == Action.MOVE):
        _need_unit(state, nid, entry.node_id)
    if is_unit and was_hiding:
        _need_unit(state, nid, entry.node_id)
    touched.append(nid)


def _fold_old(state: State, nid: Nid, entry: Entry) -> list[Nid]:
    """The row is newer: a page of a snapshot was read later. What the entry says of its unit may still be untold.

    Rows in it may be of pages read before. Result: rows that are gone. Source: core/folding.
    """
    if entry.kind != Kind.FOLDER or nid in state.mounts or is_out(state, nid) or not state.index.is_remote(nid):
        return []
    if entry.action == Action.UNDELETE and not entry.is_subtree:
        return state.index.clear_remote_before(nid, entry.seq)
    if entry.is_subtree or entry.action == Action.MOVE:
        _need_unit(state, nid, entry.node_id)
    return []


def _release_followers(state: State, touched: list[Nid], stated: set[Nid]) -> None:
    """Settle what was folded, and finish the jobs that waited for it. stated: rows that may be settled already."""
    assert state.position is not None
    over = sorted(seq for seq in state.following if seq <= state.position.seq)
    finish_all(state, [job for seq in over for job in state.following.pop(seq)], touched, stated)


def poll_if_behind(state: State) -> None:
    """A hint may be lost: whoever waits for the feed asks for it."""
    if state.following and state.phase is Phase.LIVE and not state.is_pulling:
        pull(state)
