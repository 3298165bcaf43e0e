"""Small private files of SATCHEL_HOME. Invariant: after a crash the file is the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from satchel.core.errors import StorageFailed

T = TypeVar("T")


def read_json(path: Path, into: type[T]) -> T | None:
    """Return the file's value, None when there is no file. Raises: msgspec.DecodeError; StorageFailed."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageFailed("A file of this device cannot be read.", where=str(path), reason=str(error)) from error
    try:
        return msgspec.json.decode(raw, type=into)
    except UnicodeDecodeError as error:
        # The library's own fault for a text that is no UTF-8 is none of its DecodeErrors.
        raise msgspec.DecodeError(str(error)) from error


def write_json(path: Path, value: object) -> None:
    """Replace the file, durably; it is 0600 in a folder that is 0700. Raises: StorageFailed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            file.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
            file.flush()
            os.fsync(handle)
        os.replace(beside, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise StorageFailed("A file of this device cannot be written.", where=str(path), reason=str(error)) from error


def sync_folder(path: Path) -> None:
    """fsync a folder, so that the names in it are durable. Raises: OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
