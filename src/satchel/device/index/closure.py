"""Loads what a plan must see: the dirty rows, their ancestors, and whoever has their names.

Invariant: of every row that may get an operation it holds whoever has the names that the row takes. The cost grows
with the change: one look-up a row and name, and one a folder above; those of many rows go together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from satchel.core.ids import ROOT_NID, Nid, NodeId
from satchel.core.paths import name_key
from satchel.core.trees import Item, Row, Side
from satchel.device.index.reader import json_of
from satchel.device.index.rows import row_of
from satchel.device.index.schema import ROW_COLUMNS
from satchel.device.index.store import Index

_BY_NID = f"SELECT {ROW_COLUMNS} FROM nodes WHERE nid = ?"
_BY_NIDS = f"SELECT {ROW_COLUMNS} FROM nodes WHERE nid IN (SELECT value FROM json_each(?))"
_BY_ID = f"SELECT {ROW_COLUMNS} FROM nodes WHERE node_id = ?"
_AT_REMOTE = (
    f"SELECT {ROW_COLUMNS} FROM json_each(?) AS wanted CROSS JOIN nodes INDEXED BY nodes_remote"
    " ON r_parent = wanted.value->>0 AND r_key = wanted.value->>1 AND r_state = 1"
)
_AT_LOCAL = (
    f"SELECT {ROW_COLUMNS} FROM json_each(?) AS wanted CROSS JOIN nodes INDEXED BY nodes_local"
    " ON l_parent = wanted.value->>0 AND l_key = wanted.value->>1 AND l_state > 0"
)
_BELOW_LOCAL = f"SELECT {ROW_COLUMNS} FROM nodes WHERE l_parent = ? AND l_state > 0"
_BELOW_REMOTE = f"SELECT {ROW_COLUMNS} FROM nodes WHERE r_parent = ? AND r_state = 1"


class Closure:
    """Rows by nid, grown to what the planner needs."""

    def __init__(self, index: Index, busy: Collection[Nid]) -> None:
        self.rows: dict[Nid, Row] = {}
        self._run = index.connection.execute
        self._busy = busy
        self._new: list[Row] = []
        """Those that nothing was looked up for yet."""
        self._looked_below: set[Nid] = set()
        self._looked_at: set[tuple[Nid, str]] = set()

    def load(self, nids: Iterable[Nid]) -> list[Row]:
        """Add the named rows. Result: those that exist."""
        wanted = list(nids)
        self._add(_BY_NIDS, (json_of(nid for nid in wanted if nid not in self.rows),))
        return [self.rows[nid] for nid in wanted if nid in self.rows]

    def drop(self, nid: Nid) -> None:
        """Leave a row out that is not to be planned now. It comes back where another one needs its name."""
        self.rows.pop(nid, None)

    def grow(self, dirty: Iterable[Row], names: Iterable[tuple[Nid, str]] = ()) -> None:
        """Add ancestors in all trees, holders of the dirty rows' names, and of `names` (parent, name).

        A dirty row that comes in so is planned too: the names that it takes are looked up as well, and so on.
        """
        sides = [side for row in dirty for side in (row.remote, row.local)]
        self._add_holders({*_places(sides), *((parent, name_key(name)) for parent, name in names)})
        while self._new:
            # A folder above may be dying too, and what is below it may lie elsewhere on the other side.
            new, self._new = [row for row in self._new if row.nid in self.rows], []
            self._add_below_dying(new)
            self._add_ancestors(new)
            self._add_holders({place for row in new if row.is_dirty and not row.is_busy for place in _taken(row)})

    def by_node_id(self, node_id: NodeId) -> Row | None:
        """Return (and add) the row of this id."""
        return self._add(_BY_ID, (node_id,))

    def _add_holders(self, places: set[tuple[Nid, str]]) -> None:
        places -= self._looked_at
        if places:
            self._looked_at |= places
            wanted = json_of(sorted(places))
            self._add(_AT_REMOTE, (wanted,))
            self._add(_AT_LOCAL, (wanted,))

    def _add_below_dying(self, rows: Iterable[Row]) -> None:
        """A folder absent on one side may still hold children on the other: the planner must see them all."""
        pending = [row for row in rows if (row.remote is None) != (row.local is None)]
        while pending:
            row = pending.pop()
            if row.nid in self._looked_below or row.synced is None:
                continue
            self._looked_below.add(row.nid)
            query = _BELOW_LOCAL if row.remote is None else _BELOW_REMOTE
            for values in self._run(query, (row.nid,)):
                child = self._keep(values)
                pending.append(child)

    def _add_ancestors(self, rows: Iterable[Row]) -> None:
        pending = list(rows)
        while pending:
            row = pending.pop()
            for side in (row.remote, row.local, row.synced):
                if isinstance(side, Item) and side.parent != ROOT_NID and side.parent not in self.rows:
                    parent = self._add(_BY_NID, (side.parent,))
                    if parent is not None:
                        pending.append(parent)

    def _add(self, sql: str, values: tuple[object, ...]) -> Row | None:
        last: Row | None = None
        for record in self._run(sql, values):
            last = self._keep(record)
        return last

    def _keep(self, record: tuple[object, ...]) -> Row:
        nid = Nid(record[0])  # type: ignore[arg-type]  # the schema fixes the column's type
        row = self.rows.get(nid)
        if row is None:
            row = self.rows[nid] = row_of(record, is_busy=nid in self._busy)
            self._new.append(row)
        return row


def _places(sides: Iterable[Side]) -> Iterable[tuple[Nid, str]]:
    return ((side.parent, name_key(side.name)) for side in sides if isinstance(side, Item))


def _taken(row: Row) -> set[tuple[Nid, str]]:
    """Where the row stands in a tree and did not when the two were last equal.

    One that went on a side has left its name there, and may be brought back for what is below it: the name is all new.
    """
    standing = set(_places((row.remote, row.local)))
    return standing if row.remote is None or row.local is None else standing.difference(_places((row.synced,)))
