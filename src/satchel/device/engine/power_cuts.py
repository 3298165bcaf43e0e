"""Tells what a power cut took back from what a user did: the one is no news, the other is.

A program's save, and whatever the disk shows, can be gone after a power cut until the kernel has written it out. The
index numbers each write of the local tree (its version); a minute later the volume is synced, and the newest number
of before is `durable`. After another start of the machine all newer ones are doubtful until the first whole look: what
is gone of them, or was emptied, comes back from the service; what stands there older is kept beside what the service
has.
Invariant: a file that a power cut took from this disk is not deleted anywhere.
Source: docs/adr/2026-11-22-power-cuts.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from satchel.core.entries import Kind
from satchel.core.ids import Nid
from satchel.core.trees import Item
from satchel.core.xattrs import is_packed
from satchel.device.engine.state import NEVER_S, State
from satchel.device.index.rows import LocalRow
from satchel.device.ports import EVERYTHING, ROOT_PATH
from satchel.device.tasks import SeenChanged, SyncVolumeTask, VolumeSynced

WAIT_S = 60.0
"""By then the kernel has written most of it by itself (it begins after 30 s), and the sync has little left to do."""
UNTOLD_S = 10.0
"""What was in flight during a look at everything is mostly over by then, and another look decides."""


def note_start(state: State) -> None:
    """At a start: doubt what is not durable, if the machine was started anew since."""
    boot, known = state.clock.boot(), state.index.get("boot")
    if not isinstance(known, bytes):
        state.index.put("boot", boot)
    elif known != boot or not boot:
        state.doubtful = range(state.durable + 1, state.index.version + 1)


def doubt_all(state: State) -> None:
    """The index is of another time than the disk may be: nothing that is not there counts as deleted."""
    state.durable = 0
    state.index.put("durable", 0)
    state.index.put("boot", b"")
    state.doubtful = range(1, state.index.version + 1)
    state.hints.append(EVERYTHING)


def is_doubtful(state: State, nid: Nid, version: int) -> bool:
    """Tell whether a power cut may have taken back what the disk showed of the row."""
    return version in state.doubtful or nid in state.unseen_doubts


def keep_doubts(state: State, nid: Nid) -> None:
    """The row, or a folder and all in it, could not be looked at: what is doubtful there stays so."""
    if not (state.doubtful or state.unseen_doubts):
        return
    for each in state.index.unit("l", nid):
        row = state.index.reader.local(each)
        if row is not None and is_doubtful(state, each, row.version):
            state.unseen_doubts.add(each)
            state.kept_doubts.add(each)


def trust_disk(state: State) -> None:
    """A look at everything is over: what stands on the disk now has survived, what does not was noticed.

    But not where what it told could not be folded: there another look decides.
    """
    unread = len(state.kept_doubts)
    for nid in state.refused:
        keep_doubts(state, nid)
    if len(state.kept_doubts) > unread and not any(hint == EVERYTHING for _, hint in state.later_hints):
        state.look_later(UNTOLD_S, ROOT_PATH)
    state.unseen_doubts, state.kept_doubts = state.kept_doubts, set()
    state.doubtful = range(0)
    if not state.unseen_doubts:
        state.index.put("boot", state.clock.boot())


def end_doubts(state: State, nids: Iterable[Nid]) -> None:
    """What was in doubt of these rows is decided."""
    state.unseen_doubts.difference_update(nids)
    state.kept_doubts.difference_update(nids)


def weigh_change(state: State, row: LocalRow, fact: SeenChanged) -> None:
    """Before a change of a doubtful file is written: what of it may pass for an edit.

    Emptied: its name reached the disk, its bytes did not. What stands there counts as what was agreed on, so that the
    service's state is the newer one. An earlier state, or another file where the lost one stood: that is no edit of
    what the service has (nor is it surely none: clocks jump), so both are kept.
    """
    if not is_doubtful(state, row.nid, fact.base) or row.kind is not Kind.FILE or fact.stat.kind is not Kind.FILE:
        return
    is_other = (fact.stat.inode, fact.stat.birth_ns) != (row.stat.inode, row.stat.birth_ns)
    if fact.stat.size == 0 and row.stat.size > 0 and state.index.is_remote(row.nid):
        xattrs = fact.stat.xattrs if is_packed(fact.stat.xattrs) else row.stat.xattrs or b""
        item = Item(row.parent, row.name.decode(), Kind.FILE, fact.content, fact.stat.is_executable, xattrs)
        state.index.set_synced(row.nid, item)
    elif is_other or fact.stat.mtime_ns < row.stat.mtime_ns:
        state.index.set_synced(row.nid, None)


def next_volume_sync(state: State) -> None:
    """A minute after the local tree changed: make it durable, with all that came since."""
    is_wanted = state.scanned_once and not state.unseen_doubts and state.index.version > state.durable
    if not is_wanted or state.is_syncing_volume:
        state.next_volume_sync_s = NEVER_S
        return
    now_s = state.now.monotonic_s
    if state.next_volume_sync_s == NEVER_S:
        state.next_volume_sync_s = now_s + WAIT_S
    elif now_s >= state.next_volume_sync_s:
        state.is_syncing_volume = True
        state.next_volume_sync_s = NEVER_S
        state.tasks.append(SyncVolumeTask(state.index.version))


def fold_synced_volume(state: State, fact: VolumeSynced) -> None:
    """What failed is tried again in a minute; until then it stays in doubt."""
    state.is_syncing_volume = False
    if fact.fault is None:
        state.durable = fact.task.version
        state.index.put("durable", state.durable)
