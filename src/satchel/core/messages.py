"""Messages between a device and the service, and their frame. Invariant: decode accepts only what encode can make.

A frame is `length of header, 4 bytes big-endian | header, msgpack | bodies, raw`; the header lists the length of each
body. Source: docs/protocol/device.md. A change here changes that page and a golden file in the same commit.

What comes by the thousand is `gc=False`: frozen values hold no circle, so the collector need not walk them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec

from satchel.core.entries import Entry
from satchel.core.errors import LimitExceeded, MessageInvalid
from satchel.core.ids import BlockHash, ContentHash, DeviceId, LinkId, NamespaceId, NodeId, OpId, Tag

PROTOCOL_VERSION = 3
PROTOCOL_VERSION_MIN = 1
"""Of the other side. Version 1 does not tell its version: what is not told is 1."""
XATTRS_VERSION = 3
"""From this version on a service keeps extended attributes."""
HEADER_BYTES_MAX = 16 * 1024 * 1024

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What a column of a database holds; msgpack has numbers beyond it."""

CODEC_RAW = 0
CODEC_ZSTD = 1


# -- operations of a commit -------------------------------------------------------------------------------------------


class Content(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A file's bytes by name. content_hash names the blocklist; blocks: that list, packed; cutter: `cdc1` or other."""

    content_hash: ContentHash
    blocks: bytes
    size: Int64
    cutter: str = "cdc1"


class CreateOp(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="create"):
    """Make a node. Expects the name key free in a live parent; a node of this id with equal content is Stored.

    content for a file; target for a symlink; neither for a folder. xattrs, here and below: packed (`core.xattrs`); None
    where the sender does not sync them, which leaves those of the node as they are.
    """

    op_id: OpId
    node_id: NodeId
    parent_id: NodeId
    name: str
    kind: Int64
    content: Content | None = None
    target: str = ""
    mtime_ns: Int64 = 0
    is_executable: bool = False
    xattrs: bytes | None = None


class EditOp(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="edit"):
    """Replace a file's content (or a symlink's target). Expects `content_rev` == base_rev; equal content is Stored."""

    op_id: OpId
    node_id: NodeId
    base_rev: Int64
    content: Content | None = None
    target: str = ""
    mtime_ns: Int64 = 0
    is_executable: bool = False
    xattrs: bytes | None = None


class Placement(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One node's new place. Expects `place_rev` == base_rev."""

    node_id: NodeId
    base_rev: Int64
    parent_id: NodeId
    name: str


class MoveOp(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="move"):
    """Move or rename; with several placements all at once (swaps, cyclic renames), or none."""

    op_id: OpId
    placements: tuple[Placement, ...]


class DeleteOp(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="delete"):
    """Delete a node and all below. A change after seen_seq by another device anywhere in the unit refuses it."""

    op_id: OpId
    node_id: NodeId
    seen_seq: Int64


class UndeleteOp(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="undelete"):
    """Revive a deleted node at a place, with new content if given; is_subtree: with all that its deletion took along.

    Without is_subtree a folder comes back empty (a skeleton). Reviving a live node of equal place and content: Stored.
    """

    op_id: OpId
    node_id: NodeId
    parent_id: NodeId
    name: str
    content: Content | None = None
    target: str = ""
    mtime_ns: Int64 = 0
    is_executable: bool = False
    is_subtree: bool = False
    xattrs: bytes | None = None


class AttrOp(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="attr"):
    """Set the executable bit of a file and xattrs. Expects `content_rev` == base_rev; what is equal is Stored."""

    op_id: OpId
    node_id: NodeId
    base_rev: Int64
    is_executable: bool
    xattrs: bytes | None = None


Op = CreateOp | EditOp | MoveOp | DeleteOp | UndeleteOp | AttrOp


class WireBlock(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A block as it travels: its hash, length before compression, codec, and length of its body in the frame."""

    hash: BlockHash
    size: Int64
    codec: Int64
    stored_size: Int64


class CommitRequest(msgspec.Struct, array_like=True, frozen=True):
    """Up to 1,000 ops in order; the frame's bodies are the inline blocks, in the order of `inline`.

    position: how far the sender knows the journal, None when it expects no revs of it. A journal that does not know the
    place was put back since, and its revs mean other states: the whole request is refused with `epoch_changed`.
    """

    ns: NamespaceId
    link: LinkId
    ops: tuple[Op, ...]
    inline: tuple[WireBlock, ...] = ()
    position: Position | None = None


# -- outcomes, one per op ---------------------------------------------------------------------------------------------


class Stored(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="stored"):
    """The op holds. seq: its journal entry (0 when nothing had to change); the feed brings the entry itself."""

    seq: Int64


class Conflict(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="conflict"):
    """What was expected does not hold. current: the node in the way as it stands now, None when it is gone."""

    current: Entry | None = None


class NeedBlocks(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="need_blocks"):
    """The namespace lacks these blocks; put them and commit again. Says nothing about other accounts."""

    hashes: tuple[BlockHash, ...]


class Moved(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="moved"):
    """The node lives in another namespace now."""

    ns: NamespaceId


class Refused(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="refused"):
    """The op cannot hold. code: one of the documented refusal codes; detail: plain data for the message."""

    code: str
    detail: str = ""


Outcome = Stored | Conflict | NeedBlocks | Moved | Refused

REFUSAL_CODES = frozenset(
    {
        "parent_gone",
        "cycle",
        "changed_since",
        "quota_exceeded",
        "name_invalid",
        "too_deep",
        "not_found",
        "op_id_reused",
        "depends_on_refused",
        "kind_mismatch",
        "content_invalid",
        "forbidden",
        "holds_mount",
    }
)


class CommitReply(msgspec.Struct, array_like=True, frozen=True):
    """One outcome per op, in order; head_seq after the commit."""

    outcomes: tuple[Outcome, ...]
    head_seq: Int64


# -- blocks -----------------------------------------------------------------------------------------------------------


class PutRequest(msgspec.Struct, array_like=True, frozen=True):
    """Blocks to store for a namespace; bodies in the same order."""

    ns: NamespaceId
    blocks: tuple[WireBlock, ...]


class PutReply(msgspec.Struct, array_like=True, frozen=True):
    """Hashes that are verified and durable now, in the order sent."""

    stored: tuple[BlockHash, ...]


class GetRequest(msgspec.Struct, array_like=True, frozen=True):
    """Blocks wanted, at most 1,000."""

    ns: NamespaceId
    hashes: tuple[BlockHash, ...]


class GetReply(msgspec.Struct, array_like=True, frozen=True):
    """The blocks in the order asked; bodies follow, as stored. `missing`: asked for but not readable or not there."""

    blocks: tuple[WireBlock, ...]
    missing: tuple[BlockHash, ...] = ()


# -- feed -------------------------------------------------------------------------------------------------------------


class Position(msgspec.Struct, array_like=True, frozen=True):
    """A place in one namespace's journal. (0, empty tag) is the beginning."""

    ns: NamespaceId
    seq: Int64
    tag: Tag


class ChangesRequest(msgspec.Struct, array_like=True, frozen=True):
    """Entries after a position. with_content: small contents travel in the page; with_xattrs: xattrs do."""

    position: Position
    link: LinkId
    limit: Int64 = 2_000
    with_content: bool = True
    with_xattrs: bool = False


class Changes(msgspec.Struct, array_like=True, frozen=True):
    """Entries with prev_seq < seq <= last_seq, in order, none left out; bodies: inline contents, `inline` their blocks.

    An own entry (same link) carries no inline content. is_reset: the position is unknown here or pruned; take a
    snapshot and merge. head_seq: the journal's end when the page was read. scope: `scope_mark` of what the service
    left out of the page, as the link asked it to; empty when nothing.
    """

    ns: NamespaceId
    prev_seq: Int64
    last_seq: Int64
    last_tag: Tag
    entries: tuple[Entry, ...]
    head_seq: Int64
    has_more: bool = False
    is_reset: bool = False
    inline: tuple[WireBlock, ...] = ()
    scope: bytes = b""


class SnapshotRequest(msgspec.Struct, array_like=True, frozen=True):
    """Live nodes below `unit` (and itself, unless it is the root), paged by node id after `after`.

    seq: -1 on the first page; later the seq that the first page fixed. link: whose scope is left out; empty for none.
    with_xattrs: as for `ChangesRequest`.
    """

    ns: NamespaceId
    unit: NodeId
    after: NodeId
    seq: Int64 = -1
    limit: Int64 = 2_000
    link: LinkId = LinkId(b"")
    with_xattrs: bool = False


class SnapshotPage(msgspec.Struct, array_like=True, frozen=True):
    """Rows by node id. Fold the journal from (seq, tag) on afterwards, ignoring entries not above a node's seq.

    scope: as for `Changes`.
    """

    ns: NamespaceId
    seq: Int64
    tag: Tag
    entries: tuple[Entry, ...]
    has_more: bool
    scope: bytes = b""


class ScopeRequest(msgspec.Struct, array_like=True, frozen=True):
    """All that a link leaves out, at most 1,000 nodes: what lies beneath them is in no page of it from now on.

    run: not 0: this start of the link has that number now, as if a hello had said it. A device says it before something
    leaves its disk without a commit: an index from before is known as old then.
    """

    ns: NamespaceId
    link: LinkId
    left_out: tuple[NodeId, ...]
    run: Int64 = 0


class ScopeReply(msgspec.Struct, array_like=True, frozen=True):
    """The scope is stored; its mark, as pages will carry it.

    newest_start: not 0: nothing was stored, for another start of the link has that number, and this one has no higher.
    """

    scope: bytes
    newest_start: Int64 = 0


class ManifestsRequest(msgspec.Struct, array_like=True, frozen=True):
    """Blocklists wanted by content hash, at most 200."""

    ns: NamespaceId
    ids: tuple[ContentHash, ...]


class ManifestsReply(msgspec.Struct, array_like=True, frozen=True):
    """(content hash, packed blocklist) of those that exist and may be read."""

    manifests: tuple[tuple[ContentHash, bytes], ...]


class NamespaceHead(msgspec.Struct, array_like=True, frozen=True):
    """A namespace that the caller can read."""

    ns: NamespaceId
    kind: str
    can_write: bool
    head_seq: Int64
    head_tag: Tag


class NamespacesReply(msgspec.Struct, array_like=True, frozen=True):
    """All readable namespaces, the root one first; epoch: changes when the store was restored.

    version, version_min: the newest and the oldest protocol that the service speaks.
    """

    epoch: bytes
    account: str
    namespaces: tuple[NamespaceHead, ...]
    version: Int64 = 1
    version_min: Int64 = 1


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """First frame of a stream, from the device. run: grows at each start of the device's daemon.

    version: what both speak on this stream, chosen by the device from what `NamespacesReply` told. with_xattrs: as for
    `ChangesRequest`.
    """

    version: Int64
    epoch: bytes
    link: LinkId
    run: Int64
    positions: tuple[Position, ...]
    with_xattrs: bool = False


class Welcome(msgspec.Struct, array_like=True, frozen=True, tag="welcome"):
    """Answer to Hello. recover: this device or this server went back in time; merge by snapshot, delete nothing.

    version: the newest that the service speaks; it may have been replaced since the hello's was agreed on. 0: not told.
    newest_start: the number of the link's newest start when that is another one; this one is to go past it. 0: this one
    is, or it is not told.
    """

    epoch: bytes
    recover: bool
    device: DeviceId
    version: Int64 = 0
    newest_start: Int64 = 0


class Behind(msgspec.Struct, array_like=True, frozen=True, tag="behind"):
    """Too much waits for a frame: the namespace is at `position`; ask for changes."""

    position: Position


class Pushed(msgspec.Struct, array_like=True, frozen=True, tag="pushed"):
    """A page of changes, pushed; its bodies follow in the frame."""

    changes: Changes


class Ping(msgspec.Struct, array_like=True, frozen=True, tag="ping"):
    """Sent every 25 s when nothing else is, so that a dead line is noticed."""


StreamFrame = Welcome | Behind | Pushed | Ping


class ErrorReply(msgspec.Struct, array_like=True, frozen=True):
    """Body of every reply that is not 200 on the device protocol (msgpack)."""

    code: str
    message: str
    hint: str = ""
    retry_after_s: float = 0.0


# -- versions ---------------------------------------------------------------------------------------------------------


def agreed_version(*, newest: int, oldest: int) -> int | None:
    """Return the version to speak with a peer that speaks from `oldest` to `newest`; None without a common one."""
    version = min(newest, PROTOCOL_VERSION)
    return version if version >= max(oldest, PROTOCOL_VERSION_MIN) else None


# -- frames -----------------------------------------------------------------------------------------------------------

T = TypeVar("T")


class _Framed(msgspec.Struct, array_like=True, frozen=True):
    message: msgspec.Raw
    lengths: tuple[int, ...]


_encoder = msgspec.msgpack.Encoder()
_frame_decoder = msgspec.msgpack.Decoder(_Framed)
_decoders: dict[object, msgspec.msgpack.Decoder[object]] = {}


def encode_frame(message: msgspec.Struct, bodies: Sequence[bytes] = ()) -> list[bytes]:
    """Return the frame as pieces to send one after another (joining them would copy the bodies)."""
    return [encode_frame_head(message, [len(body) for body in bodies]), *bodies]


def encode_frame_head(message: msgspec.Struct, lengths: Sequence[int]) -> bytes:
    """Return a frame up to its bodies, whose lengths are known before they are read; the caller sends them after it."""
    header = _encoder.encode(_Framed(msgspec.Raw(_encoder.encode(message)), tuple(lengths)))
    return len(header).to_bytes(4, "big") + header


def decode_frame(raw: bytes | memoryview, into: type[T] | object) -> tuple[T, list[memoryview]]:
    """Return the message and views of its bodies. `into`: a message class or union. Raises: MessageInvalid."""
    view = memoryview(raw)
    if len(view) < 4:
        raise MessageInvalid("The frame is shorter than its header length.", reason="short")
    size = int.from_bytes(view[:4], "big")
    if size > HEADER_BYTES_MAX:
        raise LimitExceeded(
            "The frame's header is too long.", limit="frame_header_bytes", maximum=HEADER_BYTES_MAX, actual=size
        )
    if len(view) < 4 + size:
        raise MessageInvalid("The frame ends inside its header.", reason="short")
    try:
        framed = _frame_decoder.decode(view[4 : 4 + size])
        message = _decoder(into).decode(framed.message)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise MessageInvalid("The frame's header does not decode.", reason=str(error)) from error
    bodies, at = [], 4 + size
    for length in framed.lengths:
        if length < 0 or at + length > len(view):
            raise MessageInvalid("The frame ends inside a body.", reason="short")
        bodies.append(view[at : at + length])
        at += length
    if at != len(view):
        raise MessageInvalid("The frame is longer than its bodies.", reason="long")
    return message, bodies  # type: ignore[return-value]  # the decoder was made for `into`


def encode_plain(message: msgspec.Struct) -> bytes:
    """Return the message alone as msgpack (error replies)."""
    return _encoder.encode(message)


def decode_plain(raw: bytes, into: type[T]) -> T:
    """Decode what `encode_plain` made. Raises: MessageInvalid."""
    try:
        return _decoder(into).decode(raw)  # type: ignore[return-value]  # the decoder was made for `into`
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise MessageInvalid("The reply does not decode.", reason=str(error)) from error


def _decoder(into: object) -> msgspec.msgpack.Decoder[object]:
    decoder = _decoders.get(into)
    if decoder is None:
        decoder = _decoders[into] = msgspec.msgpack.Decoder(into)
    return decoder
