"""What a listing or a feed says of a node. Invariant: an entry is the full post-image of one node.

`Entry` is a value on the wire (msgspec, array-like) and inside. Source: docs/design/030 (journal), 050 (entries).
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from satchel.core.ids import DeviceId, LinkId, NodeId, OpId, Tag


class Kind(IntEnum):
    """What a node is."""

    FILE = 1
    FOLDER = 2
    SYMLINK = 3
    MOUNT = 4


class Action(IntEnum):
    """What the journal entry did. SNAPSHOT marks a row of a snapshot page, which is no change."""

    SNAPSHOT = 0
    CREATE = 1
    EDIT = 2
    MOVE = 3
    DELETE = 4
    UNDELETE = 5
    ATTR = 6
    MOUNT = 7
    UNMOUNT = 8


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One node as it stood after one journal entry (or, in a snapshot, as it stands).

    seq: place in the journal; in a snapshot the node's newest seq. is_live: False for a deletion.
    content: content hash of a file (32 bytes), target of a symlink (UTF-8), empty for a folder.
    blocks: packed blocklist (see `hashing.pack_blocks`), empty when longer than the inline limit.
    content_rev and place_rev: seq of the last change of content (or bit) and of place; a commit expects them.
    is_subtree: a whole unit appears with this entry (undelete, mount, move in); fetch its snapshot if not held.
    device, link, op_id: who committed it. inline: index into the page's bodies, or -1. xattrs: packed (`core.xattrs`),
    None for whoever did not ask for them.
    """

    seq: int
    tag: Tag
    action: int
    node_id: NodeId
    parent_id: NodeId
    name: str
    name_key: str
    kind: int
    is_live: bool
    content: bytes
    blocks: bytes
    size: int
    mtime_ns: int
    is_executable: bool
    content_rev: int
    place_rev: int
    is_subtree: bool
    device: DeviceId
    link: LinkId
    op_id: OpId
    created_ms: int
    inline: int = -1
    xattrs: bytes | None = None
