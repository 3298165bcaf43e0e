"""A node as its row holds it, and its image as the journal holds it. Invariant: both are values, never changed.

Live: a node lives when its state is live, its seq is above its parent's cleared_seq, and its parent lives. So deleting,
restoring or moving a folder changes one row, whatever the folder holds. Source: docs/design (data).
"""

from __future__ import annotations

import msgspec

from satchel.core.entries import Action, Entry, Kind
from satchel.core.ids import DeviceId, LinkId, NodeId, OpId, Tag
from satchel.server.db.engine import Row, Value

DEAD = 0
LIVE = 1
LIFTED = 2
"""Only inside a transaction: the row's name is free for another row of the same batch."""
PURGED = 3
"""Removed for good: of the node the name and place are left, because the journal still speaks of it. While its
deleted_at is set, upkeep has yet to remove its versions and what died with it. It lives again only by new content."""


class Node(msgspec.Struct, frozen=True, gc=False):
    """One row of `files`, in the order of COLUMNS.

    content: content hash of a file, UTF-8 target of a symlink, empty for a folder. deleted_at: Unix ms of its own
    deletion, None when it was not deleted itself. cleared_seq: children not above it are dead; cleared_before: what
    it was before the last deletion. xattrs: packed, None for none.
    """

    node_id: NodeId
    parent_id: NodeId
    name: str
    name_key: str
    kind: int
    content: bytes
    size: int
    mtime_ns: int
    is_executable: int
    content_rev: int
    place_rev: int
    version_count: int
    state: int
    deleted_at: int | None
    cleared_seq: int
    cleared_before: int
    seq: int
    created_at: int
    xattrs: bytes | None = None

    @property
    def place(self) -> tuple[NodeId, str]:
        """Folder and name key: what no two live nodes share."""
        return self.parent_id, self.name_key


COLUMNS = Node.__struct_fields__
COLUMN_LIST = ", ".join(COLUMNS)


def columns_of(alias: str) -> str:
    """Return the node's columns for a SELECT over a table alias."""
    return ", ".join(f"{alias}.{column}" for column in COLUMNS)


def values_of(node: Node) -> tuple[Value, ...]:
    """Return the row's values in the order of COLUMNS."""
    return msgspec.structs.astuple(node)


def node_of(row: Row) -> Node:
    """Return the node of a row selected by COLUMN_LIST."""
    return Node(*row)


class Image(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A node as it stood before or after a journal entry.

    blocks: the packed blocklist of the content that the entry brought, when that is one block: so the feed looks up no
    lists for small files. Empty otherwise, which says nothing.
    """

    parent_id: NodeId
    name: str
    name_key: str
    kind: int
    is_live: bool
    content: bytes
    size: int
    mtime_ns: int
    is_executable: bool
    content_rev: int
    place_rev: int
    blocks: bytes = b""
    xattrs: bytes = b""


_NO_TAG, _NO_DEVICE, _NO_LINK, _NO_OP = Tag(b""), DeviceId(b""), LinkId(b""), OpId(b"")
_SNAPSHOT = int(Action.SNAPSHOT)
_NO_INLINE = -1
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Image).decode


def image_bytes(node: Node, *, is_live: bool, blocks: bytes = b"") -> bytes:
    """Return the node's image, packed. blocks: see `Image`."""
    return _encode(
        Image(
            node.parent_id,
            node.name,
            node.name_key,
            node.kind,
            is_live,
            node.content,
            node.size,
            node.mtime_ns,
            bool(node.is_executable),
            node.content_rev,
            node.place_rev,
            blocks,
            node.xattrs or b"",
        )
    )


def image_of(packed: bytes) -> Image:
    """Return the image that `image_bytes` packed."""
    return _decode(packed)


def snapshot_entry(node: Node, *, is_live: bool, blocks: bytes = b"") -> Entry:
    """Return the node as it stands now; no change, so it names nobody who made it."""
    # By position, in the order of Entry's fields: a snapshot makes one for each node there is.
    return Entry(
        node.seq,
        _NO_TAG,
        _SNAPSHOT,
        node.node_id,
        node.parent_id,
        node.name,
        node.name_key,
        node.kind,
        is_live,
        node.content,
        blocks,
        node.size,
        node.mtime_ns,
        node.is_executable != 0,
        node.content_rev,
        node.place_rev,
        False,
        _NO_DEVICE,
        _NO_LINK,
        _NO_OP,
        node.created_at,
        _NO_INLINE,
        node.xattrs or b"",
    )


def holds_xattrs(kind: int) -> bool:
    """Tell whether a node of the kind can have extended attributes. Those of a mount are the person's own."""
    return kind in (Kind.FILE, Kind.FOLDER, Kind.MOUNT)


def is_file(kind: int) -> bool:
    """Tell whether the kind's content is a blocklist."""
    return kind == Kind.FILE
