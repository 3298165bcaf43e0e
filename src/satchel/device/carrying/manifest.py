"""The list of what an export holds: JSON lines in `manifest.jsonl`. Invariant: a manifest under its name is whole, for
it gets that name last; a folder's line comes before those of what it holds, and these come together.

Paths are those of the service; `at` says where the bytes lie in the export. Source: docs/use/leaving.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from satchel.core.errors import MessageInvalid, NotFound
from satchel.core.limits import MIB

MANIFEST: Final = "manifest.jsonl"
UNFINISHED: Final = "manifest.jsonl.unfinished"
FORMAT: Final = 1
LINE_BYTES_MAX = 16 * MIB


class Earlier(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of a file. at: where its bytes lie in the export; empty where they could not be taken."""

    rev: int
    number: int
    size: int
    mtime_ns: int
    content_hash: str
    author: str
    device: str
    created_ms: int
    at: str = ""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. type `export` begins a manifest (account, server, made_ms), `end` ends it (files, bytes).

    content_hash: hex, of a file; target: of a symlink; versions: the oldest first, the newest one among them; empty
    when the export was made without them. is_shared: the folder is where a shared folder stands in this account.
    xattrs: extended attributes, as `attributes.written` has them.
    """

    type: Literal["export", "folder", "file", "symlink", "end"]
    path: str = ""
    at: str = ""
    namespace: str = ""
    id: str = ""
    rev: int = 0
    size: int = 0
    mtime_ns: int = 0
    is_executable: bool = False
    content_hash: str = ""
    target: str = ""
    is_shared: bool = False
    xattrs: dict[str, str] = {}
    versions: list[Earlier] = []
    format: int = 0
    account: str = ""
    server: str = ""
    made_ms: int = 0
    with_versions: bool = False
    files: int = 0
    bytes: int = 0
    not_taken: int = 0


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


def write_line(file: BinaryIO, line: Line) -> None:
    """Append a line. Raises: OSError."""
    file.write(_encoder.encode(line) + b"\n")


def is_export(folder: Path) -> bool:
    """Tell whether a folder is an export, finished or not."""
    return (folder / MANIFEST).is_file() or (folder / UNFINISHED).is_file()


def read_lines(folder: Path) -> Iterator[Line]:
    """Yield the lines of a finished export, one in memory at a time. Raises: NotFound, MessageInvalid, OSError."""
    if not (folder / MANIFEST).is_file():
        raise NotFound(
            f"The export in {folder} was cut; finish it first: satchel export {folder}", path=str(folder / MANIFEST)
        )
    ended = False
    with open(folder / MANIFEST, "rb") as file:
        while raw := file.readline(LINE_BYTES_MAX):
            line = _decoded(raw)
            if line.type == "export" and line.format != FORMAT:
                raise MessageInvalid("The export was made by a newer Satchel.", reason="format")
            ended = line.type == "end"
            yield line
    if not ended:
        raise MessageInvalid("The export's manifest is cut off.", reason="manifest")


def _decoded(raw: bytes) -> Line:
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageInvalid("A line of the export's manifest does not decode.", reason=str(error)) from error
