"""The three trees as the planner sees them: remote, local, synced; one row a node.

Invariant: parents are nids, so a folder's move touches one row. Presence is explicit: where a folder is absent in a
tree, all below it is absent there too (the index writes it so). Source: docs/design/040.
"""

from __future__ import annotations

from enum import Enum

import msgspec
from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.core.ids import Nid, NodeId


class Item(msgspec.Struct, frozen=True, gc=False):
    """The synced values of one node in one tree. Stat and mtime are left out: they are never a difference.

    content: content hash of a file (32 bytes), target of a symlink in UTF-8, empty for a folder. xattrs: packed
    (`core.xattrs`), b"" for none and where they are not synced.
    """

    parent: Nid
    name: str
    kind: Kind
    content: bytes = b""
    is_executable: bool = False
    xattrs: bytes = b""

    @property
    def place(self) -> tuple[Nid, str]:
        return self.parent, self.name

    @property
    def substance(self) -> tuple[Kind, bytes, bool, bytes]:
        """What the node is, wherever it stands."""
        return self.kind, self.content, self.is_executable, self.xattrs

    @property
    def attributes(self) -> tuple[bool, bytes]:
        """What can be set without touching place or content."""
        return self.is_executable, self.xattrs

    def at(self, parent: Nid, name: str) -> Item:
        return replace(self, parent=parent, name=name)

    def holding(self, content: bytes, *, is_executable: bool, xattrs: bytes) -> Item:
        return replace(self, content=content, is_executable=is_executable, xattrs=xattrs)


class Unknown(Enum):
    """Marks a side of which nothing can be said: unreadable, ignored, excluded, not scanned yet, a foreign mount.

    Unknown never means deleted, and blocks the deletion of the unit it stands in.
    """

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN

Side = Item | Unknown | None
"""None: absent."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """One node in all three trees.

    content_rev, place_rev: the revs of `remote`, which a commit expects. is_busy: an operation on it is in flight;
    such a row stands in the closure for its name and its place only and gets no operation.
    """

    nid: Nid
    node_id: NodeId
    remote: Side
    local: Side
    synced: Item | None
    content_rev: int = 0
    place_rev: int = 0
    is_busy: bool = False

    @property
    def is_dirty(self) -> bool:
        return not (self.remote == self.local == self.synced)

    @property
    def is_unknown(self) -> bool:
        """True when one side cannot be told."""
        return self.remote is UNKNOWN or self.local is UNKNOWN
