"""Extended attributes as one value: packed, so that two sets are equal when their bytes are.

Invariant: only what `pack_xattrs` makes unpacks. The names stand without their `user.`: what cannot be said cannot be
set, so nothing of security, system or trusted ever travels. Source: docs/design/046 (I5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

import msgspec

from satchel.core.errors import LimitExceeded, MessageInvalid
from satchel.core.limits import NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX, XATTRS_BYTES_MAX

PREFIX = b"user."
OWN_PREFIX = b"satchel."
"""Kept for Satchel itself; such a name is neither read, set nor removed."""
TOO_LARGE = b"+"
"""Stands for attributes past a limit where they were seen. It is no packed value and never travels."""
UNHELD = b"-"
"""Stands for attributes that a disk did not take. It is no packed value and never travels."""

_Pairs = list[tuple[bytes, bytes]]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Pairs).decode


def pack_xattrs(attributes: Mapping[bytes, bytes]) -> bytes:
    """Return the one packed form of the attributes, sorted by name; b"" for none. Pure.

    attributes: name without its `user.` -> value. Raises: LimitExceeded, MessageInvalid (a name that none can have).
    """
    total = 0
    for name, value in attributes.items():
        if not name or b"\0" in name or len(PREFIX) + len(name) > NAME_BYTES_MAX or name.startswith(OWN_PREFIX):
            raise MessageInvalid("This is no name of an extended attribute.", reason="xattrs")
        _limit("XATTR_VALUE_BYTES_MAX", XATTR_VALUE_BYTES_MAX, len(value))
        total += len(PREFIX) + len(name) + len(value)
    _limit("XATTRS_BYTES_MAX", XATTRS_BYTES_MAX, total)
    return _encode(sorted(attributes.items())) if attributes else b""


def is_packed(seen: bytes | None) -> TypeGuard[bytes]:
    """Tell whether what a disk says of a node's attributes is a value: neither unknown nor one of the signs."""
    return seen is not None and seen not in (TOO_LARGE, UNHELD)


def unpack_xattrs(packed: bytes) -> dict[bytes, bytes]:
    """Return what `pack_xattrs` packed. Raises: MessageInvalid for anything that it does not make, LimitExceeded."""
    if not packed:
        return {}
    try:
        attributes = dict(_decode(packed))
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise MessageInvalid("These are no extended attributes.", reason="xattrs") from error
    if pack_xattrs(attributes) != packed:
        raise MessageInvalid("These extended attributes are packed in another way.", reason="xattrs")
    return attributes


def _limit(name: str, maximum: int, actual: int) -> None:
    if actual > maximum:
        raise LimitExceeded("The extended attributes are too large.", limit=name, maximum=maximum, actual=actual)
