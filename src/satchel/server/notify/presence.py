"""Who is connected. Invariant: a fact that may be lost at any time; nothing but a display depends on it."""

from __future__ import annotations

import msgspec

from satchel.core.ids import AccountId, DeviceId, LinkId


class Connected(msgspec.Struct, frozen=True):
    """One connection of a device. server_id: the process that holds it."""

    server_id: str
    connected_at_ms: int


def presence_key(account: AccountId) -> str:
    """Return the key of the account's connected devices in the short-lived state.

    Its members are `member_of` of devices and programs, their values packed `Connected`.
    """
    return f"user:devices:{account.hex()}"


def member_of(device: DeviceId, link: LinkId) -> str:
    """Return the member of a device's connection. Each of its links has one, as each may be at another process."""
    return f"{device.hex()}:{link.hex()}"


def waiting_member(server_id: str) -> str:
    """Return the member of the account's programs that wait at this process, by whatever device."""
    return f":{server_id}"


def device_in(member: str) -> str:
    """Return the device's id in hex that a member is of; empty for waiting programs."""
    return member.partition(":")[0]


def pack_connected(connected: Connected) -> bytes:
    """Return the member's value; equal for equal connections."""
    return msgspec.msgpack.encode(connected)


def unpack_connected(value: bytes) -> Connected | None:
    """Return what `pack_connected` packed; None for a value that this version does not understand."""
    try:
        return msgspec.msgpack.decode(value, type=Connected)
    except msgspec.DecodeError:
        return None
