"""Takes files from a source into an account. Invariant: nothing there is overwritten: a file of the same name that
differs stays (skip), stays beside the new one (copy), or becomes an earlier version of it (replace, when asked for).

What is there with the same bytes is left alone, so a second run goes on where the first was cut. A folder's listing is
in memory while it is filled, and the folders that are still to come; nothing else grows with the source.
"""

from __future__ import annotations

import asyncio
import datetime
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from satchel.core.conflicts import clash_names, conflicted_copy_names, free_name, is_conflicted_copy, original_name
from satchel.core.entries import Kind
from satchel.core.errors import (
    BlockMismatch,
    FileChanging,
    FileUnreadable,
    LimitExceeded,
    NameInvalid,
    NotFound,
)
from satchel.core.ids import ROOT_NODE, NamespaceId, NodeId, uuid7
from satchel.core.limits import BLOCKS_PER_COMMIT_MAX, MIB, SYMLINK_BYTES_MAX
from satchel.core.paths import join_path, name_key, split_path, validate_name, validate_place
from satchel.device.api import Api, Item
from satchel.device.carrying.reading import read_content
from satchel.device.carrying.shipping import OPS_MAX, Parcel, Shipper, Step
from satchel.device.carrying.sources import Found, Source, State
from satchel.device.ports import Clock
from satchel.device.remote import HttpRemote

Existing = Literal["skip", "copy", "replace"]
SPOOLED_BYTES_MAX = 64 * MIB
"""Of files that were fetched and wait to be sent; one longer file goes alone."""
TOLD_MAX = 1_000
MADE_BY = "import"
"""Stands for the device in the name of a conflicted copy."""
ONE_FILE = (FileChanging, FileUnreadable, LimitExceeded, NameInvalid, BlockMismatch, NotFound)
_SECOND_NS = 1_000_000_000

Shown = Callable[[str, int], None]


@dataclass(slots=True)
class Imported:
    """What a run did, or (dry) would do. same: files that were there already; versions: earlier states that came along;
    sent_bytes: of blocks that the service lacked; the lists hold paths, of the first TOLD_MAX; copied: path and its
    name there."""

    folders: int = 0
    files: int = 0
    symlinks: int = 0
    versions: int = 0
    bytes: int = 0
    same: int = 0
    replaced: int = 0
    skipped_count: int = 0
    not_taken_count: int = 0
    sent_bytes: int = 0
    is_dry: bool = False
    copied: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    not_taken: list[tuple[str, str]] = field(default_factory=list)

    def refuse(self, path: str, reason: str) -> None:
        """Note what could not be taken."""
        self.not_taken_count += 1
        if len(self.not_taken) < TOLD_MAX:
            self.not_taken.append((path, reason))

    def skip(self, path: str) -> None:
        """Note what stays as it is there."""
        self.skipped_count += 1
        if len(self.skipped) < TOLD_MAX:
            self.skipped.append(path)


@dataclass(slots=True)
class _Folder:
    """A folder there. path: there; is_new: this run makes it, so it holds nothing else; there: what it held before, by
    key, None until it is asked for; taken: keys of names that this run gave."""

    path: tuple[str, ...]
    ns: NamespaceId
    node_id: NodeId
    is_new: bool
    there: dict[str, Item] | None = None
    taken: set[str] = field(default_factory=set)

    def child(self, name: str, ns: NamespaceId, node_id: NodeId, *, is_new: bool) -> _Folder:
        return _Folder((*self.path, name), ns, node_id, is_new)


class Importer:
    """One run. spool: a folder for files that must be fetched before they can be sent."""

    def __init__(
        self,
        api: Api,
        remote: HttpRemote,
        clock: Clock,
        *,
        existing: Existing = "copy",
        is_dry: bool = False,
        shown: Shown = lambda _path, _more: None,
    ) -> None:
        self._api, self._clock, self._existing, self._shown = api, clock, existing, shown
        self._shipper = Shipper(remote, clock, shown)
        self.told = Imported(is_dry=is_dry)
        self._parcels: list[Parcel] = []
        self._blocks = 0
        self._spooled: list[Path] = []
        self._spooled_bytes = 0
        self._date = datetime.datetime.fromtimestamp(clock.now_ns() / _SECOND_NS).date().isoformat()

    async def run(self, source: Source, target: str) -> Imported:
        """Take all that the source has into the folder `target`, which is made where it is not there.

        Raises: as `Source.entries` and `Shipper.ship`; what was taken until then stays, and another run goes on.
        """
        folders: dict[tuple[str, ...], _Folder] = {(): await self._top(target)}
        done: tuple[str, ...] | None = None
        with tempfile.TemporaryDirectory(prefix="satchel-import-") as spool:
            async for found in source.entries():
                above = found.names[:-1]
                if done is not None and above != done:
                    # What one folder holds comes together: it is done.
                    folders.pop(done, None)
                done = above
                folder = folders.get(above)
                if folder is None:
                    # Its folder was not taken, and that was told.
                    continue
                path = join_path((*folder.path, *found.names[-1:]))
                try:
                    made = await self._entry(source, found, folder, path, Path(spool))
                except ONE_FILE as fault:
                    self.told.refuse(path, str(fault))
                    continue
                if made is not None:
                    folders[found.names] = made
                await self._flush_full()
            await self._flush()
        return self.told

    async def _top(self, target: str) -> _Folder:
        account = await self._api.account()
        folder = _Folder((), NamespaceId(bytes.fromhex(account.root_ns)), ROOT_NODE, is_new=False)
        for name in split_path(target):
            there = await self._there(folder)
            item = there.get(name_key(name))
            if item is not None and not item.is_folder:
                raise FileUnreadable(f"{target} leads through a file.", path=target, reason="no folder")
            folder = self._known(folder, item) if item is not None else self._made_folder(folder, name)
        return folder

    async def _there(self, folder: _Folder) -> dict[str, Item]:
        if folder.there is None:
            folder.there = {}
            if not folder.is_new:
                async for item in self._api.list_folder(join_path(folder.path)):
                    folder.there[name_key(item.name)] = item
        return folder.there

    async def _entry(self, source: Source, found: Found, folder: _Folder, path: str, spool: Path) -> _Folder | None:
        """Take one thing; return what a folder became there."""
        if found.trouble:
            self.told.refuse(path, found.trouble)
            return None
        name = found.names[-1]
        validate_name(name)
        validate_place((*folder.path, name))
        match found.kind:
            case "folder":
                return await self._folder(found, folder, name, path)
            case "symlink":
                await self._symlink(found, folder, name, path)
            case "file":
                await self._file(source, found, folder, path, spool)
            case "other":
                self.told.refuse(path, "neither file, folder nor symlink")
        return None

    async def _folder(self, found: Found, folder: _Folder, name: str, path: str) -> _Folder | None:
        key = name_key(name)
        item = (await self._there(folder)).get(key)
        if key not in folder.taken:
            if item is None:
                return self._made_folder(folder, name, found.xattrs)
            if item.is_folder:
                folder.taken.add(key)
                return self._known(folder, item)
        if self._existing == "skip":
            self.told.skip(path)
            return None
        name = await self._clash(folder, name, path, is_folder=True)
        return self._made_folder(folder, name, found.xattrs)

    def _known(self, folder: _Folder, item: Item) -> _Folder:
        if item.mounts:
            return folder.child(item.name, NamespaceId(bytes.fromhex(item.mounts)), ROOT_NODE, is_new=False)
        return folder.child(item.name, folder.ns, NodeId(bytes.fromhex(item.id)), is_new=False)

    def _made_folder(self, folder: _Folder, name: str, xattrs: bytes | None = None) -> _Folder:
        folder.taken.add(name_key(name))
        made = folder.child(name, folder.ns, self._new_id(), is_new=True)
        self.told.folders += 1
        told = join_path(made.path)
        self._add(Parcel(told, folder.ns, made.node_id, folder.node_id, name, Kind.FOLDER, xattrs=xattrs))
        return made

    async def _symlink(self, found: Found, folder: _Folder, name: str, path: str) -> None:
        try:
            size = len(found.target.encode())
        except UnicodeEncodeError:
            raise NameInvalid("A symlink's target is not Unicode text.", name=name, reason="surrogate") from None
        if not 0 < size <= SYMLINK_BYTES_MAX:
            raise LimitExceeded(
                "A symlink's target is too long.", limit="SYMLINK_BYTES_MAX", maximum=SYMLINK_BYTES_MAX, actual=size
            )
        item = (await self._there(folder)).get(name_key(name))
        if item is not None and item.kind == "symlink" and item.target == found.target:
            self.told.same += 1
            return
        if item is not None or name_key(name) in folder.taken:
            if self._existing == "skip":
                self.told.skip(path)
                return
            name = await self._clash(folder, name, path, is_folder=False)
        folder.taken.add(name_key(name))
        self.told.symlinks += 1
        self._add(Parcel(path, folder.ns, self._new_id(), folder.node_id, name, Kind.SYMLINK, target=found.target))

    async def _file(self, source: Source, found: Found, folder: _Folder, path: str, spool: Path) -> None:
        """Take a file; what is there under its name decides how."""
        name, newest = found.names[-1], found.states[-1]
        there = await self._there(folder)
        item = there.get(name_key(name)) if name_key(name) not in folder.taken else None
        is_free = item is None and name_key(name) not in folder.taken
        if item is not None and item.kind == "file" and _is_surely(item, newest):
            self.told.same += 1
            self._shown(path, newest.size)
            return
        if self.told.is_dry and (newest.local is None or is_free):
            self._foreseen(folder, name, path, newest, is_free=is_free)
            return
        state = await self._local(source, found, spool)
        assert state.local is not None
        content = await asyncio.to_thread(read_content, state.local, state)
        hashed = content.content_hash.hex()
        if item is not None and item.kind == "file" and item.content_hash == hashed:
            self.told.same += 1
            self._shown(path, newest.size)
            return
        base, earlier = _gone_on(item, found.states)
        node_id, base_rev = self._new_id(), 0
        if item is not None and base:
            # An earlier run was cut between two versions: it goes on from the one that is there.
            node_id, base_rev = NodeId(bytes.fromhex(item.id)), item.rev
        elif item is not None and item.kind == "file" and self._existing == "replace":
            node_id, base_rev, earlier = NodeId(bytes.fromhex(item.id)), item.rev, ()
            self.told.replaced += 1
        elif not is_free:
            if _has_copy(there, name, hashed):
                self.told.same += 1
                return
            if self._existing == "skip":
                self.told.skip(path)
                return
            name = await self._copy_name(folder, name, path)
        folder.taken.add(name_key(name))
        steps = [*[await self._step(one) for one in earlier], Step(state, content, state.local)]
        self.told.files += 1
        self.told.bytes += content.size
        self.told.versions += len(earlier)
        own = (path, folder.ns, node_id, folder.node_id, name, Kind.FILE, steps)
        self._add(Parcel(*own, base_rev=base_rev, xattrs=found.xattrs))

    def _foreseen(self, folder: _Folder, name: str, path: str, state: State, *, is_free: bool) -> None:
        """Count a file that would have to be fetched to be compared."""
        if not is_free and self._existing == "skip":
            self.told.skip(path)
            return
        folder.taken.add(name_key(name))
        self.told.files += 1
        self.told.bytes += max(0, state.size)
        if not is_free and len(self.told.copied) < TOLD_MAX and self._existing == "copy":
            self.told.copied.append((path, ""))

    async def _step(self, state: State) -> Step:
        assert state.local is not None, "versions come from this machine alone"
        return Step(state, await asyncio.to_thread(read_content, state.local, state), state.local)

    async def _local(self, source: Source, found: Found, spool: Path) -> State:
        """Return the newest state with its bytes on this machine."""
        newest = found.states[-1]
        if newest.local is not None:
            return newest
        if self._spooled and self._spooled_bytes + max(0, newest.size) > SPOOLED_BYTES_MAX:
            await self._flush()
        held = spool / self._new_id().hex()
        with _new_file(held) as file:
            self._spooled.append(held)
            await source.fetch(found, file)
            size = file.tell()
        self._spooled_bytes += size
        return State(size, newest.mtime_ns, newest.is_executable, newest.content, held)

    async def _copy_name(self, folder: _Folder, name: str, path: str) -> str:
        taken = folder.taken.union(await self._there(folder))
        made = free_name(conflicted_copy_names(original_name(name), MADE_BY, self._date), taken)
        if len(self.told.copied) < TOLD_MAX:
            self.told.copied.append((path, made))
        return made

    async def _clash(self, folder: _Folder, name: str, path: str, *, is_folder: bool) -> str:
        taken = folder.taken.union(await self._there(folder))
        made = free_name(clash_names(name, "kind", is_folder), taken)
        if len(self.told.copied) < TOLD_MAX:
            self.told.copied.append((path, made))
        return made

    def _new_id(self) -> NodeId:
        return NodeId(uuid7(self._clock.now_ns() // 1_000_000, self._clock.random(10)))

    def _add(self, parcel: Parcel) -> None:
        self._parcels.append(parcel)
        self._blocks += parcel.blocks

    async def _flush_full(self) -> None:
        is_full = len(self._parcels) >= OPS_MAX or self._blocks >= BLOCKS_PER_COMMIT_MAX
        if is_full or self._spooled_bytes >= SPOOLED_BYTES_MAX:
            await self._flush()

    async def _flush(self) -> None:
        """Send what waits, and let go of what was fetched for it."""
        parcels, self._parcels, self._blocks = self._parcels, [], 0
        if parcels and not self.told.is_dry:
            shipped = await self._shipper.ship(parcels)
            self.told.sent_bytes += shipped.sent_bytes
            for parcel, reason in shipped.failed:
                self._take_back(parcel)
                self.told.refuse(parcel.told, reason)
        for held in self._spooled:
            held.unlink(missing_ok=True)
        self._spooled, self._spooled_bytes = [], 0

    def _take_back(self, parcel: Parcel) -> None:
        match parcel.kind:
            case Kind.FOLDER:
                self.told.folders -= 1
            case Kind.SYMLINK:
                self.told.symlinks -= 1
            case _:
                self.told.files -= 1
                self.told.bytes -= parcel.steps[-1].content.size
                self.told.versions -= len(parcel.steps) - 1


def _new_file(path: Path) -> BinaryIO:
    return open(path, "xb")


def _is_surely(item: Item, state: State) -> bool:
    """Tell whether a file that is there is that state, as far as it can be told without reading it.

    What must be fetched counts as the same when size and second agree; what is here is always compared by its hash.
    """
    if state.content:
        return item.content_hash == state.content
    is_second = item.mtime_ns // _SECOND_NS == state.mtime_ns // _SECOND_NS
    return state.local is None and item.size == state.size and is_second


def _gone_on(item: Item | None, states: tuple[State, ...]) -> tuple[bool, tuple[State, ...]]:
    """Return whether what is there is one of the earlier states, and those after it that come before the newest."""
    earlier = states[:-1]
    if item is not None and item.kind == "file":
        for at in range(len(earlier) - 1, -1, -1):
            if (earlier[at].content, earlier[at].mtime_ns) == (item.content_hash, item.mtime_ns):
                return True, earlier[at + 1 :]
    return False, earlier


def _has_copy(there: dict[str, Item], name: str, content: str) -> bool:
    """Tell whether an earlier run left this content there as a conflicted copy."""
    return any(
        item.content_hash == content and is_conflicted_copy(item.name) and original_name(item.name) == name
        for item in there.values()
    )
