"""Extended attributes on a Linux disk: what `user.` ones a file or folder has, and how it gets others.

Invariant: none of another kind is read, set or removed, nor any of Satchel's own; a symlink has none. What the volume
does not hold or does not let us see is unknown, which never means removed. Source: man 7 xattr.
"""

from __future__ import annotations

import os

from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.core.errors import LimitExceeded
from satchel.core.xattrs import OWN_PREFIX, PREFIX, TOO_LARGE, pack_xattrs, unpack_xattrs
from satchel.device.ports import Stat

_OWN = PREFIX + OWN_PREFIX


def seen_with(stat: Stat, folder: int, name: bytes) -> Stat:
    """Return the stat with the attributes of a name in a folder; b"" is the handle itself."""
    if stat.kind not in (Kind.FILE, Kind.FOLDER):
        return stat
    # Through the handle, since Linux has no such call with a folder's handle and a name; nothing else is followed.
    path = b"/proc/self/fd/%d" % folder + (b"/" + name if name else b"")
    try:
        return replace(stat, xattrs=_packed(path, is_followed=not name))
    except OSError:
        # ENOTSUP, EPERM, EACCES: this volume has none, or not for us. ENODATA, ENOENT: another ctime is about to tell.
        return stat


def _packed(path: bytes, *, is_followed: bool) -> bytes:
    names = [os.fsencode(name) for name in os.listxattr(path, follow_symlinks=is_followed)]
    found = {
        name[len(PREFIX) :]: os.getxattr(path, name, follow_symlinks=is_followed)
        for name in names
        if name.startswith(PREFIX) and not name.startswith(_OWN)
    }
    try:
        return pack_xattrs(found)
    except LimitExceeded:
        return TOO_LARGE


def give(handle: int, xattrs: bytes, *, instead_of: bytes = b"") -> bool:
    """Set the attributes of an open file or folder. False: the disk did not take them all.

    instead_of: those that it is known to have; of them, what is not wanted goes. Others stay.
    """
    wanted, known = unpack_xattrs(xattrs), unpack_xattrs(instead_of)
    try:
        for name in known.keys() - wanted.keys():
            os.removexattr(handle, PREFIX + name)
        for name, value in wanted.items():
            if known.get(name) != value:
                os.setxattr(handle, PREFIX + name, value)
    except OSError:
        return False
    return True
