"""What an own entry settles. Invariant: only the values that its operation stated of the disk become agreed on."""

from __future__ import annotations

from satchel.core.entries import Action, Entry, Kind
from satchel.core.ids import ROOT_NID, Nid
from satchel.core.trees import Item
from satchel.device.engine.state import State
from satchel.device.index.closure import Closure


def agree_own(state: State, nid: Nid, parent: Nid | None, entry: Entry) -> None:
    """Only the values that this commit stated were on the disk; the rest of the post-image may be another's.

    parent: None when its place is out of sight.
    """
    row = Closure(state.index, ()).load([nid])[0]
    synced = row.synced
    # Where the service does not tell the attributes, nothing was stated of them either.
    known = synced or row.remote
    xattrs = entry.xattrs if entry.xattrs is not None else known.xattrs if isinstance(known, Item) else b""
    bit = entry.is_executable
    stated = Item(parent or ROOT_NID, entry.name, Kind(entry.kind), entry.content, bit, xattrs)
    match entry.action:
        case Action.CREATE | Action.UNDELETE if parent is not None:
            state.index.set_synced(nid, stated)
        case Action.EDIT if synced is not None:
            state.index.set_synced(nid, synced.holding(entry.content, is_executable=bit, xattrs=xattrs))
        case Action.ATTR if synced is not None:
            state.index.set_synced(nid, synced.holding(synced.content, is_executable=bit, xattrs=xattrs))
        case Action.MOVE if synced is not None and parent is not None:
            state.index.set_synced(nid, synced.at(parent, entry.name))
        case _:
            pass
