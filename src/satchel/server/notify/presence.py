"""Who is connected. Invariant: a fact that may be lost at any time; nothing but a display depends on it."""

from __future__ import annotations

import msgspec

from satchel.core.ids import AccountId


class Connected(msgspec.Struct, frozen=True):
    """One connection of a device. server_id: the process that holds it."""

    server_id: str
    connected_at_ms: int


def presence_key(account: AccountId) -> str:
    """Return the key of the account's connected devices in the short-lived state.

    Its members are ids of devices in hex, their values packed `Connected`.
    """
    return f"user:devices:{account.hex()}"


def pack_connected(connected: Connected) -> bytes:
    """Return the member's value; equal for equal connections."""
    return msgspec.msgpack.encode(connected)


def unpack_connected(value: bytes) -> Connected | None:
    """Return what `pack_connected` packed; None for a value that this version does not understand."""
    try:
        return msgspec.msgpack.decode(value, type=Connected)
    except msgspec.DecodeError:
        return None
