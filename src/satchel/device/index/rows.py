"""From the index's columns to values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from satchel.core.entries import Entry, Kind
from satchel.core.ids import Nid, NodeId
from satchel.core.trees import UNKNOWN, Item, Row, Side
from satchel.device.index.schema import EXCLUDED, PRESENT, UNKNOWN_STATE
from satchel.device.ports import Stat

KINDS = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class LocalRow:
    """A node whose local side is present, as the scanner compares it. version: grows with each write of that side."""

    nid: Nid
    parent: Nid
    name: bytes
    kind: Kind
    stat: Stat
    content: bytes
    version: int


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """What the remote side says of a file beside its synced values."""

    size: int
    mtime_ns: int
    seq: int
    key: str


class KnownLocal(NamedTuple):
    """What a scan saw of a row that stands in the index. key: of the name."""

    nid: Nid
    parent: Nid
    name: str
    key: str
    content: bytes
    stat: Stat
    blocks: bytes


class NewLocal(NamedTuple):
    """What a scan saw, and the row that is to be made of it. nid: a reserved one; key: of the name."""

    nid: Nid
    node_id: NodeId
    parent: Nid
    name: str
    key: str
    content: bytes
    stat: Stat
    blocks: bytes


class RemoteRow(NamedTuple):
    """A live entry and the row it belongs to. node_id: the entry's, when the row is to be made (nid is reserved)."""

    nid: Nid
    node_id: NodeId | None
    parent: Nid
    entry: Entry


class Standing(NamedTuple):
    """A row that stands at a place, on one side. kind, content, is_executable, xattrs, name: as that side has them.

    inode, birth_ns: what the disk was last seen to have there, None on the side of the service.
    """

    nid: Nid
    name: str
    kind: int
    content: bytes
    is_executable: int
    xattrs: bytes
    l_state: int
    s_state: int
    inode: int | None = None
    birth_ns: int | None = None


class KnownRemote(NamedTuple):
    """What the index knows of a node of the service."""

    nid: Nid
    is_live: bool
    seq: int


class ToCommit(NamedTuple):
    """What a commit says of a row: where its local side stands and what it holds. stat: as a `LocalRow` has it.

    blocks: packed blocklist, None when it is not known here. remote_seq: of the newest entry folded, 0 for none.
    """

    node_id: NodeId
    parent: Nid
    name: bytes
    stat: Stat
    content: bytes
    blocks: bytes | None
    remote_seq: int


class OnlyHere(NamedTuple):
    """A row that this disk alone has. size: in bytes, 0 for what is no file."""

    item: Item
    size: int


def row_of(values: Sequence[object], *, is_busy: bool) -> Row:
    """Return the planner's row of a `ROW_COLUMNS` record."""
    (nid, node_id, r_state, r_parent, r_name, r_kind, r_content, r_exec, r_xattrs, content_rev, place_rev, *rest) = (
        values
    )
    l_state, l_parent, l_name, l_kind, l_content, l_exec, l_xattrs, s_state, *synced = rest
    return Row(
        nid,  # type: ignore[arg-type]  # the schema fixes the columns' types
        NodeId(node_id),  # type: ignore[arg-type]
        _side(r_state, r_parent, r_name, r_kind, r_content, r_exec, r_xattrs),
        _side(l_state, l_parent, l_name, l_kind, l_content, l_exec, l_xattrs),
        _item(*synced) if s_state == PRESENT else None,
        content_rev,  # type: ignore[arg-type]
        place_rev,  # type: ignore[arg-type]
        is_busy,
    )


def _side(
    state: object, parent: object, name: object, kind: object, content: object, executable: object, xattrs: object
) -> Side:
    if state == PRESENT:
        return _item(parent, name, kind, content, executable, xattrs)
    return UNKNOWN if state in (UNKNOWN_STATE, EXCLUDED) else None


def _item(parent: object, name: object, kind: object, content: object, executable: object, xattrs: object) -> Item:
    return Item(parent, name, KINDS[kind], content, bool(executable), xattrs)  # type: ignore[arg-type,index]  # as above


def local_row_of(values: Sequence[object]) -> LocalRow:
    """Return the scanner's row of a `LOCAL_COLUMNS` record; an unknown side has ctime 0, so it is looked into again."""
    nid, parent, name, kind, size, mtime, ctime, inode, birth, executable, content, version, state, xattrs = values
    known_ctime = ctime if state == PRESENT else 0
    stat = Stat(KINDS[kind], size, mtime, known_ctime, inode, birth, bool(executable), xattrs=xattrs)  # type: ignore[arg-type,index]
    return LocalRow(nid, parent, name.encode(), KINDS[kind], stat, content, version)  # type: ignore[arg-type,attr-defined,index]
