"""Names that a disk can hold. Invariant: within a folder no two entries get one name, and the same entries in the same
order get the same names again.

Satchel's names may hold what FAT, NTFS and exFAT refuse, and be longer than some disks take. Such a name is written
with `%` and two hex digits for each character that cannot stand, and cut with a part of its hash where it is too long.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass

from satchel.core.limits import NAME_BYTES_MAX
from satchel.core.paths import name_key

_REFUSED = re.compile(r'[\x00-\x1f<>:"\\|?*\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?\Z", re.IGNORECASE)
_PROBE = 'probe a:b?*"<>|. '
_HASH_CHARS = 8


@dataclass(frozen=True, slots=True)
class Rules:
    """What a disk takes. bytes_max: of a name; is_strict: only what every common system takes."""

    bytes_max: int = NAME_BYTES_MAX
    is_strict: bool = False


def rules_of(folder: int) -> Rules:
    """Return what the disk of an open folder takes: it is tried. Raises: OSError when nothing can be written there."""
    bytes_max = NAME_BYTES_MAX
    with contextlib.suppress(OSError, ValueError):
        bytes_max = min(NAME_BYTES_MAX, os.fpathconf(folder, "PC_NAME_MAX"))
    os.close(os.open("probe", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder))
    os.unlink("probe", dir_fd=folder)
    try:
        os.close(os.open(_PROBE, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder))
        os.unlink(_PROBE, dir_fd=folder)
    except OSError:
        return Rules(bytes_max, is_strict=True)
    return Rules(bytes_max)


def disk_name(name: str, rules: Rules, taken: set[str]) -> str:
    """Return the name for the disk, and add its key to `taken`, the keys of the folder's names so far."""
    wanted = _escaped(name) if rules.is_strict else name
    if len(wanted.encode()) > rules.bytes_max:
        wanted = _cut(wanted, name, rules.bytes_max)
    found, number = wanted, 1
    while name_key(found) in taken:
        number += 1
        found = _cut(wanted, f"{name}\0{number}", rules.bytes_max)
    taken.add(name_key(found))
    return found


def _escaped(name: str) -> str:
    told = _REFUSED.sub(lambda match: f"%{ord(match[0]):02X}", name)
    bare = told.rstrip(". ")
    told = bare + "".join(f"%{ord(char):02X}" for char in told[len(bare) :])
    return f"%{ord(told[0]):02X}{told[1:]}" if _RESERVED.match(told) else told


def _cut(wanted: str, whole: str, bytes_max: int) -> str:
    """Return a name of its own for `whole` that begins like `wanted` and keeps a short extension."""
    mark = "~" + hashlib.sha256(whole.encode()).hexdigest()[:_HASH_CHARS]
    stem, dot, extension = wanted.rpartition(".")
    if not stem or len(extension.encode()) > 16:
        stem, dot, extension = wanted, "", ""
    room = bytes_max - len((mark + dot + extension).encode())
    return stem.encode()[:room].decode(errors="ignore") + mark + dot + extension
