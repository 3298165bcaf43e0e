"""Writes all that an account has into a folder. Invariant: a file gets its name when it is whole, verified by its hash
and durable; what is there already is read and compared, so a second run takes only what is missing or changed.

Below the folder: `files/` the tree as it stands, `versions/` earlier contents by their hash, `replaced/` what stood in
the way, `links.jsonl` the terms of links, and the manifest, which gets its name when all is done. Shared folders stand
where they are mounted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec

from satchel.core.errors import (
    BlockDamaged,
    BlockMismatch,
    FileChanging,
    LimitExceeded,
    MessageInvalid,
    NameInvalid,
    NotFound,
    PreconditionFailed,
    SettingInvalid,
)
from satchel.core.paths import join_path, validate_name, validate_place
from satchel.device.api import Account, Api, Item, Version
from satchel.device.carrying.attributes import Attributes, give_attributes, written
from satchel.device.carrying.disk_names import Rules, disk_name, rules_of
from satchel.device.carrying.folders import (
    FILE_FLAGS,
    FOLDER_FLAGS,
    dress,
    ensure_folder,
    give_name,
    holds,
    open_beneath,
    open_file,
    read_link,
    set_aside,
)
from satchel.device.carrying.manifest import (
    FORMAT,
    MANIFEST,
    UNFINISHED,
    Earlier,
    Line,
    is_export,
    write_line,
)

FILES: Final = "files"
VERSIONS: Final = "versions"
REPLACED: Final = "replaced"
PARTS: Final = ".satchel-export"
LINKS: Final = "links.jsonl"
TOLD_MAX = 1_000
"""So many names of each kind are told one by one."""
TRIES_MAX = 3
_CONTENT = re.compile("[0-9a-f]{64}")
_ID = re.compile("[0-9a-f]{32}")
ONE_FILE = (
    NotFound,
    BlockDamaged,
    BlockMismatch,
    FileChanging,
    PreconditionFailed,
    LimitExceeded,
    MessageInvalid,
    NameInvalid,
)
"""Faults that belong to one file: the others go on. Disk and network faults end the run."""

Shown = Callable[[str, int], None]
"""Told a path, and how many more of its bytes are here."""


@dataclass(slots=True)
class Exported:
    """What a run did. kept: files that were there already; fetched_bytes: of those that came, with what a cut run had
    brought of them; renamed: path and its name here; set_aside: how many things stood in the way; not_taken: path and
    why; lists are of the first TOLD_MAX. attributes: files and folders with extended ones; attributes_refused: of them
    those where this disk did not take them, so that the manifest alone has them."""

    files: int = 0
    folders: int = 0
    symlinks: int = 0
    versions: int = 0
    kept: int = 0
    bytes: int = 0
    fetched_bytes: int = 0
    set_aside: int = 0
    links: int = 0
    attributes: int = 0
    attributes_refused: int = 0
    renamed: list[tuple[str, str]] = field(default_factory=list)
    not_taken: list[tuple[str, str]] = field(default_factory=list)
    not_taken_count: int = 0

    def refuse(self, path: str, error: Exception) -> None:
        """Note what could not be taken."""
        self.not_taken_count += 1
        if len(self.not_taken) < TOLD_MAX:
            self.not_taken.append((path, str(error)))


class _Waiting(NamedTuple):
    """A folder that is still to be gone through: its names there, and here."""

    there: tuple[str, ...]
    here: tuple[str, ...]


async def export(
    api: Api,
    target: Path,
    *,
    now_ms: int,
    with_versions: bool = False,
    is_portable: bool = False,
    attributes: Attributes | None = None,
    links: Sequence[msgspec.Struct] = (),
    shown: Shown = lambda _path, _more: None,
) -> Exported:
    """Take all that the account has. is_portable: use only names that every common system can hold.

    attributes: extended ones, by node; links: the account's, as they are to be listed.

    Raises: SettingInvalid (the folder holds other things), OSError (the disk), Unavailable and as `Api`: begun again,
    it goes on.
    """
    account = await api.account()
    with contextlib.ExitStack() as handles:
        made = _Export(api, target, handles, account, with_versions, is_portable, attributes or {}, shown)
        await made.run(now_ms, links)
    return made.told


class _Export:
    """One run."""

    def __init__(
        self,
        api: Api,
        target: Path,
        handles: contextlib.ExitStack,
        account: Account,
        with_versions: bool,
        is_portable: bool,
        attributes: Attributes,
        shown: Shown,
    ) -> None:
        self._attributes = attributes
        self._api, self._target, self._account, self._shown = api, target, account, shown
        self._with_versions = with_versions
        self.told = Exported()
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()) and not is_export(target):
            raise SettingInvalid(
                f"{target} holds other things; name an empty folder, or one of an earlier export.",
                setting="DIR",
                reason="not empty",
            )
        self._manifest = handles.enter_context((target / UNFINISHED).open("wb"))
        top = os.open(target, FOLDER_FLAGS)
        handles.callback(os.close, top)
        self._top = top
        self._files, self._versions, self._replaced, self._parts = (
            self._made(handles, name) for name in (FILES, VERSIONS, REPLACED, PARTS)
        )
        found = rules_of(self._parts)
        self._rules = Rules(found.bytes_max, found.is_strict or is_portable)

    def _made(self, handles: contextlib.ExitStack, name: str) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o777, dir_fd=self._top)
        handle = os.open(name, FOLDER_FLAGS, dir_fd=self._top)
        handles.callback(os.close, handle)
        return handle

    async def run(self, now_ms: int, links: Sequence[msgspec.Struct]) -> None:
        """Take everything, and give the manifest its name."""
        head = Line(
            "export",
            format=FORMAT,
            account=self._account.account,
            made_ms=now_ms,
            with_versions=self._with_versions,
        )
        write_line(self._manifest, head)
        waiting = [_Waiting((), ())]
        while waiting:
            waiting += await self._folder(waiting.pop())
        self._list(links)
        told = self.told
        write_line(self._manifest, Line("end", files=told.files, bytes=told.bytes, not_taken=told.not_taken_count))
        self._manifest.flush()
        os.fsync(self._manifest.fileno())
        os.replace(UNFINISHED, MANIFEST, src_dir_fd=self._top, dst_dir_fd=self._top)
        for name in os.listdir(self._parts):
            os.unlink(name, dir_fd=self._parts)
        for name in (PARTS, REPLACED, VERSIONS):
            with contextlib.suppress(OSError):
                # Those that hold something stay.
                os.rmdir(name, dir_fd=self._top)
        os.fsync(self._top)

    def _list(self, links: Sequence[msgspec.Struct]) -> None:
        """Write the links' terms, a line each; none: no list."""
        with self._part(LINKS) as file:
            file.truncate()
            file.write(msgspec.json.Encoder().encode_lines(links))
            file.flush()
            os.fsync(file.fileno())
        os.replace(LINKS, LINKS, src_dir_fd=self._parts, dst_dir_fd=self._top)
        if not links:
            os.unlink(LINKS, dir_fd=self._top)
        self.told.links = len(links)

    def _give(self, folder: int, name: str, item: Item) -> None:
        packed = self._attributes.get((item.namespace, item.id))
        if packed is None:
            return
        self.told.attributes += 1
        if not give_attributes(folder, name, FOLDER_FLAGS if item.is_folder else FILE_FLAGS, packed):
            self.told.attributes_refused += 1

    async def _folder(self, waiting: _Waiting) -> list[_Waiting]:
        """Take what stands in a folder; return the folders in it, the last one first."""
        below: list[_Waiting] = []
        taken: set[str] = set()
        handle = open_beneath(self._files, waiting.here)
        try:
            async for item in self._listed(waiting.there):
                path = join_path((*waiting.there, item.name))
                try:
                    validate_name(item.name)
                    validate_place((*waiting.there, item.name))
                    name = disk_name(item.name, self._rules, taken)
                    if name != item.name and len(self.told.renamed) < TOLD_MAX:
                        self.told.renamed.append((path, name))
                    at = "/".join((FILES, *waiting.here, name))
                    await self._entry(handle, path, item, name, at)
                except ONE_FILE as fault:
                    self.told.refuse(path, fault)
                    continue
                if item.is_folder:
                    below.append(_Waiting((*waiting.there, item.name), (*waiting.here, name)))
            os.fsync(handle)
        finally:
            os.close(handle)
        return below[::-1]

    async def _listed(self, there: tuple[str, ...]) -> AsyncIterator[Item]:
        try:
            async for item in self._api.list_folder(join_path(there)):
                yield item
        except NotFound as fault:
            # It was deleted since the folder above was listed.
            self.told.refuse(join_path(there), fault)

    async def _entry(self, folder: int, path: str, item: Item, name: str, at: str) -> None:
        match item.kind:
            case "folder" | "mount":
                self.told.set_aside += ensure_folder(folder, name, self._replaced)
                self.told.folders += 1
                self._give(folder, name, item)
                self._write(path, item, at)
            case "symlink":
                if read_link(folder, name) != item.target:
                    self.told.set_aside += set_aside(folder, name, self._replaced)
                    os.symlink(item.target, name, dir_fd=folder)
                self.told.symlinks += 1
                self._write(path, item, at)
            case "file" if _CONTENT.fullmatch(item.content_hash) and _ID.fullmatch(item.id):
                await self._file(folder, path, item, name, at)
            case _:
                raise MessageInvalid("A newer Satchel made this; this one does not know what it is.", reason=item.kind)

    async def _file(self, folder: int, path: str, item: Item, name: str, at: str) -> None:
        if await asyncio.to_thread(holds, folder, name, size=item.size, content=item.content_hash):
            self.told.kept += 1
            await asyncio.to_thread(_dress_again, folder, name, item)
            self._shown(path, item.size)
        else:
            item = await self._fetched(folder, path, item, name)
        await asyncio.to_thread(self._give, folder, name, item)
        self.told.files += 1
        self.told.bytes += item.size
        self._write(path, item, at, await self._earlier(path, item, at) if self._with_versions else [])

    async def _fetched(self, folder: int, path: str, item: Item, name: str) -> Item:
        """Take a file as it is now; return what it is then."""
        for _ in range(TRIES_MAX):
            part = f"{item.id}-{item.content_hash[:32]}"
            if await self._downloaded(path, part, 0, item.content_hash, item.mtime_ns, item.is_executable):
                self.told.set_aside += give_name(self._parts, part, folder, name, self._replaced)
                return item
            item = await self._api.entry(path)
            if item.kind != "file":
                break
        raise FileChanging("The file changes all the time.", path=path)

    async def _downloaded(
        self, path: str, part: str, rev: int, content: str, mtime_ns: int, is_executable: bool
    ) -> bool:
        """Bring a part to its end, durable; False, and the part gone, when its content is another one by now."""
        with self._part(part) as file:
            try:
                got = await self._api.download(
                    path, file, rev=rev, resume=True, progress=lambda more: self._shown(path, more)
                )
                self.told.fetched_bytes += got.size
                if got.content_hash == content:
                    await asyncio.to_thread(dress, file, mtime_ns=mtime_ns, is_executable=is_executable)
                    return True
            except BlockMismatch:
                # The beginning that was here is of another content.
                pass
        os.unlink(part, dir_fd=self._parts)
        return False

    def _part(self, name: str) -> BinaryIO:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return open(os.open(name, flags, 0o666, dir_fd=self._parts), "r+b")

    async def _earlier(self, path: str, item: Item, at: str) -> list[Earlier]:
        """Take the file's versions, the oldest first; the newest one's bytes are the file's own."""
        earlier = []
        for version in reversed((await self._api.versions(path)).versions):
            place = at
            if version.content_hash != item.content_hash:
                try:
                    place = await self._version(path, version)
                except ONE_FILE as fault:
                    self.told.refuse(f"{path} (version {version.number})", fault)
                    place = ""
            self.told.versions += 1
            earlier.append(
                Earlier(
                    rev=version.rev,
                    number=version.number,
                    size=version.size,
                    mtime_ns=version.mtime_ns,
                    content_hash=version.content_hash,
                    author=version.author,
                    device=version.device,
                    created_ms=version.created_ms,
                    at=place,
                )
            )
        return earlier

    async def _version(self, path: str, version: Version) -> str:
        """Take one earlier content, which several files may share; return where it lies."""
        name = version.content_hash
        # It names a place on the disk.
        if not _CONTENT.fullmatch(name):
            raise MessageInvalid("A version has no content hash.", reason="content_hash")
        with contextlib.suppress(FileExistsError):
            os.mkdir(name[:2], 0o777, dir_fd=self._versions)
        folder = open_beneath(self._versions, (name[:2],))
        try:
            if not await asyncio.to_thread(holds, folder, name, size=version.size, content=name):
                part = f"version-{name}"
                for _ in range(TRIES_MAX):
                    if await self._downloaded(path, part, version.rev, name, version.mtime_ns, False):
                        break
                else:
                    raise BlockMismatch("What came is not the version.", expected=name, actual="other bytes")
                self.told.set_aside += give_name(self._parts, part, folder, name, self._replaced)
                os.fsync(folder)
        finally:
            os.close(folder)
        return f"{VERSIONS}/{name[:2]}/{name}"

    def _write(self, path: str, item: Item, at: str, versions: list[Earlier] | None = None) -> None:
        line = Line(
            "folder" if item.is_folder else "symlink" if item.kind == "symlink" else "file",
            path=path,
            at=at,
            namespace=item.namespace,
            id=item.id,
            rev=item.rev,
            size=item.size,
            mtime_ns=item.mtime_ns,
            is_executable=item.is_executable,
            content_hash=item.content_hash,
            target=item.target,
            is_shared=item.kind == "mount",
            xattrs=written(self._attributes.get((item.namespace, item.id), b"")),
            versions=versions or [],
        )
        write_line(self._manifest, line)


def _dress_again(folder: int, name: str, item: Item) -> None:
    """Give a file that is there the time and the bit that it has now, where they differ."""
    file = open_file(folder, name)
    if file is None:
        return
    with file:
        found = os.fstat(file.fileno())
        if (found.st_mtime_ns, bool(found.st_mode & 0o100)) != (item.mtime_ns, item.is_executable):
            dress(file, mtime_ns=item.mtime_ns, is_executable=item.is_executable)
