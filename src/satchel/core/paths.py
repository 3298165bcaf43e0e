"""Remote names and paths. Invariant: what passes here can stand in every namespace; two names with one key cannot be
live in one folder.

A name is kept exactly as it was given; only its key is folded. The key is NFC, full case fold, NFC, so canonical twins
(NFC and NFD) and case twins share it. Folding is Unicode's locale-free one: `I` folds to `i` and the dotless `ı` stays
itself, whatever language the device speaks. Source: docs/protocol/device.md (names).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from satchel.core.errors import LimitExceeded, NameInvalid
from satchel.core.limits import DEPTH_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX

UNICODE_VERSION = unicodedata.unidata_version
"""Version of the tables that make the keys. The server freezes it in its store: another version needs new keys."""


def validate_name(name: str) -> None:
    """Accept a name that a node may carry: 1 to 255 bytes of UTF-8, not `.` or `..`, without `/` and NUL.

    Raises: NameInvalid with `reason` one of empty, dots, slash, nul, surrogate, too_long.
    """
    if not name:
        raise NameInvalid("A name is empty.", name=name, reason="empty")
    if name in (".", ".."):
        raise NameInvalid("A name is '.' or '..'.", name=name, reason="dots")
    if "/" in name:
        raise NameInvalid("A name holds '/'.", name=name, reason="slash")
    if "\0" in name:
        raise NameInvalid("A name holds NUL.", name=name.replace("\0", "\\0"), reason="nul")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        printable = name.encode(errors="backslashreplace").decode()
        raise NameInvalid("A name is not Unicode text.", name=printable, reason="surrogate") from error
    if size > NAME_BYTES_MAX:
        raise NameInvalid("A name is too long.", name=name, reason="too_long")


def name_key(name: str) -> str:
    """Return the key under which a folder holds the name once. Idempotent; equal for canonical and for case twins."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def split_path(text: str) -> tuple[str, ...]:
    """Return the names of a remote path, `/a/b` or `a/b/`; the root, `/` or nothing, has none.

    Raises: NameInvalid for a name that no node may carry, LimitExceeded for path_bytes or depth.
    """
    trimmed = text.removeprefix("/").removesuffix("/")
    if not trimmed:
        if text not in ("", "/"):
            raise NameInvalid("A name is empty.", name="", reason="empty")
        return ()
    names = tuple(trimmed.split("/"))
    for name in names:
        validate_name(name)
    validate_place(names)
    return names


def join_path(names: Iterable[str]) -> str:
    """Return the path of the names, with one leading slash; no names are the root, `/`. Undoes `split_path`."""
    return "/" + "/".join(names)


def validate_place(names: tuple[str, ...]) -> None:
    """Accept a place within the limits; the names themselves are taken as valid. Raises: LimitExceeded."""
    if len(names) > DEPTH_MAX:
        raise LimitExceeded("A path is too deep.", limit="DEPTH_MAX", maximum=DEPTH_MAX, actual=len(names))
    size = len(join_path(names).encode())
    if size > PATH_BYTES_MAX:
        raise LimitExceeded("A path is too long.", limit="PATH_BYTES_MAX", maximum=PATH_BYTES_MAX, actual=size)
