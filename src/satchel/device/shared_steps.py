"""What a link does before and after each of its steps because of shared folders: in it, or because it is one.

Invariant: every method but `begin` and `carry` is called where the engine is stepped. What has to be awaited, and how a
link ends, is the caller's. Source: docs/adr/2026-11-29-shared-folders-on-a-disk.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from satchel.core.errors import Fault, RootMissing
from satchel.core.ids import Nid
from satchel.device.engine import Engine
from satchel.device.engine.state import Phase
from satchel.device.index.mounts import Carried, drop_carried, load_carried, put_carried
from satchel.device.index.store import Index
from satchel.device.links import Link
from satchel.device.mounted import Board, Mounted, link_of_folder, mounted_of
from satchel.device.neighbours import EdgeOf
from satchel.device.ports import FileSystem, Volume
from satchel.device.unsynced import carry, unnoted


@dataclass(frozen=True, slots=True)
class Seen:
    """What follows from a step. is_leaving: the link ends now, with the fault if there is one. carried: to be brought
    into the person's own files. ended: shared folders whose link is this one and that are over."""

    is_leaving: bool = False
    fault: Fault | None = None
    carried: tuple[Carried, ...] = ()
    ended: tuple[Nid, ...] = ()


class SharedSteps:
    """Of one run of a link. is_carrying: something is on its way already."""

    def __init__(self, engine: Engine, index: Index, link: Link, board: Board, edge: EdgeOf) -> None:
        self._engine = engine
        self._index = index
        self._link = link
        self._board = board
        self._edge = edge
        self._told = board.mounted
        self.is_carrying = False
        self._has_old = False
        """There may be something to bring over, whatever the rights are now: of the last life, or of a moment ago."""

    async def begin(self, fs: FileSystem) -> Volume:
        """The folder as it is at the start, on its disk. Raises: RootMissing when it is another one than it was, or for
        a shared folder than it was when the link around told of it: somebody moved it away meanwhile."""
        volume = await fs.check_root()
        marker, filesystem = self._index.get("volume_marker"), self._index.get("volume_filesystem")
        known = Volume(marker, filesystem) if isinstance(marker, bytes) and isinstance(filesystem, bytes) else None
        is_it = known is None or known == volume
        if self._link.outer:
            is_it = link_of_folder(self._board.link.link_id, self._engine.state.identity.ns, volume.marker) == (
                self._link.link_id
            )
        if not is_it:
            raise RootMissing(
                "The linked folder is another volume now.", path=self._link.local, reason="volume_changed"
            )
        if known != volume:
            with self._index.durable():
                self._index.put("volume_marker", volume.marker)
                self._index.put("volume_filesystem", volume.filesystem)
        self._edge.volume = volume
        if self._link.outer:
            noted = load_carried(self._index)
            found = await unnoted(fs, self._engine.state.identity.ns, {one.trashed for one in noted})
            if found:
                # The index was lost that knew of them.
                with self._index.transaction():
                    for one in found:
                        put_carried(self._index, one)
            self._has_old = bool(noted or found)
        return volume

    def before(self) -> None:
        """A step begins."""
        has_edge = self._link.outer or self._engine.has_mounts
        self._engine.state.edge = self._edge if has_edge else None

    def news(self) -> tuple[Mounted, ...] | None:
        """Where shared folders stand, to be told when that is new. While rows are to change hands no link begins."""
        if self._link.outer or not (self._engine.has_mounts or self._told):
            return None
        found = mounted_of(self._index, self._link)
        if self._engine.state.is_turning:
            # One that ends, or has moved, is told as it was: left out, it would be forgotten with all that it knows.
            standing = {(one.nid, one.link.link_id) for one in found}
            found = tuple(one for one in self._told if (one.nid, one.link.link_id) in standing)
        if found == self._told:
            return None
        self._told = found
        return found

    @property
    def is_whole(self) -> bool:
        """True when what `news` told is all that stands here: the disk was looked at, and the service was asked."""
        state = self._engine.state
        is_known = state.scanned_once and state.phase is Phase.LIVE and state.position is not None
        return not self._link.outer and is_known and not state.is_turning

    def after(self) -> Seen:
        """What the engine cannot do by itself."""
        state = self._engine.state
        if not self._link.outer:
            return Seen(state.is_turning)
        if state.halted:
            # Where it stands may be another place by now, or no folder: a start finds out.
            return Seen(True, RootMissing(state.halted, path=self._link.local, reason="halted"))
        is_looked_for = (state.is_view_only or self._has_old) and not self.is_carrying
        carried = self.due() if is_looked_for else ()
        self._has_old = state.is_view_only or (self._has_old and (self.is_carrying or self._has_some))
        ended: tuple[Nid, ...] = ()
        if self._link.is_ending and self._has_ended():
            ended = tuple(one.nid for one in self._board.mounted if one.link.link_id == self._link.link_id)
        return Seen(state.is_turning, None, carried, ended)

    @property
    def _has_some(self) -> bool:
        """True while something is noted, or is to be."""
        return bool(self._engine.state.carrying or load_carried(self._index))

    def due(self) -> tuple[Carried, ...]:
        """Return what is in the trash, or never left, and is to be brought over."""
        busy = self._engine.state.busy
        return tuple(one for one in load_carried(self._index) if one.nid not in busy)

    def _has_ended(self) -> bool:
        return self._engine.is_settled and self._engine.is_empty and not load_carried(self._index)

    async def carry(self, outer: FileSystem, carried: Sequence[Carried]) -> list[str]:
        """Bring these into the person's own files; `arrived` is told of the result. outer: the folder around.

        Raises: StorageFull, StorageFailed, RootMissing.
        """
        shared = frozenset(one.path for one in self._board.mounted)
        return await carry(outer, os.path.basename(self._link.local), carried, shared)

    def arrived(self, trashed: Sequence[str], now_ms: int) -> None:
        """These have arrived, or were not there."""
        with self._index.transaction():
            for name in trashed:
                drop_carried(self._index, name)
            self._index.put("carried_ms", now_ms)
