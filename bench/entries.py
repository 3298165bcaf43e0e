"""Entries to measure with: new files in folders of a hundred."""

from __future__ import annotations

from satchel.core.entries import Action, Entry, Kind
from satchel.core.ids import ROOT_NODE, DeviceId, LinkId, NodeId, OpId, Tag


def file_entries(count: int) -> tuple[Entry, ...]:
    """Return `count` entries as a journal from seq 1 would have them; every hundredth is the next folder."""
    folder, made = ROOT_NODE, []
    for seq in range(1, count + 1):
        node_id, is_folder = NodeId(seq.to_bytes(16, "big")), seq % 100 == 1
        kind = Kind.FOLDER if is_folder else Kind.FILE
        made.append(_entry(seq, node_id, ROOT_NODE if is_folder else folder, kind))
        folder = node_id if is_folder else folder
    return tuple(made)


def _entry(seq: int, node_id: NodeId, parent_id: NodeId, kind: Kind) -> Entry:
    content = seq.to_bytes(32, "big") if kind == Kind.FILE else b""
    return Entry(
        seq=seq,
        tag=Tag(seq.to_bytes(8, "big")),
        action=Action.CREATE,
        node_id=node_id,
        parent_id=parent_id,
        name=f"File {seq}.txt",
        name_key=f"file {seq}.txt",
        kind=kind,
        is_live=True,
        content=content,
        blocks=content + (4096).to_bytes(4, "big") if content else b"",
        size=4096,
        mtime_ns=1_700_000_000_000_000_000 + seq,
        is_executable=False,
        content_rev=seq,
        place_rev=seq,
        is_subtree=False,
        device=DeviceId(b"d" * 16),
        link=LinkId(b"l" * 16),
        op_id=OpId(seq.to_bytes(16, "big")),
        created_ms=1_700_000_000_000 + seq,
    )
