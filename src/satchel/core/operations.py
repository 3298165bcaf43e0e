"""What the planner asks for. A plan is a DAG: each operation names those it needs, by index in the plan.

Invariant: every order that respects `needs` gives the same result. Operations on the server are named Commit…, those on
the disk Place…, Move…, Trash…, Set…; Adopt, Agree and Hold change the index alone. Source: docs/design/040.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from satchel.core.ids import Nid, NodeId
from satchel.core.trees import Item


@dataclass(frozen=True, slots=True)
class CommitCreate:
    """Make the node on the server as `item`; its content is that of the local file."""

    index: int
    needs: tuple[int, ...]
    nid: Nid
    item: Item


@dataclass(frozen=True, slots=True)
class CommitCopy:
    """Make a conflicted copy on the server: a new node `copy_id` as `item`, with the bytes of the local file `nid`.

    It travels before the local name is replaced, so that the other content is safe first. `copy_id` is derived from
    device, node, base rev and content: planning twice or crashing never makes a second copy.
    """

    index: int
    needs: tuple[int, ...]
    nid: Nid
    copy_id: NodeId
    item: Item


@dataclass(frozen=True, slots=True)
class CommitEdit:
    """Send the local content (and attributes). base_rev: the remote content_rev it replaces."""

    index: int
    needs: tuple[int, ...]
    nid: Nid
    item: Item
    base_rev: int


@dataclass(frozen=True, slots=True)
class CommitAttr:
    """Send the executable bit and the extended attributes alone. is_xattrs_only: the bit is as the service has it."""

    index: int
    needs: tuple[int, ...]
    nid: Nid
    is_executable: bool
    base_rev: int
    xattrs: bytes = b""
    is_xattrs_only: bool = False


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One node's way from its place to a new one. base_rev: the remote place_rev (server moves only)."""

    nid: Nid
    parent: Nid
    name: str
    base_rev: int = 0


@dataclass(frozen=True, slots=True)
class CommitMove:
    """Move on the server; several moves (a swap, a cyclic rename) are one atomic batch."""

    index: int
    needs: tuple[int, ...]
    moves: tuple[PlannedMove, ...]


@dataclass(frozen=True, slots=True)
class CommitDelete:
    """Delete the unit on the server. nids: all rows of the unit that go with it, the top first."""

    index: int
    needs: tuple[int, ...]
    nid: Nid
    nids: tuple[Nid, ...]


@dataclass(frozen=True, slots=True)
class CommitUndelete:
    """Revive a node that the server holds as deleted, at the place and with the content of `item`.

    A folder comes back as a skeleton (without what lay in it).
    """

    index: int
    needs: tuple[int, ...]
    nid: Nid
    item: Item


@dataclass(frozen=True, slots=True)
class Place:
    """Make or replace the node on disk so that it is `item`, with the remote's content.

    replaces: what stands there now and is to be swapped out, None for a new place (never replaces anything then).
    keep_as: name in the same folder that the swapped-out file gets as a conflicted copy (the node `keep_id`, which a
    CommitCopy made on the server first); None: it goes to the local trash.
    """

    index: int
    needs: tuple[int, ...]
    nid: Nid
    item: Item
    replaces: Item | None = None
    keep_as: str | None = None
    keep_id: NodeId | None = None


@dataclass(frozen=True, slots=True)
class MoveLocal:
    """Move on the disk; several moves are a swap or a cycle, done by exchange or by a staging name."""

    index: int
    needs: tuple[int, ...]
    moves: tuple[PlannedMove, ...]


@dataclass(frozen=True, slots=True)
class TrashLocal:
    """Move the unit on disk to the local trash. nids: all rows of the unit that go with it, the top first."""

    index: int
    needs: tuple[int, ...]
    nid: Nid
    nids: tuple[Nid, ...]


@dataclass(frozen=True, slots=True)
class SetAttributes:
    """Set the executable bit and the extended attributes on disk."""

    index: int
    needs: tuple[int, ...]
    nid: Nid
    is_executable: bool
    xattrs: bytes = b""


@dataclass(frozen=True, slots=True)
class Adopt:
    """The local-only row `nid` and the remote node of row `into` are one: its local side moves to that row.

    For folders the local children come along (their parent becomes `into`).
    """

    index: int
    needs: tuple[int, ...]
    nid: Nid
    into: Nid


@dataclass(frozen=True, slots=True)
class Agree:
    """Remote and local are equal: synced becomes the same (absent on both: the row goes)."""

    index: int
    needs: tuple[int, ...]
    nid: Nid


class HoldReason(Enum):
    """Why a row waits, as `status` shows it."""

    PARENT_UNKNOWN = "the folder it is in cannot be read"
    UNKNOWN_INSIDE = "something inside cannot be read, so the folder is not deleted"
    NAME_UNUSABLE = "this disk cannot hold the name"
    NAME_BUSY = "another file with this name is being worked on"
    KIND_UNSUPPORTED = "this kind of node is not synced"


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing can be done now for this row; it is planned again with a new fact or at its next try."""

    index: int
    needs: tuple[int, ...]
    nid: Nid
    reason: HoldReason


Operation = (
    CommitCreate
    | CommitCopy
    | CommitEdit
    | CommitAttr
    | CommitMove
    | CommitDelete
    | CommitUndelete
    | Place
    | MoveLocal
    | TrashLocal
    | SetAttributes
    | Adopt
    | Agree
    | Hold
)


@dataclass(frozen=True, slots=True)
class Decision:
    """Why something was done to a row: the rule's name in the tables of docs/design/040, and all three sides."""

    nid: Nid
    rule: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations in an order that respects `needs` (operations[i].index == i), and the decisions behind them."""

    operations: tuple[Operation, ...] = ()
    decisions: tuple[Decision, ...] = ()
