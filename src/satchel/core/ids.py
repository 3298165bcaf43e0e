"""Identifiers. Ids are bytes inside and hex at the edges only; each kind is its own type.

Node ids are UUIDv7 (RFC 9562), made by the client at first observation; time and randomness are handed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NewType

NamespaceId = NewType("NamespaceId", bytes)
NodeId = NewType("NodeId", bytes)
AccountId = NewType("AccountId", bytes)
DeviceId = NewType("DeviceId", bytes)
LinkId = NewType("LinkId", bytes)
OpId = NewType("OpId", bytes)
PackId = NewType("PackId", bytes)
BlockHash = NewType("BlockHash", bytes)
ContentHash = NewType("ContentHash", bytes)
Tag = NewType("Tag", bytes)

Nid = NewType("Nid", int)
"""A node's key in one device's index; local, never sent."""

ID_BYTES = 16
TAG_BYTES = 8
HASH_BYTES = 32

_UUID_FREE = ~(0xF << 76 | 0x3 << 62)
_UUID_VERSION_7 = 0x7 << 76 | 0x2 << 62

ROOT_NODE = NodeId(bytes(ID_BYTES))
"""The root folder of every namespace. It has no row: it always lives."""

ROOT_NID = Nid(0)
"""The linked folder itself in a device's index."""


def uuid7(now_ms: int, randomness: bytes) -> bytes:
    """Return a UUIDv7 of 16 bytes. now_ms: Unix time in ms; randomness: at least 10 bytes. From RFC 9562 5.7."""
    assert len(randomness) >= 10
    number = (now_ms & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(randomness[:10], "big")
    return (number & _UUID_FREE | _UUID_VERSION_7).to_bytes(16, "big")


def derived_id(*parts: bytes) -> bytes:
    """Return the 16-byte id that follows from `parts` alone, so that deriving twice names the same thing once.

    A UUIDv8 (RFC 9562 5.8) over SHA-256 of the length-prefixed parts.
    """
    digest = hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()
    return digest[:6] + bytes([0x80 | (digest[6] & 0x0F), digest[7], 0x80 | (digest[8] & 0x3F)]) + digest[9:16]


def scope_mark(left_out: Iterable[NodeId]) -> bytes:
    """Return the 8-byte name of what a link leaves out, whatever the order; nothing at all has the empty one."""
    nodes = sorted(left_out)
    return hashlib.sha256(b"".join(nodes)).digest()[:TAG_BYTES] if nodes else b""


def short(identifier: bytes) -> str:
    """Return the first 8 hex digits, for logs."""
    return identifier[:4].hex()
