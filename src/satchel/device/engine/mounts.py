"""Shared folders in this link's tree: each is a leaf here, and what is below it is another link's.

Invariant: nothing below a mount is ever planned by this engine, and a mount that is over is not touched before its own
link has brought away what this disk alone holds of it. What has to change hands is left to the next start of the link,
which is near (`is_turning`): there nothing is in flight. Source: docs/design/085-shared-folders.md, the second section.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec.structs import replace as with_fields

from satchel.core.entries import Entry, Kind
from satchel.core.ids import ID_BYTES, NamespaceId, Nid
from satchel.core.operations import CommitDelete
from satchel.core.trees import Item
from satchel.device.engine.results import fail_later
from satchel.device.engine.state import Job, Phase, State
from satchel.device.index.mounts import (
    Mount,
    MountStage,
    drop_mount,
    load_mounts,
    mount_states,
    mounts_with_rows,
    put_mount,
)
from satchel.device.ports import EVERYTHING

REFUSED_SHOWN_MS = 24 * 3_600_000
"""So long status says that a shared folder is not deleted by deleting it."""
PUT_BACK_WAIT_S = 0.05


def note_mounts(state: State) -> None:
    """At a start: what is known of mounts. One that ends stays as it is until its own link is done with it."""
    state.mounts = load_mounts(state.index)
    state.snapshot_busy |= {nid for nid, mount in state.mounts.items() if mount.stage is MountStage.ENDING}


def told_as_folder(entry: Entry) -> tuple[Entry, NamespaceId | None]:
    """Return an entry as this tree has it, and the namespace where it tells of a mount: that is a folder here."""
    if entry.kind != Kind.MOUNT:
        return entry, None
    return with_fields(entry, kind=int(Kind.FOLDER), content=b""), NamespaceId(entry.content)


def take_mount(state: State, nid: Nid, ns: NamespaceId | None) -> None:
    """The service tells of a live node. ns: the shared namespace that it is a mount of, None for any other node."""
    known = state.mounts.get(nid)
    if ns is None:
        if known is not None and known.stage is MountStage.HELD:
            _set(state, nid, replace(known, stage=MountStage.RELEASED))
    elif known is None or known.ns != ns or known.stage is MountStage.RELEASED:
        _set(state, nid, Mount(ns, MountStage.HELD))


def _set(state: State, nid: Nid, mount: Mount) -> None:
    state.mounts[nid] = mount
    put_mount(state.index, nid, mount)


def weigh_mounts(state: State) -> None:
    """See what became of the mounts: before anything is planned, and before what was planned goes out."""
    if not state.mounts:
        return
    states = mount_states(state.index)
    for nid, mount in list(state.mounts.items()):
        now = states[nid]
        if mount.stage is MountStage.ENDING and not now.is_local:
            end_mount(state, nid)
        if mount.stage is not MountStage.HELD:
            continue
        if now.is_remote and now.is_synced and not now.is_local and nid not in state.left:
            _refuse(state, nid, mount)
        elif not now.is_remote and state.phase is Phase.LIVE and state.position is not None:
            is_over = now.is_local and now.is_synced
            _set(state, nid, replace(mount, stage=MountStage.ENDING if is_over else MountStage.RELEASED))
            if is_over:
                _bar(state, nid)
    is_free = any(mount.stage is MountStage.RELEASED for mount in state.mounts.values())
    state.is_turning = is_free or bool(mounts_with_rows(state.index))


def _refuse(state: State, nid: Nid, mount: Mount) -> None:
    """The folder was deleted here. That ends no part in it: what the service has counts as new, and so comes back.

    A file of this index is not meant: those below are the child link's, which begins anew with the new folder.
    """
    state.index.clear_synced([nid])
    _set(state, nid, replace(mount, refused_ms=state.now.wall_ns // 1_000_000))
    state.touch([nid])


def _bar(state: State, nid: Nid) -> None:
    state.snapshot_busy.add(nid)
    for group in (state.fresh, state.deleting, state.waiting, state.held_back):
        group.discard(nid)
    for stalled in state.stalled.values():
        stalled.discard(nid)


def end_mount(state: State, nid: Nid) -> None:
    """Its own link is done: what this disk alone had is elsewhere, and the rest left the folder. Idempotent."""
    mount = state.mounts.get(nid)
    if mount is None or mount.stage is not MountStage.ENDING:
        return
    state.snapshot_busy.discard(nid)
    if state.index.is_remote(nid):
        # The part began anew meanwhile.
        _set(state, nid, replace(mount, stage=MountStage.HELD))
    else:
        row = state.index.row(nid)
        if row is not None and row.synced is not None and isinstance(row.local, Item):
            # Somebody moved the folder while its part ended: it goes from where it stands.
            state.index.set_synced(nid, row.synced.at(*row.local.place))
        del state.mounts[nid]
        drop_mount(state.index, nid, lambda: state.clock.random(ID_BYTES))
        # What somebody put there since is the person's own, and is looked at like any folder.
        state.hints.append(EVERYTHING)
    if state.index.exists(nid):
        state.touch([nid])


def put_back(state: State, job: Job) -> None:
    """The service deletes no folder that holds a shared one: what it has comes back to this disk."""
    assert isinstance(job.op, CommitDelete)
    state.index.clear_synced(job.nids)
    reason = "it holds a shared folder, which is left with 'satchel share leave' and not deleted"
    fail_later(state, job, code="holds_mount", reason=reason, wait_s=PUT_BACK_WAIT_S)


def holds_mount(state: State, nid: Nid) -> bool:
    """Tell whether the row is a mount that stands on this disk, or one stands below it."""
    if not state.mounts:
        return False
    return any(each in state.mounts for each in state.index.unit("l", nid))


def refusals(state: State) -> list[str]:
    """Return a line for each shared folder whose deletion was refused lately."""
    since_ms = state.now.wall_ns // 1_000_000 - REFUSED_SHOWN_MS
    told: list[str] = []
    for nid, mount in state.mounts.items():
        if mount.refused_ms > since_ms:
            path = state.index.reader.remote_path_of(nid).lstrip("/")
            told.append(
                f"{path}: a shared folder does not go by deleting it, so it came back."
                f" To leave it for good: satchel share leave 'satchel:/{path}'"
            )
    return told
