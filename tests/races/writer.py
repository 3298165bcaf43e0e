"""The other program: saves one file at a moment that the race chooses, in the ways in which programs save.

Run as a process of its own: `python -m tests.races.writer FILE` reads commands, one a line, and answers each with the
bytes that its save left as the file's content (in hex; `-` for a deletion). Invariant: each save is one that a program
could make at any time; nothing waits for Satchel.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

DELETED = b"-"


def write_over(path: bytes, data: bytes) -> bytes:
    """Empty the file and write it anew, into the same inode."""
    with open(path, "wb", buffering=0) as file:
        file.write(data)
    return data


def write_in_place(path: bytes, data: bytes) -> bytes:
    """Overwrite the first bytes, as databases do."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(handle, data, 0)
        os.ftruncate(handle, len(data))
    finally:
        os.close(handle)
    return data


def save_by_rename(path: bytes, data: bytes) -> bytes:
    """Write another file and rename it over, as editors do."""
    draft = path + b"~"
    with open(draft, "wb", buffering=0) as file:
        file.write(data)
    os.rename(draft, path)
    return data


def save_with_backup(path: bytes, data: bytes) -> bytes:
    """Rename the old file away, write a new one, delete the old."""
    backup = path + b".bak"
    os.rename(path, backup)
    with open(path, "wb", buffering=0) as file:
        file.write(data)
    os.unlink(backup)
    return data


def delete_and_create(path: bytes, data: bytes) -> bytes:
    """Delete the file and make another one."""
    os.unlink(path)
    with open(path, "wb", buffering=0) as file:
        file.write(data)
    return data


def delete(path: bytes, data: bytes) -> bytes:
    """Delete it."""
    os.unlink(path)
    return DELETED


WAYS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "over": write_over,
    "in-place": write_in_place,
    "rename": save_by_rename,
    "backup": save_with_backup,
    "create": delete_and_create,
    "delete": delete,
}
LATE = "held-open"
"""One way more: opened before the race begins, written at its moment, wherever the file stands by then."""


def wait_until(at_ns: int) -> None:
    """Return at that time of the machine's monotonic clock. A sleep would end too late for gaps this short."""
    while time.monotonic_ns() < at_ns:
        pass


def main() -> None:
    path = os.fsencode(sys.argv[1])
    for line in sys.stdin:
        way, text, at_ns = line.split()
        data = text.encode()
        handle = os.open(path, os.O_WRONLY) if way == LATE else -1
        wait_until(int(at_ns))
        try:
            if handle >= 0:
                os.ftruncate(handle, 0)
                os.pwrite(handle, data, 0)
                left = data
            else:
                left = WAYS[way](path, data)
        except FileNotFoundError:
            left = b"?"
        finally:
            if handle >= 0:
                os.close(handle)
        print(left.decode(), flush=True)


if __name__ == "__main__":
    main()
