"""Which local folders are linked to which remote ones. Invariant: links never overlap, on either side.

The list is one small JSON file in SATCHEL_HOME, replaced whole and durably under a file lock. The command line
changes it and tells the daemon, which reads it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from satchel.core.errors import AlreadyExists, NotLinked, SettingInvalid, VersionUnsupported
from satchel.core.ids import LinkId
from satchel.core.paths import join_path, name_key, split_path
from satchel.device.durable import read_json, write_json

FORMAT = 1
LINKS_MAX = 100


@dataclass(frozen=True, slots=True)
class Link:
    """A local folder bound to a remote one.

    link_id: 16 bytes, new for each binding. local: absolute path without symlinks. remote: "/" based path when it was
    linked. ns, unit: hex of the namespace and of the remote folder's node id (zeros: the namespace's root).
    device_name: how conflicted copies made here are called. has_xattrs: extended attributes are synced. outer: for a
    shared folder that stands in a linked one, that one's local path; else "". is_ending: the part in it is over.
    """

    link_id: LinkId
    local: str
    remote: str
    ns: str
    unit: str
    device_name: str
    has_xattrs: bool = False
    outer: str = ""
    is_ending: bool = False


class _StoredLink(msgspec.Struct, frozen=True):
    link_id: str
    local: str
    remote: str
    ns: str
    unit: str
    device_name: str
    has_xattrs: bool = False
    outer: str = ""


class _StoredLinks(msgspec.Struct, frozen=True):
    format: int = FORMAT
    links: tuple[_StoredLink, ...] = ()


class LinkStore:
    """The links of one SATCHEL_HOME."""

    def __init__(self, home: Path) -> None:
        self._file = home / "links.json"
        self._mounts_file = home / "mounts.json"
        self._lock = home / "links.lock"

    def links(self) -> tuple[Link, ...]:
        """Return all links, by local path. Raises: SettingInvalid for a damaged file, VersionUnsupported."""
        return _read(self._file)

    def mounted(self) -> tuple[Link, ...]:
        """Return the links of shared folders in linked ones, as the daemon keeps them. Raises: as `links`."""
        known = {link.local for link in self.links()}
        return tuple(link for link in _read(self._mounts_file) if link.outer in known)

    def every(self) -> tuple[Link, ...]:
        """Return all links and those of shared folders in them, inner ones before what they stand in."""
        return tuple(sorted((*self.links(), *self.mounted()), key=lambda link: -len(link.local)))

    def put_mounted(self, links: tuple[Link, ...]) -> None:
        """Let these be the links of shared folders. Only the daemon calls it."""
        _write(self._mounts_file, links)

    def add(self, link: Link, *, instead_of: LinkId | None = None) -> None:
        """Store a new link; with `instead_of` that one goes in the same step. Durable on return.

        Raises: AlreadyExists when it overlaps another on either side, SettingInvalid past LINKS_MAX.
        """
        with self._changing():
            others = tuple(other for other in self.links() if other.link_id != instead_of)
            check_overlap(link, others)
            if len(others) >= LINKS_MAX:
                raise SettingInvalid("Too many linked folders.", setting="links", reason=f"at most {LINKS_MAX}")
            self._write((*others, link))

    def remove(self, link_id: LinkId) -> Link:
        """Forget a link and return it. Durable on return. Raises: NotLinked."""
        with self._changing():
            links = self.links()
            for link in links:
                if link.link_id == link_id:
                    self._write(tuple(other for other in links if other.link_id != link_id))
                    return link
        raise NotLinked("That folder is not linked.", path=link_id.hex())

    def remove_all(self) -> tuple[Link, ...]:
        """Forget every link (sign-out) and return them."""
        with self._changing():
            links = self.links()
            self._write(())
        return links

    def holding(self, path: str) -> tuple[Link, str] | None:
        """Return (link, remote path) of an absolute local path that lies in a linked folder, else None."""
        real = os.path.realpath(path)
        for link in self.every():
            if is_within(real, link.local):
                below = os.path.relpath(real, link.local)
                names = () if below == "." else tuple(below.split(os.sep))
                return link, join_path((*split_path(link.remote), *names))
        return None

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._lock, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, links: tuple[Link, ...]) -> None:
        _write(self._file, links)


def _read(file: Path) -> tuple[Link, ...]:
    try:
        stored = read_json(file, _StoredLinks) or _StoredLinks()
    except msgspec.DecodeError as error:
        raise SettingInvalid("The list of linked folders is damaged.", setting=str(file), reason=str(error)) from error
    if stored.format != FORMAT:
        raise VersionUnsupported(
            "The list of linked folders is of another version.", what="links", found=stored.format, known=FORMAT
        )
    found = (
        Link(
            LinkId(bytes.fromhex(row.link_id)),
            *(row.local, row.remote, row.ns, row.unit, row.device_name, row.has_xattrs, row.outer),
        )
        for row in stored.links
    )
    return tuple(sorted(found, key=lambda link: link.local))


def _write(file: Path, links: tuple[Link, ...]) -> None:
    rows = tuple(
        _StoredLink(
            link.link_id.hex(),
            *(link.local, link.remote, link.ns, link.unit, link.device_name, link.has_xattrs, link.outer),
        )
        for link in links
    )
    write_json(file, _StoredLinks(FORMAT, rows))


def index_folder(home: Path, link_id: LinkId) -> Path:
    """Return where the index of a link lives."""
    return home / "links" / link_id.hex()


def check_overlap(link: Link, others: tuple[Link, ...]) -> None:
    """Accept a link that shares no folder with the others. Raises: AlreadyExists naming the one in the way."""
    for other in others:
        if is_within(link.local, other.local) or is_within(other.local, link.local):
            raise AlreadyExists(
                f"{link.local} overlaps {other.local}, which is linked already.", what="link", name=other.local
            )
        mine, theirs = _keys(link.remote), _keys(other.remote)
        shared = min(len(mine), len(theirs))
        if link.ns == other.ns and mine[:shared] == theirs[:shared]:
            raise AlreadyExists(
                f"{link.remote} overlaps {other.remote}, which is linked to {other.local}.",
                what="link",
                name=other.remote,
            )


def _keys(remote: str) -> tuple[str, ...]:
    return tuple(name_key(name) for name in split_path(remote))


def is_within(path: str, folder: str) -> bool:
    """Tell whether a local path is the folder or lies below it; both absolute and real."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
