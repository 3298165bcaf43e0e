"""The cursor: opaque places in several journals. Invariant: only text that this server sealed for this account opens.

`version, 1 byte | msgpack | tag, 16 bytes` in base64url without padding; the tag is HMAC-SHA256 over what stands before
it, cut to 16 bytes. Sealed against forging, not hidden: it names only what the account can read. Source: docs/protocol.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

from satchel.core.errors import CursorInvalid, LimitExceeded
from satchel.core.ids import AccountId, NamespaceId, NodeId, Tag
from satchel.core.limits import CURSOR_NAMESPACES_MAX, KIB

CURSOR_CHARS_MAX = 128 * KIB
KEY_BYTES_MIN = 16
SEAL_BYTES = 16

_VERSION = b"\x01"


class CursorPlace(msgspec.Struct, array_like=True, frozen=True):
    """A place in one namespace's journal. joining_after: while its snapshot is being read, the last node id given out
    (`seq` and `tag` are then where the snapshot began); None when the journal is being followed."""

    ns: NamespaceId
    seq: int
    tag: Tag
    joining_after: NodeId | None = None


class CursorPayload(msgspec.Struct, array_like=True, frozen=True):
    """What a cursor says: the store's epoch, whose it is, and the places, the root namespace first."""

    epoch: bytes
    account: AccountId
    places: tuple[CursorPlace, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CursorPayload)


def seal(key: bytes, payload: CursorPayload) -> str:
    """Return the cursor's text. key: the server's secret, at least 16 bytes. Raises: LimitExceeded past 1,000 places.

    Deterministic: equal payloads have equal text.
    """
    if len(payload.places) > CURSOR_NAMESPACES_MAX:
        raise LimitExceeded(
            "A cursor covers too many namespaces.",
            limit="CURSOR_NAMESPACES_MAX",
            maximum=CURSOR_NAMESPACES_MAX,
            actual=len(payload.places),
        )
    body = _VERSION + _encoder.encode(payload)
    return _to_text(body + _mac(key, body))


def unseal(key: bytes, text: str) -> CursorPayload:
    """Return what `seal` was given. Whether epoch and account fit is for the caller. Raises: CursorInvalid."""
    raw = _from_text(text)
    body, mac = raw[:-SEAL_BYTES], raw[-SEAL_BYTES:]
    if not hmac.compare_digest(_mac(key, body), mac):
        raise CursorInvalid("The cursor was not made by this server.", reason="seal")
    if body[:1] != _VERSION:
        raise CursorInvalid("The cursor is of another version.", reason="version")
    try:
        return _decoder.decode(body[1:])
    except msgspec.DecodeError as error:
        raise CursorInvalid("The cursor does not decode.", reason="content") from error


def _mac(key: bytes, body: bytes) -> bytes:
    assert len(key) >= KEY_BYTES_MIN
    return hmac.digest(key, body, hashlib.sha256)[:SEAL_BYTES]


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _from_text(text: str) -> bytes:
    if len(text) > CURSOR_CHARS_MAX:
        raise CursorInvalid("The cursor is too long.", reason="length")
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (UnicodeEncodeError, binascii.Error) as error:
        raise CursorInvalid("The cursor is not base64url.", reason="encoding") from error
    # The last character has spare bits and the decoder skips foreign ones; only the one text that seal makes counts.
    if _to_text(raw) != text or len(raw) <= SEAL_BYTES:
        raise CursorInvalid("The cursor is not base64url.", reason="encoding")
    return raw
