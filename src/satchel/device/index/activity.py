"""What was decided and what was done to the linked folder, as rows: for `activity`, `explain` and `undo`.

Invariant: a row is written in the transaction of the fact that it tells of, and none is changed later; the oldest go
when there are more than ACTIVITY_ROWS_MAX. A run is what was done between two times of rest. Source: docs/design/040,
rule 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import apsw

from satchel.core.ids import NodeId
from satchel.device.index.store import Index

ACTIVITY_ROWS_MAX = 100_000
RUN_GAP_MS = 5_000
"""What follows sooner belongs to the run before, even when all was at rest between."""

COLUMNS = "id, at_ms, run, what, node_id, path, rule, was_path, was_content, content, trashed, beside, sides, device"


class What(IntEnum):
    """What a row tells of. DECIDED: both sides had changed, and a rule decided; the others changed the disk."""

    DECIDED = 0
    CREATED = 1
    REPLACED = 2
    REMOVED = 3
    MOVED = 4
    EXECUTABLE = 5
    NOT_EXECUTABLE = 6


@dataclass(frozen=True, slots=True)
class Act:
    """One decision or one change of the disk. Paths are relative to the linked folder.

    was_path: before a move. was_content, content: before and after (hash of a file, target of a symlink, empty for a
    folder). trashed: name in the local trash of what was taken away. beside: path of the conflicted copy, "" for none.
    sides: JSON of the three sides, of a decision.
    """

    what: What
    node_id: NodeId
    path: str
    rule: str
    was_path: str = ""
    was_content: bytes = b""
    content: bytes = b""
    trashed: str = ""
    beside: str = ""
    sides: bytes = b""


@dataclass(frozen=True, slots=True)
class ActRow:
    """An act as it stands in the index. number: grows with each. device: the name of the one that did it."""

    number: int
    at_ms: int
    run: int
    act: Act
    device: str


@dataclass(slots=True)
class RunOfActs:
    """The run under way, its last act's time, and what is to be written with the next."""

    run: int
    last_ms: int
    has_rested: bool = True
    noted: list[Act] = field(default_factory=list)

    def next(self, at_ms: int) -> int:
        """Return the run that an act of this time belongs to."""
        if self.run == 0 or (self.has_rested and at_ms - self.last_ms >= RUN_GAP_MS):
            self.run += 1
        self.has_rested = False
        self.last_ms = at_ms
        return self.run

    def begin(self) -> None:
        """Let the next act begin a new run: a person's word was given."""
        self.run += 1
        self.has_rested = False
        self.last_ms = 0

    def close(self) -> None:
        """Let what comes after a person's word be a run of its own."""
        self.has_rested = True
        self.last_ms = 0


def last_run(index: Index) -> tuple[int, int]:
    """Return (run, Unix ms) of the newest act, zeros when there is none."""
    newest = "SELECT run, at_ms FROM activity ORDER BY id DESC LIMIT 1"
    return next(iter(index.connection.execute(newest)), (0, 0))


def put_acts(index: Index, acts: Sequence[Act], *, run: int, at_ms: int, device: str) -> None:
    """Write acts of one moment, in order, and let the oldest rows go."""
    if not acts:
        return
    columns = COLUMNS.removeprefix("id, ")
    index.connection.executemany(
        f"INSERT INTO activity ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                at_ms,
                run,
                int(act.what),
                act.node_id,
                act.path,
                act.rule,
                act.was_path,
                act.was_content,
                act.content,
                act.trashed,
                act.beside,
                act.sides,
                device,
            )
            for act in acts
        ),
    )
    index.connection.execute(
        "DELETE FROM activity WHERE id <= (SELECT MAX(id) FROM activity) - ?", (ACTIVITY_ROWS_MAX,)
    )


class Activity:
    """Reads the rows. connection: one that may be read-only."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def newest(self, limit: int, *, before: int = 0) -> list[ActRow]:
        """Return up to `limit` rows, the newest first; with `before`, those older than that number."""
        where, values = ("WHERE id < ?", (before,)) if before else ("", ())
        return self._rows(f"{where} ORDER BY id DESC LIMIT ?", *values, limit)

    def of_node(self, node_id: NodeId, limit: int) -> list[ActRow]:
        """Return what concerns a node, the newest first."""
        return self._rows("WHERE node_id = ? ORDER BY id DESC LIMIT ?", node_id, limit)

    def at_path(self, path: str, limit: int) -> list[ActRow]:
        """Return what concerns a path, as it was called then, the newest first."""
        return self._rows("WHERE path = ?1 OR was_path = ?1 OR beside = ?1 ORDER BY id DESC LIMIT ?2", path, limit)

    def last_changes(self, limit: int) -> list[ActRow]:
        """Return what the last run that changed the disk did, in order; the newest `limit` of it."""
        return self._rows(
            "WHERE what > 0 AND run = (SELECT run FROM activity WHERE what > 0 ORDER BY id DESC LIMIT 1)"
            " ORDER BY id DESC LIMIT ?",
            limit,
        )[::-1]

    def _rows(self, where: str, *values: object) -> list[ActRow]:
        found = self._connection.execute(f"SELECT {COLUMNS} FROM activity {where}", values)
        return [_row(*each) for each in found]


def _row(number: int, at_ms: int, run: int, what: int, node_id: bytes, path: str, rule: str, *rest: object) -> ActRow:
    was_path, was_content, content, trashed, beside, sides, device = rest
    act = Act(
        What(what),
        NodeId(node_id),
        path,
        rule,
        was_path,  # type: ignore[arg-type]  # the schema fixes the columns' types
        was_content,  # type: ignore[arg-type]
        content,  # type: ignore[arg-type]
        trashed,  # type: ignore[arg-type]
        beside,  # type: ignore[arg-type]
        sides,  # type: ignore[arg-type]
    )
    return ActRow(number, at_ms, run, act, str(device))
