"""What a disk holds after a power cut: a journal of changes, and the images that some of them leave.

Invariant: what was fsynced before the cut is in each image. The model is that of the journalling file systems Satchel
runs on: one rename is one step even between two folders; a folder's steps reach the disk in their order; fsync of a
folder takes along the earlier steps of the other folders that its own steps touch; a file's bytes, mtime and bits are
safe only by fsync of the file, and a new name only by fsync of its folder.
"""

from __future__ import annotations

import random
import stat as modes
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

SECTOR_BYTES = 512


@dataclass(slots=True)
class Node:
    """A file, folder or symlink. number: the inode number that stat tells."""

    key: int
    number: int
    mode: int
    mtime_ns: int
    ctime_ns: int
    data: bytearray = field(default_factory=bytearray)
    target: bytes = b""
    entries: dict[bytes, Node] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        return modes.S_ISDIR(self.mode)


@dataclass(frozen=True, slots=True)
class Made:
    """A new inode, named by a later step. key: of the running volume."""

    key: int
    number: int
    mode: int
    target: bytes
    now_ns: int


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes written; data None: cut or grown to `offset`."""

    key: int
    offset: int
    data: bytes | None
    now_ns: int


@dataclass(frozen=True, slots=True)
class Marked:
    """mode or mtime changed."""

    key: int
    mode: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Named:
    """One step of names, all or nothing: (folder, name, what it names then or 0)."""

    changes: tuple[tuple[int, bytes, int], ...]


@dataclass(frozen=True, slots=True)
class Synced:
    """fsync of a file or folder. label: for people."""

    key: int
    label: str


Event = Made | Wrote | Marked | Named | Synced


@dataclass(frozen=True, slots=True)
class Kept:
    """An inode as it is on the disk."""

    number: int
    mode: int
    mtime_ns: int
    ctime_ns: int
    data: bytes
    target: bytes
    entries: tuple[tuple[bytes, int], ...]


Image = dict[int, Kept]
"""key -> inode; whatever nothing names is not there for anyone."""


def frozen(top: Node) -> Image:
    """Return all that is below `top` as it is now."""
    found: Image = {}
    waiting = [top]
    for node in waiting:
        names = tuple((name, below.key) for name, below in node.entries.items())
        found[node.key] = Kept(
            node.number, node.mode, node.mtime_ns, node.ctime_ns, bytes(node.data), node.target, names
        )
        waiting += [below for below in node.entries.values() if below.key not in found]
    return found


class _Disk:
    """Replays a journal and knows what of it is safe."""

    def __init__(self, base: Image) -> None:
        self.kept = dict(base)
        self._writes: dict[int, list[Wrote | Marked]] = {}
        self._steps: list[Named] = []

    def take(self, event: Event) -> None:
        match event:
            case Made(key, number, mode, target, now_ns):
                self.kept[key] = Kept(number, mode, now_ns, now_ns, b"", target, ())
            case Wrote(key) | Marked(key):
                self._writes.setdefault(key, []).append(event)
            case Named():
                self._steps.append(event)
            case Synced(key):
                self._sync(key)

    def _sync(self, key: int) -> None:
        for event in self._writes.pop(key, []):
            self._save(event)
        needed = {key}
        taken: set[int] = set()
        for at in range(len(self._steps) - 1, -1, -1):
            touched = {folder for folder, _, _ in self._steps[at].changes}
            if touched & needed:
                needed |= touched
                taken.add(at)
        for at in sorted(taken):
            self._name(self._steps[at])
        self._steps = [step for at, step in enumerate(self._steps) if at not in taken]

    def _save(self, event: Wrote | Marked, rng: random.Random | None = None) -> None:
        old = self.kept.get(event.key)
        if old is None:
            return
        if isinstance(event, Marked):
            self.kept[event.key] = replace(old, mode=event.mode, mtime_ns=event.mtime_ns)
            return
        data = written(old.data, event, rng)
        self.kept[event.key] = replace(old, data=data, mtime_ns=event.now_ns, ctime_ns=event.now_ns)

    def _name(self, step: Named) -> None:
        for folder, name, key in step.changes:
            old = self.kept[folder]
            entries = [(other, below) for other, below in old.entries if other != name]
            if key:
                entries.append((name, key))
            self.kept[folder] = replace(old, entries=tuple(entries))

    def keep_some(self, rng: random.Random, *, is_torn: bool) -> None:
        """Let a random part of what was not fsynced reach the disk, each folder's steps in their order."""
        for events in self._writes.values():
            for event in events:
                if rng.random() < 0.5:
                    self._save(event, rng if is_torn else None)
        stopped: set[int] = set()
        for step in self._steps:
            touched = {folder for folder, _, _ in step.changes}
            if touched & stopped or rng.random() < 0.5:
                # What is in a folder cannot be there before the folder is.
                stopped |= touched | {key for _, _, key in step.changes if key}
            else:
                self._name(step)


def written(data: bytes, event: Wrote, rng: random.Random | None = None) -> bytes:
    """Return the file's bytes after a write. rng: the write is torn, each of its sectors kept or not."""
    if event.data is None:
        return data[: event.offset].ljust(event.offset, b"\0")
    new = bytearray(data)
    end = event.offset + len(event.data)
    at = event.offset
    while at < end:
        upto = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if rng is None or rng.random() < 0.5:
            if len(new) < at:
                new.extend(bytes(at - len(new)))
            new[at:upto] = event.data[at - event.offset : upto - event.offset]
        at = upto
    return bytes(new)


def image_after(base: Image, journal: Sequence[Event], seed: int | None = None) -> Image:
    """Return what a power cut after `journal` leaves. seed None: strictly what was fsynced; odd: with torn writes."""
    disk = _Disk(base)
    for event in journal:
        disk.take(event)
    if seed is not None:
        disk.keep_some(random.Random(seed), is_torn=seed % 2 == 1)
    return disk.kept
