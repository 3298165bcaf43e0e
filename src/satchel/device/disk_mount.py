"""The folder on disk of a shared folder that stands in a linked one.

Invariant: nothing of ours is in it. Its state folder lies in that of the link around it, on the same volume, and both
have one trash; it is known by inode and birth time, so another folder at its place is never taken for an emptied one.
"""

from __future__ import annotations

import contextlib
import os

from satchel.core.errors import RootMissing, StorageFailed
from satchel.core.ids import NamespaceId
from satchel.device.disk import LocalDisk
from satchel.device.disk_calls import stat_at
from satchel.device.disk_root import STATE_NAME, Handles
from satchel.device.links import Link

MOUNTS_NAME = b"mounts"
_IDENTITY_BYTES = 8


def state_of(outer: bytes, ns: NamespaceId) -> bytes:
    """Return the state folder of a shared folder. outer: the linked folder around it."""
    return b"/".join((outer, STATE_NAME, MOUNTS_NAME, ns.hex().encode()))


def prepare_state(outer: bytes, ns: NamespaceId) -> None:
    """Make the state folder of a shared folder. Idempotent. Raises: RootMissing, StorageFailed."""
    at = os.path.join(outer, STATE_NAME)
    if not os.path.isdir(at):
        # Nothing is made where another volume was to be mounted.
        raise RootMissing("The linked folder around is not there.", path=os.fsdecode(outer), reason="no state folder")
    try:
        for name in (MOUNTS_NAME, ns.hex().encode(), b"staging"):
            at = os.path.join(at, name)
            with contextlib.suppress(FileExistsError):
                os.mkdir(at, 0o700)
    except OSError as error:
        raise StorageFailed("The folder for what is on its way cannot be made.", where="mounts") from error


def identity_of(inode: int, birth_ns: int) -> bytes:
    """Return what tells a folder from any other of its volume."""
    return inode.to_bytes(_IDENTITY_BYTES, "big") + birth_ns.to_bytes(_IDENTITY_BYTES, "big", signed=True)


class MountedDisk(LocalDisk):
    """A `LocalDisk` of a shared folder. root: where it stands now; outer: the linked folder around it."""

    def __init__(self, root: bytes, outer: bytes, ns: NamespaceId, *, has_xattrs: bool = False) -> None:
        super().__init__(root, state_name=state_of(outer, ns), has_xattrs=has_xattrs)

    def _new_handles(self) -> Handles:
        return Handles(self._root, self._state_name, b"../../trash")

    def _identity(self, handles: Handles) -> bytes | None:
        found = stat_at(handles.root, b"", handles.device)
        return identity_of(found.inode, found.birth_ns)


def disk_of(link: Link) -> LocalDisk:
    """Return the disk of a link, also of one that is a shared folder in another. Does nothing yet."""
    if not link.outer:
        return LocalDisk(os.fsencode(link.local), has_xattrs=link.has_xattrs)
    ns = NamespaceId(bytes.fromhex(link.ns))
    return MountedDisk(os.fsencode(link.local), os.fsencode(link.outer), ns, has_xattrs=link.has_xattrs)
