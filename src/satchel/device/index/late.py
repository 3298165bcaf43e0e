"""What went to the local trash and may still be held open by a program: it is looked at again, over restarts too.

Invariant: a row stays until its last look is done. Times are ms of the caller's choice; only the order counts here.
Source: docs/design/040, rule 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from satchel.core.entries import Kind
from satchel.device.index.store import Index
from satchel.device.ports import DiskPath, Stat

_StatValues = tuple[bytes, int, int, int, int, int, int, bool]


@dataclass(frozen=True, slots=True)
class LateRow:
    """trashed: name in the trash. path: where it stood. members: relative path -> stat, as it was when it went.

    content: hash of a file, for the last look; empty for a folder. looks: how many were made.
    """

    trashed: str
    path: DiskPath
    members: dict[bytes, Stat]
    content: bytes
    looks: int = 0


def put_late(index: Index, row: LateRow, due_ms: int) -> None:
    """Remember a look, or the next one of the same row."""
    index.connection.execute(
        "INSERT OR REPLACE INTO late VALUES (?, ?, ?, ?, ?, ?)",
        (row.trashed, row.path, _packed(row.members), row.content, row.looks, due_ms),
    )


def put_off(index: Index, trashed: str, looks: int, due_ms: int) -> None:
    """Set how many looks were made and when the next is due."""
    index.connection.execute("UPDATE late SET looks = ?, due_ms = ? WHERE trashed = ?", (looks, due_ms, trashed))


def drop_late(index: Index, trashed: str) -> None:
    """No further look."""
    index.connection.execute("DELETE FROM late WHERE trashed = ?", (trashed,))


def due_late(index: Index, now_ms: int, limit: int) -> list[LateRow]:
    """Return the rows that are due, those due first at the front."""
    query = "SELECT trashed, path, members, content, looks FROM late WHERE due_ms <= ? ORDER BY due_ms, trashed LIMIT ?"
    return [
        LateRow(trashed, DiskPath(path), _unpacked(members), content, looks)
        for trashed, path, members, content, looks in index.connection.execute(query, (now_ms, limit))
    ]


def next_late_ms(index: Index) -> int | None:
    """Return when the next look is due, None when none is pending."""
    found = next(iter(index.connection.execute("SELECT MIN(due_ms) FROM late")))[0]
    return None if found is None else int(found)


def clamp_late(index: Index, latest_ms: int) -> None:
    """Let nothing be due after this: the clock may have been set back since."""
    index.connection.execute("UPDATE late SET due_ms = ? WHERE due_ms > ?", (latest_ms, latest_ms))


def _packed(members: dict[bytes, Stat]) -> bytes:
    values = [
        (
            below,
            0 if stat.kind is None else int(stat.kind),
            stat.size,
            stat.mtime_ns,
            stat.ctime_ns,
            stat.inode,
            stat.birth_ns,
            stat.is_executable,
        )
        for below, stat in members.items()
    ]
    return msgspec.msgpack.encode(values)


def _unpacked(packed: bytes) -> dict[bytes, Stat]:
    values = msgspec.msgpack.decode(packed, type=list[_StatValues])
    return {
        below: Stat(Kind(kind) if kind else None, size, mtime, ctime, inode, birth, is_executable)
        for below, kind, size, mtime, ctime, inode, birth, is_executable in values
    }
