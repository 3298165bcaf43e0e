"""A small model of one namespace: rows, liveness by `cleared_seq`, and the journal. Made for folding tests.

It follows docs/design (tables, live, journal) in the plainest way, sharing no code with `core/folding`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from satchel.core.entries import Action, Entry, Kind
from satchel.core.ids import ROOT_NODE, ContentHash, DeviceId, LinkId, NodeId, OpId, Tag


@dataclass(slots=True)
class Row:
    """One row of the table `files`."""

    node_id: NodeId
    parent_id: NodeId
    kind: Kind
    content: int
    seq: int
    is_alive: bool = True
    cleared_seq: int = 0
    saved_cleared_seq: int = 0


class ModelNamespace:
    """Applies random valid operations; `journal` and `snapshot_row` show what a reader would get."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rows: dict[NodeId, Row] = {}
        self.journal: list[Entry] = []

    @property
    def head(self) -> int:
        return len(self.journal)

    def is_live(self, node_id: NodeId) -> bool:
        if node_id == ROOT_NODE:
            return True
        row = self.rows[node_id]
        if not row.is_alive or not self.is_live(row.parent_id):
            return False
        return row.parent_id == ROOT_NODE or row.seq > self.rows[row.parent_id].cleared_seq

    def live_ids(self) -> list[NodeId]:
        return sorted(node_id for node_id in self.rows if self.is_live(node_id))

    def live_view(self) -> dict[NodeId, tuple[NodeId, int]]:
        return {node_id: (self.rows[node_id].parent_id, self.rows[node_id].content) for node_id in self.live_ids()}

    def snapshot_row(self, node_id: NodeId) -> Entry | None:
        return self._entry(self.rows[node_id], Action.SNAPSHOT) if self.is_live(node_id) else None

    def unit_rows(self, unit: NodeId) -> list[Entry]:
        return [
            self._entry(self.rows[node_id], Action.SNAPSHOT) for node_id in self.live_ids() if self.is_in(node_id, unit)
        ]

    def is_in(self, node_id: NodeId, unit: NodeId) -> bool:
        while node_id not in (unit, ROOT_NODE):
            node_id = self.rows[node_id].parent_id
        return node_id == unit

    def act(self) -> None:
        """Do one random operation: mostly growth, so that there is something to delete."""
        operation = self.random.choice(
            [
                self.create,
                self.create,
                self.create,
                self.edit,
                self.move,
                self.move,
                self.delete,
                self.revive,
                self.revive,
            ]
        )
        operation()

    def create(self) -> None:
        # Random ids, so that a snapshot's page order is not the order of creation.
        node_id = NodeId(self.random.randbytes(16))
        kind = self.random.choice([Kind.FILE, Kind.FOLDER, Kind.FOLDER])
        row = Row(node_id, self._folder(), kind, self.head, 0)
        self.rows[node_id] = row
        self._record(row, Action.CREATE)

    def edit(self) -> None:
        files = [node_id for node_id in self.live_ids() if self.rows[node_id].kind == Kind.FILE]
        if files:
            row = self.rows[self.random.choice(files)]
            row.content = self.head
            self._record(row, Action.EDIT)

    def move(self) -> None:
        live = self.live_ids()
        if not live:
            return
        row, target = self.rows[self.random.choice(live)], self._folder()
        if not self.is_in(target, row.node_id):
            row.parent_id = target
            self._record(row, Action.MOVE)

    def delete(self) -> None:
        live = self.live_ids()
        if live:
            row = self.rows[self.random.choice(live)]
            row.is_alive = False
            row.saved_cleared_seq, row.cleared_seq = row.cleared_seq, self.head + 1
            self._record(row, Action.DELETE)

    def revive(self) -> None:
        dead = sorted(node_id for node_id in self.rows if not self.is_live(node_id))
        if not dead:
            return
        row, target = self.rows[self.random.choice(dead)], self._folder()
        if self.is_in(target, row.node_id):
            return
        # Only the node that was deleted itself can bring its unit along; what died with a folder comes alone.
        is_subtree = not row.is_alive and self.random.random() < 0.5
        row.parent_id, row.is_alive = target, True
        row.cleared_seq = row.saved_cleared_seq if is_subtree else self.head + 1
        self._record(row, Action.UNDELETE, is_subtree=is_subtree)

    def _folder(self) -> NodeId:
        folders = [node_id for node_id in self.live_ids() if self.rows[node_id].kind == Kind.FOLDER]
        return self.random.choice([ROOT_NODE, *folders])

    def _record(self, row: Row, action: Action, *, is_subtree: bool = False) -> None:
        row.seq = self.head + 1
        self.journal.append(self._entry(row, action, is_subtree=is_subtree))

    def _entry(self, row: Row, action: Action, *, is_subtree: bool = False) -> Entry:
        name = row.node_id.hex()
        return Entry(
            seq=row.seq,
            tag=Tag(row.seq.to_bytes(8, "big")),
            action=action,
            node_id=row.node_id,
            parent_id=row.parent_id,
            name=name,
            name_key=name,
            kind=row.kind,
            is_live=action != Action.DELETE,
            content=ContentHash(row.content.to_bytes(32, "big")),
            blocks=b"",
            size=0,
            mtime_ns=0,
            is_executable=False,
            content_rev=0,
            place_rev=0,
            is_subtree=is_subtree,
            device=DeviceId(b"d" * 16),
            link=LinkId(b"l" * 16),
            op_id=OpId(b"o" * 16),
            created_ms=row.seq,
        )
