"""What can be said of a request before any transaction. Invariant: an op that is wrong by itself is refused here.

So the writer, which all callers share, only compares what is known with what is stored.
"""

from __future__ import annotations

import hashlib

import msgspec

from satchel.core.entries import Kind
from satchel.core.errors import LimitExceeded, MessageInvalid, NameInvalid
from satchel.core.hashing import PACKED_BYTES, content_hash, unpack_blocks
from satchel.core.ids import HASH_BYTES, ID_BYTES, ROOT_NODE, BlockHash, NodeId
from satchel.core.limits import BLOCK_BYTES_MAX, BLOCKS_PER_COMMIT_MAX, COMMIT_OPS_MAX, SYMLINK_BYTES_MAX
from satchel.core.messages import (
    AttrOp,
    CommitRequest,
    Content,
    CreateOp,
    DeleteOp,
    EditOp,
    MoveOp,
    Op,
    Placement,
    Refused,
    UndeleteOp,
)
from satchel.core.paths import name_key, validate_name
from satchel.core.xattrs import unpack_xattrs

BODY_HASH_BYTES = 16
CUTTERS = frozenset({"cdc1", "fixed4m"})
_INT64 = 2**63
_VALUED = (CreateOp, EditOp, UndeleteOp)
_PLACING = (CreateOp, UndeleteOp)
_ATTRIBUTED = (*_VALUED, AttrOp)

_encode = msgspec.msgpack.Encoder().encode


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An op and what follows from it alone.

    body_hash: names the op's body, to tell a repetition from a reused id. refusal: set when the op can never hold.
    hashes and sizes: of the content's blocks, in file order. nodes: those that it changes. keys: name keys of the names
    that it gives, in order; places: the folders with them.
    """

    op: Op
    body_hash: bytes
    refusal: Refused | None
    hashes: tuple[BlockHash, ...]
    sizes: tuple[int, ...]
    nodes: tuple[NodeId, ...]
    keys: tuple[str, ...]
    places: tuple[tuple[NodeId, str], ...]


def prepare(request: CommitRequest) -> list[Prepared]:
    """Return the ops prepared, in order. Raises: LimitExceeded (ops or blocks), MessageInvalid (ids)."""
    if len(request.ops) > COMMIT_OPS_MAX:
        raise _past("COMMIT_OPS_MAX", COMMIT_OPS_MAX, len(request.ops))
    prepared = [_prepared(op) for op in request.ops]
    blocks = sum(len(one.hashes) for one in prepared)
    if blocks > BLOCKS_PER_COMMIT_MAX:
        raise _past("BLOCKS_PER_COMMIT_MAX", BLOCKS_PER_COMMIT_MAX, blocks)
    return prepared


def _body(op: Op) -> bytes:
    """Return what names the op's body: without extended attributes the same as before there were any."""
    body = _encode(op)
    # An op is a short array whose first byte counts its fields, and None, its last one, is one byte.
    return bytes((body[0] - 1,)) + body[1:-1] if isinstance(op, _ATTRIBUTED) and op.xattrs is None else body


def _node_ids(op: Op) -> list[NodeId]:
    """Return the nodes that the op changes."""
    if isinstance(op, MoveOp):
        return [placement.node_id for placement in op.placements]
    return [op.node_id]


def _new_places(op: Op) -> list[tuple[NodeId, str]]:
    """Return the (parent, name) pairs that the op gives, in order."""
    if isinstance(op, _PLACING):
        return [(op.parent_id, op.name)]
    if isinstance(op, MoveOp):
        return [(placement.parent_id, placement.name) for placement in op.placements]
    return []


def _prepared(op: Op) -> Prepared:
    ids, places = _node_ids(op), _new_places(op)
    for one in (op.op_id, *ids):
        if len(one) != ID_BYTES:
            raise MessageInvalid("An operation carries an id of a wrong length.", reason="id")
    hashes: tuple[BlockHash, ...] = ()
    sizes: tuple[int, ...] = ()
    refusal = _refusal(op, ids, places)
    if refusal is None and isinstance(op, _VALUED) and op.content is not None:
        try:
            hashes, sizes = _unpacked(op.content.blocks)
        except MessageInvalid:
            refusal = Refused("content_invalid", "blocks")
        else:
            refusal = _content_refusal(op.content, hashes, sizes)
    body = hashlib.sha256(_body(op)).digest()[:BODY_HASH_BYTES]
    if refusal is not None:
        return Prepared(op, body, refusal, (), (), tuple(ids), (), ())
    keyed = tuple([(parent_id, name_key(name)) for parent_id, name in places])
    return Prepared(op, body, None, hashes, sizes, tuple(ids), tuple([key for _, key in keyed]), keyed)


def _unpacked(packed: bytes) -> tuple[tuple[BlockHash, ...], tuple[int, ...]]:
    """Return hashes and lengths of a packed blocklist. Raises: MessageInvalid."""
    if len(packed) == PACKED_BYTES and 0 < (size := int.from_bytes(packed[HASH_BYTES:], "big")) <= BLOCK_BYTES_MAX:
        # Most files are one block, and there may be a thousand of them.
        return (BlockHash(packed[:HASH_BYTES]),), (size,)
    blocks = unpack_blocks(packed)
    return tuple([block.hash for block in blocks]), tuple([block.size for block in blocks])


def _refusal(op: Op, ids: list[NodeId], places: list[tuple[NodeId, str]]) -> Refused | None:
    if ROOT_NODE in ids:
        return Refused("forbidden", "root")
    for parent_id, name in places:
        if len(parent_id) != ID_BYTES:
            return Refused("parent_gone")
        try:
            validate_name(name)
        except NameInvalid as error:
            return Refused("name_invalid", str(error.fields.get("reason", "")))
    match op:
        case CreateOp():
            return _create_refusal(op) or _value_refusal(op)
        case EditOp() | UndeleteOp():
            return _value_refusal(op)
        case MoveOp():
            return _move_refusal(op.placements)
        case AttrOp():
            return _xattrs_refusal(op.xattrs)
        case DeleteOp():
            return None


def _create_refusal(op: CreateOp) -> Refused | None:
    has_content, has_target = op.content is not None, bool(op.target)
    match op.kind:
        case Kind.FILE:
            return None if has_content and not has_target else Refused("content_invalid", "file")
        case Kind.SYMLINK:
            return None if has_target and not has_content else Refused("content_invalid", "symlink")
        case Kind.FOLDER:
            return None if not has_target and not has_content else Refused("content_invalid", "folder")
        case _:
            return Refused("kind_mismatch", "kind")


def _value_refusal(op: CreateOp | EditOp | UndeleteOp) -> Refused | None:
    if not -_INT64 <= op.mtime_ns < _INT64:
        return Refused("content_invalid", "mtime")
    if op.content is not None and op.target:
        return Refused("content_invalid", "both")
    if op.target and ("\0" in op.target or len(op.target.encode()) > SYMLINK_BYTES_MAX):
        return Refused("content_invalid", "target")
    return _xattrs_refusal(op.xattrs)


def _xattrs_refusal(packed: bytes | None) -> Refused | None:
    if packed:
        try:
            unpack_xattrs(packed)
        except (LimitExceeded, MessageInvalid) as error:
            return Refused("content_invalid", str(error.fields.get("limit", "xattrs")))
    return None


def _move_refusal(placements: tuple[Placement, ...]) -> Refused | None:
    if len({placement.node_id for placement in placements}) != len(placements):
        return Refused("forbidden", "a node stands twice in one move")
    if len(placements) > COMMIT_OPS_MAX:
        return Refused("forbidden", "too many placements")
    return None


def _content_refusal(content: Content, hashes: tuple[BlockHash, ...], sizes: tuple[int, ...]) -> Refused | None:
    if content.cutter not in CUTTERS:
        return Refused("content_invalid", "cutter")
    if len(content.content_hash) != HASH_BYTES or content.size != sum(sizes):
        return Refused("content_invalid", "size")
    if content.content_hash != content_hash(hashes):
        return Refused("content_invalid", "content_hash")
    return None


def _past(limit: str, maximum: int, actual: int) -> LimitExceeded:
    return LimitExceeded("The commit is too large.", limit=limit, maximum=maximum, actual=actual)
