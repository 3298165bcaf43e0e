"""What linking two folders would do, told before it is done. Invariant: it only looks; neither side is written to.

First contact is a union merge, so a path has three outcomes: it goes up, it comes down, or both sides have it. Then
equal content is nothing to do, and different content is kept twice, once as a conflicted copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from satchel.cli import output
from satchel.core.entries import Entry, Kind
from satchel.core.hashing import block_hash, content_hash
from satchel.core.ids import ROOT_NODE, ContentHash, NamespaceId, NodeId
from satchel.core.limits import DEPTH_MAX, SINGLE_BLOCK_BYTES_MAX
from satchel.core.messages import SnapshotRequest
from satchel.core.paths import name_key
from satchel.device.content_hashing import content_of
from satchel.device.ignore import is_built_in
from satchel.device.ports import Remote

Place = tuple[str, ...]
"""The keys of the names from the linked folder down."""


class Foreseen(msgspec.Struct, frozen=True):
    """What a link would do. Counts are of files and symlinks; conflicts: examples, at most ten."""

    local: str
    remote: str
    up: int
    up_bytes: int
    down: int
    down_bytes: int
    equal: int
    differing: int
    conflicts: tuple[str, ...] = ()

    @property
    def is_trivial(self) -> bool:
        """Nothing exists twice, so there is nothing that a person would want to look at first."""
        return not self.differing and not (self.up and self.down)

    def text(self) -> str:
        """Return it for people."""
        lines = [
            f"{self.local}  <->  {self.remote}",
            f"  {self.up} up ({output.size_text(self.up_bytes)})",
            f"  {self.down} down ({output.size_text(self.down_bytes)})",
            f"  {self.equal} equal on both sides, {self.differing} different under one name; nothing is deleted",
        ]
        lines += [f"  kept twice: {path}" for path in self.conflicts]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Here:
    path: bytes
    size: int
    is_file: bool


async def foresee(local: str, remote_path: str, remote: Remote, unit: tuple[NamespaceId, NodeId] | None) -> Foreseen:
    """Compare a local folder (absolute, may be missing) with a remote one (None: it does not exist yet).

    A file that goes or cannot be read meanwhile is in no count: the scan will look at it anew.
    """
    here = dict(_local_files(os.fsencode(local), b"", ()))
    there = await _remote_files(remote, *unit) if unit is not None else {}
    both = here.keys() & there.keys()
    differing, unread = _compared(os.fsencode(local), {place: (here[place], there[place]) for place in sorted(both)})
    up, down = here.keys() - both, there.keys() - both
    return Foreseen(
        local=local,
        remote=remote_path,
        up=len(up),
        up_bytes=sum(here[place].size for place in up),
        down=len(down),
        down_bytes=sum(there[place].size for place in down),
        equal=len(both) - len(differing) - unread,
        differing=len(differing),
        conflicts=tuple(os.fsdecode(here[place].path) for place in differing[:10]),
    )


def _compared(root: bytes, both: Mapping[Place, tuple[_Here, Entry]]) -> tuple[list[Place], int]:
    """Return the places whose contents differ, and how many could not be read."""
    differing, unread = [], 0
    for place, (here, there) in both.items():
        try:
            if not _is_equal(root, here, there):
                differing.append(place)
        except OSError:
            unread += 1
    return differing, unread


def _is_equal(root: bytes, here: _Here, there: Entry) -> bool:
    if here.is_file != (there.kind == Kind.FILE):
        return False
    full = os.path.join(root, here.path)
    if not here.is_file:
        return os.readlink(full) == there.content
    return here.size == there.size and _content_of(full, here.size) == there.content


def _content_of(path: bytes, size: int) -> ContentHash:
    """Return a file's content hash, as the scanner would."""
    if not 0 < size <= SINGLE_BLOCK_BYTES_MAX:
        with open(path, "rb") as file:
            return content_of(file)
    # Most files are of one block, and there are many of them: one read, one hash.
    with open(path, "rb", buffering=0) as file:
        return content_hash((block_hash(file.read(size)),))


def _local_files(root: bytes, below: bytes, place: Place) -> Iterator[tuple[Place, _Here]]:
    """Yield the files and symlinks that a scan would sync; what cannot be read is left out here and held there."""
    try:
        listed = list(os.scandir(os.path.join(root, below) if below else root))
    except OSError:
        return
    for found in listed:
        is_folder = found.is_dir(follow_symlinks=False)
        if is_built_in(found.name, is_folder=is_folder) or not _is_text(found.name):
            continue
        path, key = os.path.join(below, found.name), (*place, name_key(os.fsdecode(found.name)))
        if is_folder:
            yield from _local_files(root, path, key)
        elif found.is_file(follow_symlinks=False) or found.is_symlink():
            stat = found.stat(follow_symlinks=False)
            yield key, _Here(path, stat.st_size, is_file=not found.is_symlink())


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


async def _remote_files(remote: Remote, ns: NamespaceId, unit: NodeId) -> dict[Place, Entry]:
    """Return the files and symlinks below a remote folder, by place."""
    entries: dict[NodeId, Entry] = {}
    after, seq, has_more = ROOT_NODE, -1, True
    while has_more:
        page = await remote.snapshot(SnapshotRequest(ns, unit, after, seq))
        entries.update((entry.node_id, entry) for entry in page.entries if entry.is_live)
        seq, has_more = page.seq, page.has_more
        after = page.entries[-1].node_id if page.entries else after
    places: dict[NodeId, Place | None] = {unit: ()}
    found = {
        _place_of(entry, entries, places): entry
        for entry in entries.values()
        if entry.kind in (Kind.FILE, Kind.SYMLINK) and entry.node_id != unit
    }
    return {place: entry for place, entry in found.items() if place is not None}


def _place_of(entry: Entry, entries: Mapping[NodeId, Entry], places: dict[NodeId, Place | None]) -> Place | None:
    """Return an entry's place, None when no chain of parents leads up from it; notes those on the way in `places`."""
    chain = [entry]
    while chain[-1].parent_id not in places:
        parent = entries.get(chain[-1].parent_id)
        # The server is not trusted with a tree: a chain that is too long to be one is none.
        if parent is None or len(chain) > DEPTH_MAX:
            break
        chain.append(parent)
    for one in reversed(chain):
        above = places.get(one.parent_id)
        places[one.node_id] = None if above is None else (*above, name_key(one.name))
    return places[entry.node_id]
