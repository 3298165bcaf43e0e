"""The root marker: a small file that says "this is the linked folder, and which one".

Invariant: without a readable marker nothing may be derived from what the folder does not hold. It is written once,
fsynced with its folders, and never changed. Source: docs/design/040, rule 6.
"""

from __future__ import annotations

import os

MARKER_NAME = b"marker"
MARKER_ID_BYTES = 16
_HEAD = b"satchel-root 1\n"
_TEXT_BYTES_MAX = 256


def read_marker(state: int) -> bytes | None:
    """Return the marker's id (16 bytes) from the state folder's handle, None when it is missing or not a marker.

    Raises: OSError when it cannot be read.
    """
    try:
        handle = os.open(MARKER_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=state)
    except FileNotFoundError:
        return None
    try:
        return _parse(os.read(handle, _TEXT_BYTES_MAX))
    finally:
        os.close(handle)


def write_marker(state: int) -> bytes:
    """Write a new marker into the state folder and return its id. Durable, but for the state folder's own name.

    A marker that is there already stays and its id is returned. Raises: OSError.
    """
    found = read_marker(state)
    if found is not None:
        return found
    identity = os.urandom(MARKER_ID_BYTES)
    draft = MARKER_NAME + b".new"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=state)
    try:
        os.write(handle, _HEAD + identity.hex().encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    os.rename(draft, MARKER_NAME, src_dir_fd=state, dst_dir_fd=state)
    os.fsync(state)
    return identity


def _parse(text: bytes) -> bytes | None:
    if not text.startswith(_HEAD):
        return None
    try:
        identity = bytes.fromhex(text[len(_HEAD) :].strip().decode("ascii"))
    except ValueError:
        return None
    return identity if len(identity) == MARKER_ID_BYTES else None
