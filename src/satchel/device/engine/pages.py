"""Folds what comes by the page: rows of a snapshot, and entries that say back what this disk created.

Invariant: the result is that of folding them one by one, in order. Source: docs/design/040 (folding).
"""

from __future__ import annotations

from collections.abc import Sequence

from satchel.core.entries import Action, Entry
from satchel.core.ids import ROOT_NID, Nid, NodeId
from satchel.device.engine.excluding import hiding_top, is_hiding, is_out, keep_place
from satchel.device.engine.mounts import take_mount, told_as_folder
from satchel.device.engine.state import FROM_DISK, State, is_flagged
from satchel.device.index.bulk import known_remote
from satchel.device.index.left_out import hide_remote
from satchel.device.index.rows import KnownRemote, RemoteRow


def is_stated(state: State, entry: Entry) -> bool:
    """Return whether the entry says back what this link stated of its disk, as this index remembers it."""
    is_ours = _is_of_this_link(state, entry)
    return is_ours and state.sent.is_own(entry.op_id)


def is_lost(state: State, entry: Entry) -> bool:
    """Return whether this link stated it of its disk, and this index has lost that it did."""
    return _is_of_this_link(state, entry) and state.sent.was_lost(entry.op_id)


def _is_of_this_link(state: State, entry: Entry) -> bool:
    return entry.link == state.identity.link and is_flagged(entry.op_id, FROM_DISK)


def is_stated_create(state: State, entry: Entry) -> bool:
    """Return whether the entry says back that this disk has a new node."""
    return (
        entry.action == Action.CREATE
        and entry.is_live
        and entry.node_id != state.identity.unit
        and is_stated(state, entry)
    )


def parent_nid(state: State, parent_id: NodeId) -> Nid | None:
    """Return the row of a folder by its node id, None when there is none."""
    return ROOT_NID if parent_id == state.identity.unit else state.index.reader.nid_of(parent_id)


def shows_what_is_in(state: State, folder: Nid | None) -> bool:
    """Tell whether this link is told of what stands in a folder: one that it knows, and that is not left out."""
    return folder is not None and not is_out(state, folder) and (folder == ROOT_NID or state.index.is_remote(folder))


def _known(state: State, entries: Sequence[Entry]) -> dict[NodeId, KnownRemote]:
    wanted = {each: None for entry in entries for each in (entry.node_id, entry.parent_id)}
    found = known_remote(state.index, wanted)
    found[state.identity.unit] = KnownRemote(ROOT_NID, is_live=True, seq=0)
    return found


def fold_own_creates(state: State, entries: Sequence[Entry], stated: set[Nid]) -> Sequence[Entry]:
    """Fold stated creates together; `stated` gets their rows.

    Result: the entries from the first on that is no plain case; none of them is folded.
    """
    known = _known(state, entries)
    rows: list[RemoteRow] = []
    for entry in entries:
        own, home = known.get(entry.node_id), known.get(entry.parent_id)
        if own is None or own.seq >= entry.seq or home is None or not home.is_live or is_out(state, home.nid):
            break
        rows.append(RemoteRow(own.nid, None, home.nid, entry))
        known[entry.node_id] = KnownRemote(own.nid, is_live=True, seq=entry.seq)
    state.index.write_stated(rows)
    stated.update(row.nid for row in rows)
    return entries[len(rows) :]


def fold_rows(state: State, entries: Sequence[Entry], mark: int, seq: int) -> list[Nid]:
    """Fold a page of a snapshot as of `seq`; a parent that comes on a later page is a row without sides until then.

    What was dead before that place and is named has come back with its unit, whose undeletion alone has a seq.
    New rows are dirty and queued by it. Result: the others that were written, which are to be settled.
    """
    known = _known(state, entries)
    rows: list[RemoteRow] = []
    new: list[Nid] = []
    hidden: list[Nid] = []
    unit = state.identity.unit
    for told in entries:
        entry, ns = told_as_folder(told)
        if entry.node_id == unit:
            continue
        own, home = known.get(entry.node_id), known.get(entry.parent_id)
        if entry.node_id == state.unit_asked and own is not None and is_hiding(state, own.nid):
            # Its place is out of sight; here it stays where it was until it leaves. What it holds is told nowhere else.
            if hiding_top(state, own.nid) == own.nid and keep_place(state, own.nid, entry):
                hidden.append(own.nid)
            continue
        is_newer = own is not None and own.seq > entry.seq and (own.is_live or own.seq > seq)
        if is_newer or (home is not None and is_out(state, home.nid)):
            continue
        if home is None:
            home = known[entry.parent_id] = KnownRemote(state.index.add(entry.parent_id), is_live=False, seq=0)
        if not home.is_live:
            state.homeless.add(home.nid)
        if own is None:
            nid = state.index.reserve()
            new.append(nid)
            rows.append(RemoteRow(nid, entry.node_id, home.nid, entry))
        else:
            nid = own.nid
            rows.append(RemoteRow(nid, None, home.nid, entry))
        known[entry.node_id] = KnownRemote(nid, is_live=True, seq=entry.seq)
        if ns is not None or nid in state.mounts:
            take_mount(state, nid, ns)
    state.index.write_remote(rows, mark)
    state.fresh.update(new)
    return [*hidden, *(row.nid for row in rows if row.node_id is None)]


def hide_stray(state: State) -> None:
    """All was told: what stands in a folder that was not, or that is out of sight itself, is out of sight with it.

    Places in the journal stay as they are: the journal may yet tell of the folder.
    """
    for home in sorted(state.homeless):
        if not state.index.is_remote(home):
            hidden = [nid for nid in state.index.unit("r", home) if nid != home]
            hide_remote(state.index, hidden)
            if state.index.get("recovering"):
                state.index.clear_synced(hidden)
            state.touch(hidden, is_deletion=True)
    state.homeless.clear()
