"""Shared folders in a linked one, as the link around them and their own links tell each other.

Invariant: the link around says where each of them stands; a link of its own syncs what is in it. Files that go over the
edge between two of them are new at one and deleted at the other, and the deletion goes last (`Board.may_delete`).
Source: docs/adr/2026-11-29-shared-folders-on-a-disk.md.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from satchel.core.ids import LinkId, NamespaceId, Nid, derived_id
from satchel.core.paths import join_path, split_path
from satchel.device.disk_mount import identity_of
from satchel.device.index.mounts import MountStage, drop_mount, load_mounts, mount_states, mounts_with_rows
from satchel.device.index.store import Index
from satchel.device.index.turning import NewNode, Target, hand_over
from satchel.device.links import Link
from satchel.device.ports import EVERYTHING, ROOT_PATH, DiskPath, Hint, joined

NO_UNIT = bytes(16).hex()
HINTS_MAX = 1_000
"""With more hints than this, all of a shared folder is looked at instead."""
ASKED_ANEW_S = 5.0


@dataclass(frozen=True, slots=True)
class Mounted:
    """A shared folder that stands on this disk. path: in the linked folder. link: its own."""

    nid: Nid
    stage: MountStage
    path: DiskPath
    link: Link


class Neighbour(Protocol):
    """A link beside another: what its deletions are weighed with. For any thread."""

    @property
    def has_looked(self) -> bool:
        """True when it has seen its whole folder and nothing is waiting to be looked at."""
        ...

    @property
    def looked_s(self) -> float | None:
        """When the last look at everything began, where nothing tells it of changes; None where something does."""
        ...

    def holds_uncommitted(self, files: Collection[tuple[int, int]]) -> bool:
        """Tell whether one of these files stands there and is not on the service yet."""
        ...

    def waits_at_edge(self) -> bool:
        """Tell whether a deletion of its own waits for what another link has."""
        ...

    def hint_all(self) -> None:
        """Look at everything."""
        ...


class Outer(Protocol):
    """The link around shared folders."""

    def end_mount(self, nid: Nid) -> None:
        """All is brought away from a shared folder whose part is over."""
        ...


class Flag(Protocol):
    """Something that somebody waits for, as `asyncio.Event` is; what waits for it is the daemon's."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...

    def clear(self) -> None: ...

    async def wait(self) -> object:
        """Return when it is set."""
        ...


class Inbox:
    """The Watcher of a shared folder: the link around it has the one that watches, and puts here what concerns it."""

    def __init__(self, new_flag: Callable[[], Flag] = asyncio.Event) -> None:
        self._hints: list[Hint] = []
        self.came = new_flag()
        self._is_degraded = False
        self.status_line = ""

    @property
    def is_degraded(self) -> bool:
        return self._is_degraded

    def put(self, hint: Hint) -> None:
        """Take a hint, seen from the shared folder."""
        self._hints = [EVERYTHING] if len(self._hints) >= HINTS_MAX else [*self._hints, hint]
        self.came.set()

    def take(self) -> list[Hint]:
        """Return what came, once."""
        self.came.clear()
        hints, self._hints = self._hints, []
        return hints

    def degrade(self, *, is_degraded: bool, status_line: str) -> None:
        """Say whether changes may be missed."""
        self._is_degraded, self.status_line = is_degraded, status_line

    async def start(self) -> bool:
        """Begin. Result: whether changes are told of."""
        return not self._is_degraded

    async def next_hints(self, timeout_s: float) -> list[Hint]:
        """Wait for hints; empty at the timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.came.wait()
        except TimeoutError:
            return []
        return self.take()

    async def stop(self) -> None:
        """Nothing is held."""


class Board:
    """What a link and those of the shared folders in it know of each other. Only `may_delete` is for other threads."""

    def __init__(self, link: Link, now_s: Callable[[], float], new_flag: Callable[[], Flag] = asyncio.Event) -> None:
        self.link = link
        self.mounted: tuple[Mounted, ...] = ()
        self._new_flag = new_flag
        self.changed = new_flag()
        """Somebody has to see to what stands here; cleared by who does."""
        self.settled = new_flag()
        """The links that run are those of `mounted`."""
        self.outer: Outer | None = None
        self.inboxes: dict[LinkId, Inbox] = {}
        self.done: set[Nid] = set()
        """Shared folders that end, and whose links have brought all away."""
        self.is_whole = False
        """The link around has told, once at least, of all that stand here: one that it does not name is none."""
        self._neighbours: dict[LinkId, Neighbour] = {}
        self._is_degraded = False
        self._status_line = ""
        self._now_s = now_s
        self._asked_s: dict[LinkId, tuple[float, float]] = {}
        """When each link began to ask, and when it asked last."""

    def tell(self, mounted: tuple[Mounted, ...]) -> None:
        """These stand in the linked folder now."""
        if mounted != self.mounted:
            self.mounted = mounted
            self.settled.clear()
            self.changed.set()

    def note_whole(self) -> None:
        """What the link around tells of is all there is from now on."""
        self.is_whole = True
        self.changed.set()

    def is_done(self, nid: Nid) -> None:
        """The link of a shared folder that ends has brought all away."""
        self.done.add(nid)
        self.changed.set()

    def enter(self, link_id: LinkId, neighbour: Neighbour) -> None:
        """A link begins."""
        self._neighbours[link_id] = neighbour

    def leave(self, link_id: LinkId) -> None:
        """A link ends."""
        self._neighbours.pop(link_id, None)

    def look_outside(self) -> None:
        """Something was brought into the folder around."""
        if self.link.link_id in self._neighbours:
            self._neighbours[self.link.link_id].hint_all()

    def inbox(self, link_id: LinkId) -> Inbox:
        """Return where hints for the link of a shared folder come to."""
        if link_id not in self.inboxes:
            self.inboxes[link_id] = Inbox(self._new_flag)
            self.inboxes[link_id].degrade(is_degraded=self._is_degraded, status_line=self._status_line)
        return self.inboxes[link_id]

    # -- which links run ----------------------------------------------------------------------------------------------

    def gone(self, running: Iterable[Link]) -> list[Link]:
        """Return those that run and are to run no more."""
        wanted = {one.link for one in self.mounted}
        return [link for link in running if link not in wanted]

    def due(self, running: Iterable[Link]) -> list[Link]:
        """Return those that are to begin. running: without those that are gone."""
        known = {link.link_id for link in running}
        due = {one.link: None for one in self.mounted if one.link.link_id not in known}
        return list(due) if self.outer is not None else []

    def note_settled(self, running: Collection[Link]) -> None:
        """Say so if those run that are to run; while the link around does not, none is missed."""
        if self.outer is None or {one.link for one in self.mounted} == set(running):
            self.settled.set()

    def is_forgotten(self, link: Link) -> bool:
        """Tell whether nothing that a link knew is of use: one that only moved goes on with it."""
        is_known = self.outer is not None and self.is_whole
        return is_known and link.link_id not in {one.link.link_id for one in self.mounted}

    def links_of(self, nid: Nid) -> list[Link]:
        """Return the link of one shared folder, empty when it stands here no more."""
        return [one.link for one in self.mounted if one.nid == nid]

    def watches_anew(self) -> None:
        """The link around has just begun to watch: what changed before, nobody told."""
        for inbox in self.inboxes.values():
            inbox.put(EVERYTHING)

    # -- watching -----------------------------------------------------------------------------------------------------

    def sort_out(self, hints: Iterable[Hint]) -> list[Hint]:
        """Put hints of what is in shared folders there. Result: those for the linked folder itself."""
        own: list[Hint] = []
        for hint in hints:
            if self._passes_on(hint):
                own.append(hint)
        return own

    def _passes_on(self, hint: Hint) -> bool:
        """Tell whether the hint is the link's own as well."""
        for one in self.mounted:
            inbox = self.inbox(one.link.link_id)
            if hint.folder == one.path or hint.folder.startswith(one.path + b"/"):
                inbox.put(Hint(DiskPath(hint.folder[len(one.path) + 1 :]), hint.names, hint.is_deep))
                return False
            is_it = hint.names is not None and any(joined(hint.folder, name) == one.path for name in hint.names)
            is_above = hint.folder == ROOT_PATH or one.path.startswith(hint.folder + b"/")
            if is_it or (hint.is_deep and is_above):
                # The folder itself may be gone, or another one.
                inbox.put(EVERYTHING)
        return True

    def degrade(self, *, is_degraded: bool, status_line: str) -> None:
        """Say of all shared folders whether changes may be missed."""
        self._is_degraded, self._status_line = is_degraded, status_line
        for inbox in self.inboxes.values():
            inbox.degrade(is_degraded=is_degraded, status_line=status_line)

    # -- over the edge ------------------------------------------------------------------------------------------------

    def may_delete(self, own: LinkId, files: Collection[tuple[int, int]], *, is_wanted: bool) -> bool:
        """As `Edge.may_delete`, for the link `own`."""
        held = [one.link.link_id for one in self.mounted if one.stage is MountStage.HELD]
        now_s = self._now_s()
        begun_s, last_s = self._asked_s.get(own, (now_s, now_s))
        begun_s = now_s if now_s - last_s > ASKED_ANEW_S else begun_s
        self._asked_s[own] = (begun_s, now_s)
        for link_id in (self.link.link_id, *held):
            neighbour = self._neighbours.get(link_id)
            if link_id == own:
                continue
            if neighbour is None or not neighbour.has_looked:
                return False
            looked_s = neighbour.looked_s
            if looked_s is not None and looked_s < begun_s:
                neighbour.hint_all()
                return False
            if files and neighbour.holds_uncommitted(files) and not (is_wanted and neighbour.waits_at_edge()):
                return False
        return True


def mounted_of(index: Index, link: Link) -> tuple[Mounted, ...]:
    """Return the shared folders that stand in the linked folder, by path."""
    found: list[Mounted] = []
    mounts = load_mounts(index)
    states = mount_states(index) if mounts else {}
    ending = {mount.ns for mount in mounts.values() if mount.stage is MountStage.ENDING}
    for nid, mount in mounts.items():
        path = index.reader.path_of(nid)
        if mount.stage is MountStage.HELD and mount.ns in ending:
            # Both would have one state folder: an earlier part in the same namespace ends first.
            continue
        if mount.stage is MountStage.RELEASED or path is None or not states[nid].is_local:
            continue
        remote = join_path((*split_path(link.remote), *split_path(index.reader.remote_path_of(nid))))
        inner = Link(
            inner_link(link.link_id, mount.ns, states[nid].inode, states[nid].birth_ns),
            os.path.join(link.local, os.fsdecode(path)),
            remote,
            mount.ns.hex(),
            NO_UNIT,
            link.device_name,
            link.has_xattrs,
            link.local,
            mount.stage is MountStage.ENDING,
        )
        found.append(Mounted(nid, mount.stage, path, inner))
    leaving = [one.path for one in found if one.stage is MountStage.ENDING]
    # What leaves is out of a folder before that one is looked at as a shared one.
    waiting = {one.path for one in found if any(path.startswith(one.path + b"/") for path in leaving)}
    return tuple(sorted((one for one in found if one.path not in waiting), key=lambda one: one.path))


def released(index: Index, link: Link) -> dict[LinkId, tuple[NamespaceId, str]]:
    """Return the links of shared folders that are ordinary ones again: their namespaces, and what they are called."""
    states = mount_states(index)
    found: dict[LinkId, tuple[NamespaceId, str]] = {}
    for nid, mount in load_mounts(index).items():
        if mount.stage is MountStage.RELEASED:
            path = index.reader.path_of(nid)
            name = os.path.basename(os.fsdecode(path)) if path else os.path.basename(index.reader.remote_path_of(nid))
            found[inner_link(link.link_id, mount.ns, states[nid].inode, states[nid].birth_ns)] = mount.ns, name
    return found


def settle(index: Index, link: Link, target_of: Callable[[LinkId], Target], new_node: NewNode) -> int:
    """Before a link begins: what is another's changes hands. Nothing of the link runs. Result: from how many mounts.

    target_of: where the index of a shared folder's link is, by its id. Raises: the index's faults.
    """
    mounts = load_mounts(index)
    states = mount_states(index) if mounts else {}
    turned = 0
    for nid, mount in mounts.items():
        if mount.stage is MountStage.RELEASED:
            now = states[nid]
            target_of(inner_link(link.link_id, mount.ns, now.inode, now.birth_ns)).drop()
            drop_mount(index, nid, new_node)
    for nid in mounts_with_rows(index) if mounts else ():
        now = states[nid]
        inner = inner_link(link.link_id, mounts[nid].ns, now.inode, now.birth_ns) if now.is_local else None
        turned += hand_over(index, nid, target_of(inner) if inner is not None else None, new_node)
    return turned


def inner_link(outer: LinkId, ns: NamespaceId, inode: int, birth_ns: int) -> LinkId:
    """Return the id of the link of a shared folder: another folder at its place is another link, and begins anew."""
    return link_of_folder(outer, ns, identity_of(inode, birth_ns))


def link_of_folder(outer: LinkId, ns: NamespaceId, identity: bytes) -> LinkId:
    """As `inner_link`. identity: of the folder, as `MountedDisk` tells it as its volume's marker."""
    return LinkId(derived_id(b"mount", outer, ns, identity))
