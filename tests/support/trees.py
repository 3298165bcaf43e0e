"""Says what a folder holds, exactly, so that two can be compared: names, bytes, kinds, bits, times of files."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

STATE_FOLDER = b".satchel"


@dataclass(frozen=True, slots=True)
class Node:
    """One name in a tree. kind: file, folder or symlink. content: SHA-256 of a file, target of a symlink."""

    kind: str
    content: bytes = b""
    is_executable: bool = False
    mtime_ns: int = 0


def tree_of(root: str | os.PathLike[str], *, with_times: bool = True) -> dict[bytes, Node]:
    """Return all that lies below `root` by relative path, without Satchel's own folder."""
    found: dict[bytes, Node] = {}
    waiting = [b""]
    top = os.fsencode(root)
    while waiting:
        below = waiting.pop()
        with os.scandir(os.path.join(top, below) if below else top) as listed:
            for item in listed:
                if not below and item.name == STATE_FOLDER:
                    continue
                path = os.path.join(below, item.name)
                found[path] = _node(item, with_times)
                if item.is_dir(follow_symlinks=False):
                    waiting.append(path)
    return found


def differences(one: str | os.PathLike[str], other: str | os.PathLike[str], *, with_times: bool = True) -> list[str]:
    """Return a line for each path that is not exactly the same on both sides; empty when the folders are equal."""
    left, right = tree_of(one, with_times=with_times), tree_of(other, with_times=with_times)
    return [
        f"{path!r}: {left.get(path)} != {right.get(path)}"
        for path in sorted(left.keys() | right.keys())
        if left.get(path) != right.get(path)
    ]


def contents_of(root: str | os.PathLike[str]) -> set[bytes]:
    """Return the SHA-256 of every file below `root`, Satchel's own folder (staging, trash) included."""
    hashes = set()
    for folder, _, names in os.walk(os.fsencode(root)):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                hashes.add(_sha256(path))
    return hashes


def _node(item: os.DirEntry[bytes], with_times: bool) -> Node:
    if item.is_symlink():
        return Node("symlink", os.readlink(item.path))
    if item.is_dir(follow_symlinks=False):
        return Node("folder")
    stat = item.stat(follow_symlinks=False)
    return Node("file", _sha256(item.path), bool(stat.st_mode & 0o100), stat.st_mtime_ns if with_times else 0)


def _sha256(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
