"""Names of what stands aside when two sides collide. Invariant: such a name is valid, at most 255 bytes, and keeps the
file's extension, so that it opens in the same program.

Only names are made here; when a copy is made is the planner's decision. Source: docs/use/conflicts.md.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Container, Iterable, Iterator
from typing import Literal

from satchel.core.errors import AlreadyExists
from satchel.core.limits import NAME_BYTES_MAX
from satchel.core.paths import name_key

ClashReason = Literal["case", "unicode", "kind", "excluded"]
"""case: equal but for case; unicode: equal but for the encoding of one character; kind: a file meets a folder;
excluded: the name is that of something that this device leaves out."""

DEVICE_BYTES_MAX = 64
EXTENSION_CHARS_MAX = 16
NAMELESS_DEVICE = "device"
ISO_DAY_CHARS = 10

_CLASH_TEXT: dict[ClashReason, str] = {
    "case": "case conflict",
    "unicode": "unicode conflict",
    "kind": "conflict",
    "excluded": "selective sync conflict",
}
_COPY = re.compile(r" \(.+'s conflicted copy \d{4}-\d{2}-\d{2}(?: \d+)?\)(?:\.[^.\s]{1,16})?\Z", re.DOTALL)


def conflicted_copy_name(name: str, device: str, date: str, number: int = 0, is_folder: bool = False) -> str:
    """Return `stem (Device's conflicted copy 2026-11-22).ext`; number > 0 stands before the closing bracket.

    name: a valid name. device: as its owner wrote it. date: ISO, the device's day. Pure.
    """
    counted = f" {number}" if number else ""
    return _with_suffix(name, f" ({_tame(device)}'s conflicted copy {date}{counted})", is_folder)


def conflicted_copy_names(name: str, device: str, date: str, is_folder: bool = False) -> Iterator[str]:
    """Yield the conflicted copy's names for number 0, 1, 2 and on, without end; `free_name` takes the first free."""
    return (conflicted_copy_name(name, device, date, number, is_folder) for number in itertools.count())


def is_conflicted_copy(name: str) -> bool:
    """Tell whether the name is one that `conflicted_copy_name` makes, on this or on another device."""
    return _COPY.search(name) is not None


def original_name(name: str) -> str:
    """Return the name that a conflicted copy was made from; any other name as it is.

    A copy that conflicts again is named after this, so that copies are counted and never nested. Pure.
    """
    while _COPY.search(name):
        closing = name.rindex(")")
        opening = _opening_bracket(name, closing)
        stem, extension = name[:opening].removesuffix(" "), name[closing + 1 :]
        if not stem:
            break
        name = stem + extension
    return name


def copy_origin(name: str) -> tuple[str, str]:
    """Return the device and the day (ISO) that a conflicted copy's name tells; empty for any other name. Pure."""
    if _COPY.search(name) is None:
        return "", ""
    closing = name.rindex(")")
    inside = name[_opening_bracket(name, closing) + 1 : closing]
    device, _, when = inside.rpartition("'s conflicted copy ")
    return device, when[:ISO_DAY_CHARS]


def clash_name(name: str, reason: ClashReason, number: int = 0, is_folder: bool = False) -> str:
    """Return `stem (case conflict).ext` and its like; number > 0 stands before the closing bracket. Pure."""
    counted = f" {number}" if number else ""
    return _with_suffix(name, f" ({_CLASH_TEXT[reason]}{counted})", is_folder)


def clash_names(name: str, reason: ClashReason, is_folder: bool = False) -> Iterator[str]:
    """Yield the clash's names for number 0, 1, 2 and on, without end."""
    return (clash_name(name, reason, number, is_folder) for number in itertools.count())


def clash_reason(one: str, other: str) -> ClashReason:
    """Tell why two names with one key clash: the same text encoded twice, other case, or the very same name."""
    if one == other:
        return "kind"
    is_same_text = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    return "unicode" if is_same_text else "case"


def free_name(candidates: Iterable[str], taken_keys: Container[str]) -> str:
    """Return the first candidate whose key is not taken. Raises: AlreadyExists when the candidates end."""
    name = ""
    for name in candidates:
        if name_key(name) not in taken_keys:
            return name
    raise AlreadyExists("No free name is left.", what="name", name=name)


def _with_suffix(name: str, suffix: str, is_folder: bool) -> str:
    stem, extension = (name, "") if is_folder else _split_extension(name)
    room = NAME_BYTES_MAX - len(suffix.encode()) - len(extension.encode())
    return _shortened(stem, room) + suffix + extension


def _opening_bracket(name: str, closing: int) -> int:
    """Return where the bracket that closes there was opened; a device's name may hold brackets itself."""
    depth = 0
    for at in range(closing, -1, -1):
        depth += (name[at] == ")") - (name[at] == "(")
        if depth == 0:
            return at
    return 0


def _split_extension(name: str) -> tuple[str, str]:
    """Split off the last extension with its dot. A leading dot hides a file and starts no extension."""
    bare = name.lstrip(".")
    stem, dot, extension = bare.rpartition(".")
    is_extension = stem and 0 < len(extension) <= EXTENSION_CHARS_MAX and not re.search(r"\s", extension)
    if not dot or not is_extension:
        return name, ""
    cut = len(name) - len(extension) - 1
    return name[:cut], name[cut:]


def _shortened(text: str, bytes_max: int) -> str:
    """Cut the text to the bytes, on a character border, and never between a letter and its accents."""
    raw = text.encode()
    if len(raw) <= bytes_max:
        return text
    kept = raw[:bytes_max].decode(errors="ignore")
    while len(kept) > 1 and unicodedata.combining(text[len(kept)]):
        kept = kept[:-1]
    return kept.rstrip() or kept


def _tame(device: str) -> str:
    """Return the device's name as it may stand in a file's name on every platform."""
    shown = "".join("-" if _is_unwelcome(char) else char for char in unicodedata.normalize("NFC", device))
    return _shortened(" ".join(shown.split()), DEVICE_BYTES_MAX) or NAMELESS_DEVICE


def _is_unwelcome(char: str) -> bool:
    # Control and format characters (Cc, Cf, which holds the direction overrides), surrogates, and path syntax.
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") or char in '/\\:*?"<>|'
