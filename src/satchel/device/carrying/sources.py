"""Where an import comes from. Invariant: a source only reads; what it names was looked at as it was, and no link is
followed.

A folder of this machine, an export of ours, and (in files of their own) a WebDAV address and an rclone remote.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from satchel.core.errors import FileUnreadable, LimitExceeded, MessageInvalid, NotFound
from satchel.device.carrying.attributes import read_back
from satchel.device.carrying.manifest import Earlier, Line, read_lines

STATE_FOLDER = ".satchel"
"""Of a linked folder: the device's own."""

FoundKind = Literal["folder", "file", "symlink", "other"]


@dataclass(frozen=True, slots=True)
class State:
    """One state of a file. local: where its bytes lie on this machine, None when they must be fetched first; content:
    hex of what they must be, empty when that is not known."""

    size: int
    mtime_ns: int
    is_executable: bool = False
    content: str = ""
    local: Path | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Something at a source. names: from the source's top; states: of a file, the oldest first and the newest last;
    place: what the source itself calls it; trouble: why it cannot be taken, empty when it can; xattrs: packed extended
    attributes, None where the source tells of none."""

    names: tuple[str, ...]
    kind: FoundKind
    states: tuple[State, ...] = ()
    target: str = ""
    place: str = ""
    trouble: str = ""
    xattrs: bytes | None = None


async def walked(listed: Callable[[tuple[str, ...]], Awaitable[Sequence[Found]]]) -> AsyncIterator[Found]:
    """Yield all below a source's top, as `Source.entries` says. listed: what a folder holds, in order.

    Raises: as `listed`; NotFound of the top alone, since a folder below it may go while others are read.
    """
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        names = waiting.pop()
        try:
            held = await listed(names)
        except NotFound:
            if not names:
                raise
            continue
        for found in held:
            yield found
        waiting += [found.names for found in reversed(held) if found.kind == "folder" and not found.trouble]


class Source(Protocol):
    """Somewhere that files are taken from."""

    def entries(self) -> AsyncIterator[Found]:
        """Yield all there is: a folder before what it holds, and what one folder holds together.

        Raises: NotFound, Unauthenticated, Unavailable, FileUnreadable: nothing more can be read.
        """
        ...

    async def fetch(self, found: Found, into: BinaryIO) -> None:
        """Write a file's bytes, of a state that is not on this machine.

        Raises: NotFound, FileUnreadable, FileChanging, Unavailable.
        """
        ...


class FolderSource:
    """A folder of this machine, with all in it."""

    def __init__(self, top: Path) -> None:
        self._top = top

    async def entries(self) -> AsyncIterator[Found]:
        if not self._top.is_dir():
            raise FileUnreadable(f"{self._top} is no folder.", path=str(self._top), reason="not a folder")
        async for found in walked(self._listed):
            yield found

    async def _listed(self, names: tuple[str, ...]) -> list[Found]:
        try:
            with os.scandir(self._top.joinpath(*names)) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if not names:
                raise
            return [Found(names, "other", trouble=error.strerror or str(error))]
        return [_of_disk((*names, entry.name), entry) for entry in entries if names or entry.name != STATE_FOLDER]

    async def fetch(self, found: Found, into: BinaryIO) -> None:
        raise AssertionError("what is here need not be fetched")


class ExportSource:
    """A folder that `satchel export` made, with the versions that it holds."""

    def __init__(self, top: Path) -> None:
        self._top = top

    async def entries(self) -> AsyncIterator[Found]:
        for line in read_lines(self._top):
            if line.type in ("folder", "file", "symlink"):
                yield self._found(line)

    def _found(self, line: Line) -> Found:
        names = tuple(line.path.removeprefix("/").split("/"))
        if line.type == "symlink":
            return Found(names, "symlink", target=line.target)
        try:
            xattrs = read_back(line.xattrs) if line.xattrs else None
        except (MessageInvalid, LimitExceeded) as fault:
            return Found(names, "other", trouble=str(fault))
        if line.type == "folder":
            return Found(names, "folder", xattrs=xattrs)
        newest = State(line.size, line.mtime_ns, line.is_executable, line.content_hash, self._path(line.at))
        earlier = [self._state(one, line) for one in line.versions if one.at]
        if earlier and earlier[-1].content == newest.content:
            earlier.pop()
        return Found(names, "file", (*earlier, newest), xattrs=xattrs)

    def _state(self, one: Earlier, line: Line) -> State:
        return State(one.size, one.mtime_ns, line.is_executable, one.content_hash, self._path(one.at))

    def _path(self, at: str) -> Path:
        names = at.split("/")
        if ".." in names or not names[0]:
            raise FileUnreadable("The manifest leads out of the export.", path=at, reason="..")
        return self._top.joinpath(*names)

    async def fetch(self, found: Found, into: BinaryIO) -> None:
        raise AssertionError("what is here need not be fetched")


def _of_disk(names: tuple[str, ...], entry: os.DirEntry[str]) -> Found:
    try:
        if entry.is_symlink():
            return Found(names, "symlink", target=os.readlink(entry.path))
        told = entry.stat(follow_symlinks=False)
    except OSError as error:
        return Found(names, "other", trouble=error.strerror or str(error))
    if stat.S_ISDIR(told.st_mode):
        return Found(names, "folder")
    if not stat.S_ISREG(told.st_mode):
        return Found(names, "other", trouble="neither file, folder nor symlink")
    bit = bool(told.st_mode & 0o100)
    return Found(names, "file", (State(told.st_size, told.st_mtime_ns, bit, local=Path(entry.path)),))
