"""Where in the local trash lies what left this disk by a person's word (selective sync), should the service lose it.

Invariant: a row names one thing in the trash, the node that it left with, and where in that node's unit it stood.
It goes when the node is back on this disk. Source: docs/design/040, rule 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from satchel.core.ids import Nid
from satchel.device.index.reader import json_of
from satchel.device.index.store import Index
from satchel.device.ports import DiskPath, split


@dataclass(frozen=True, slots=True)
class LeftTrash:
    """trashed: name in the trash. nid: what a person leaves out. path: where it stood; inside: that, below the node."""

    trashed: str
    nid: Nid
    path: DiskPath
    inside: DiskPath


def put_trash(index: Index, trashed: str, nid: Nid, path: DiskPath) -> None:
    """What stood at `path` lies in the trash now."""
    index.connection.execute("INSERT OR REPLACE INTO left_trash VALUES (?, ?, ?, x'', 0)", (trashed, nid, path))


def nest_trash(index: Index, nids: Iterable[Nid], top: Nid, path: DiskPath | None) -> None:
    """What these rows left in the trash belongs to the unit of `top` now. path: of the top, where this disk has it."""
    rows = index.connection.execute(
        "SELECT trashed, path, inside FROM left_trash WHERE nid IN (SELECT value FROM json_each(?))", (json_of(nids),)
    )
    for trashed, known, inside in list(rows):
        stood = known[: len(known) - len(inside) - 1] if inside else known
        begin = path + b"/" if path else b""
        is_inside = bool(path) and stood.startswith(begin)
        below = known[len(begin) :] if is_inside else split(stood)[1] + known[len(stood) :]
        index.connection.execute("UPDATE left_trash SET nid = ?, inside = ? WHERE trashed = ?", (top, below, trashed))


def move_trash(index: Index, nid: Nid, into: Nid) -> None:
    """The row became another one."""
    index.connection.execute("UPDATE left_trash SET nid = ? WHERE nid = ?", (into, nid))


def doubt_trash(index: Index, nids: Sequence[Nid]) -> set[Nid]:
    """What these rows left in the trash is to come back. Result: those of them that left anything there."""
    if not nids:
        return set()
    rows = index.connection.execute(
        "UPDATE left_trash SET is_doubted = 1 WHERE nid IN (SELECT value FROM json_each(?)) RETURNING nid",
        (json_of(nids),),
    )
    return {Nid(row[0]) for row in list(rows)}


def drop_trash(index: Index, nid: Nid) -> None:
    """The row is an ordinary one again; what is to come back from the trash still does."""
    index.connection.execute("DELETE FROM left_trash WHERE nid = ? AND is_doubted = 0", (nid,))


def forget_trash(index: Index, trashed: str) -> None:
    """It is not in the trash any more."""
    index.connection.execute("DELETE FROM left_trash WHERE trashed = ?", (trashed,))


def doubted(index: Index) -> list[LeftTrash]:
    """Return what is to come back, folders before what stood in them."""
    query = "SELECT trashed, nid, path, inside FROM left_trash WHERE is_doubted ORDER BY path, trashed"
    return [
        LeftTrash(trashed, Nid(nid), DiskPath(path), DiskPath(inside))
        for trashed, nid, path, inside in index.connection.execute(query)
    ]
