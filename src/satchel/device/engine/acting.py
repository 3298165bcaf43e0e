"""Records what the engine decided and what it did to the disk, so that it can be told and taken back.

Invariant: recorded in the transaction that writes the result; nothing here decides. Source: docs/design/040, rule 11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from satchel.core.ids import ROOT_NID, Nid, NodeId
from satchel.core.operations import CommitCopy, Plan
from satchel.core.trees import Item, Row, Side
from satchel.device.engine.state import State
from satchel.device.index.activity import Act, What, put_acts
from satchel.device.ports import DiskPath, joined, split
from satchel.device.tasks import (
    Applied,
    MovePath,
    PlaceFile,
    PlaceFolder,
    PlaceSymlink,
    SetAttrs,
    TrashUnit,
)


def record_decisions(state: State, made: Plan, rows: Mapping[Nid, Row]) -> None:
    """Remember each decision of a plan with the three sides that it was made on."""
    decided = [each for each in made.decisions if each.nid in rows]
    if not decided:
        return
    paths = state.index.reader.remote_paths_of(_named(rows[each.nid] for each in decided) | {e.nid for e in decided})
    copies = {op.nid: op.item for op in made.operations if isinstance(op, CommitCopy)}
    acts: list[Act] = []
    for each in decided:
        row, copy = rows[each.nid], copies.get(each.nid)
        sides = {
            "base": _told(row.synced, paths),
            "local": _told(row.local, paths),
            "remote": _told(row.remote, paths),
        }
        beside = _path_of(copy, paths) if copy is not None else ""
        act = Act(
            What.DECIDED,
            row.node_id,
            paths[each.nid].lstrip("/"),
            each.rule,
            beside=beside,
            sides=msgspec.json.encode(sides),
        )
        acts.append(act)
    _put(state, acts)


def _named(rows: Iterable[Row]) -> set[Nid]:
    return {side.parent for row in rows for side in (row.synced, row.local, row.remote) if isinstance(side, Item)}


def _path_of(item: Item, paths: Mapping[Nid, str]) -> str:
    above = "" if item.parent == ROOT_NID else paths.get(item.parent, "").strip("/")
    return f"{above}/{item.name}" if above else item.name


def _told(side: Side, paths: Mapping[Nid, str]) -> dict[str, object] | str | None:
    if isinstance(side, Item):
        return {
            "path": _path_of(side, paths),
            "kind": side.kind.name.lower(),
            "content": side.content.hex(),
            "is_executable": side.is_executable,
            **({"xattrs": side.xattrs.hex()} if side.xattrs else {}),
        }
    return None if side is None else "unknown"


def record_acts(state: State) -> None:
    """Write what was noted since."""
    acts, state.acts.noted = state.acts.noted, []
    _put(state, acts)


def _put(state: State, acts: list[Act]) -> None:
    if acts:
        at_ms = state.now.wall_ns // 1_000_000
        put_acts(state.index, acts, run=state.acts.next(at_ms), at_ms=at_ms, device=state.identity.device_name)


def note_placed(
    state: State, before: Row, item: Item, task: PlaceFile | PlaceFolder | PlaceSymlink, result: Applied
) -> None:
    """A node was made or replaced. before: the row as it was."""
    is_new = isinstance(task, PlaceFolder) or task.expected is None
    beside = joined(split(task.path)[0], result.kept_name) if result.kept_name else DiskPath(b"")
    act = Act(
        What.CREATED if is_new else What.REPLACED,
        before.node_id,
        _text(task.path),
        "remote create" if is_new else "kept both" if beside else "remote edit",
        was_content=before.local.content if isinstance(before.local, Item) and not is_new else b"",
        content=item.content,
        trashed=result.trashed,
        beside=_text(beside),
    )
    state.acts.noted.append(act)


def note_move(state: State, node_id: NodeId, way: MovePath) -> None:
    """A node was moved on disk."""
    act = Act(What.MOVED, node_id, _text(way.target), "remote move", was_path=_text(way.source))
    state.acts.noted.append(act)


def note_trashed(
    state: State, node_id: NodeId, task: TrashUnit, content: bytes, trashed: str, rule: str = "remote delete"
) -> None:
    """A unit went to the local trash. content: of a file."""
    act = Act(What.REMOVED, node_id, _text(task.path), rule, was_content=content, trashed=trashed)
    state.acts.noted.append(act)


def note_left(state: State, node_id: NodeId, task: TrashUnit, trashed: str) -> None:
    """A unit that is left out went to the local trash. 'undo' does not bring it back: that takes another word."""
    state.acts.noted.append(Act(What.DECIDED, node_id, _text(task.path), "left out", trashed=trashed))


def note_set(state: State, node_id: NodeId, task: SetAttrs) -> None:
    """The executable bit was set or cleared, or else extended attributes were set, which 'undo' does not take back."""
    if task.is_executable == task.expected.is_executable:
        state.acts.noted.append(Act(What.DECIDED, node_id, _text(task.path), "remote xattrs"))
        return
    what = What.EXECUTABLE if task.is_executable else What.NOT_EXECUTABLE
    state.acts.noted.append(Act(what, node_id, _text(task.path), "remote exec"))


def _text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")
