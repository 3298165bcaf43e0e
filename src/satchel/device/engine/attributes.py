"""The executable bit and the extended attributes of what stands on the disk already: set, and written down.

Invariant: attributes that the disk does not show, or does not take, count as those that were agreed on: unknown never
means removed. Source: docs/design/046 (I5), docs/adr/2026-11-29-extended-attributes.md.
"""

from __future__ import annotations

from msgspec.structs import replace

from satchel.core.ids import Nid
from satchel.core.operations import SetAttributes
from satchel.core.trees import Item, Side
from satchel.core.xattrs import is_packed
from satchel.device.engine.acting import note_set
from satchel.device.engine.results import fail_until_scanned
from satchel.device.engine.state import Job, State
from satchel.device.index.xattr_notes import assume_xattrs, drop_note, is_unheld
from satchel.device.ports import Stat
from satchel.device.tasks import SetAttrs


def set_task(state: State, job: Job, op: SetAttributes) -> SetAttrs | None:
    """Return the applier's task; None when the job failed: the row stands nowhere."""
    index = state.index
    local, path = index.reader.local(op.nid), index.reader.path_of(op.nid)
    if local is None or path is None:
        fail_until_scanned(state, job)
        return None
    expected = local.stat
    if is_unheld(index.connection, op.nid):
        expected = replace(expected, xattrs=None)
    return SetAttrs(op.nid, path, op.is_executable, expected, op.xattrs)


def write_set(state: State, job: Job, op: SetAttributes, task: SetAttrs, stat: Stat) -> None:
    """Write what the disk holds now."""
    index = state.index
    row = index.row(op.nid)
    if row is None or not isinstance(row.local, Item):
        return
    note_set(state, row.node_id, task)
    index.set_local(op.nid, row.local.parent, row.local.name, row.local.content, stat)
    given(state, op.nid, op.xattrs, stat)
    if not job.is_stale and row.synced is not None:
        attributes = (op.is_executable, op.xattrs)
        index.set_synced(op.nid, settled_attributes(row.synced, attributes, job.rows[op.nid].remote))


def given(state: State, nid: Nid, xattrs: bytes, stat: Stat) -> None:
    """Our own write gave the row these attributes. stat: as it was written down."""
    if not state.identity.has_xattrs:
        return
    if not is_packed(stat.xattrs):
        assume_xattrs(state.index.connection, nid, xattrs)
    elif is_unheld(state.index.connection, nid):
        # What the disk shows counts again.
        drop_note(state.index.connection, nid)
        assume_xattrs(state.index.connection, nid, stat.xattrs)


def settled_attributes(synced: Item, made: tuple[bool, bytes], planned: Side) -> Item:
    """Return what is agreed once the disk was given the attributes `made`: those that the service had in the plan."""
    bit, xattrs = synced.attributes
    if isinstance(planned, Item):
        bit = made[0] if planned.is_executable == made[0] else bit
        xattrs = made[1] if planned.xattrs == made[1] else xattrs
    return synced.holding(synced.content, is_executable=bit, xattrs=xattrs)
