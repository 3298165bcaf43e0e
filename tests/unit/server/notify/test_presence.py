"""What stands beside a connected device in the short-lived state."""

from satchel.server.notify.presence import Connected, pack_connected, unpack_connected


def test_a_connection_is_unpacked_as_it_was_packed() -> None:
    connected = Connected("0123456789abcdef", 1_800_000_000_000)
    assert unpack_connected(pack_connected(connected)) == connected


def test_a_value_that_is_not_understood_is_none() -> None:
    assert unpack_connected(b"") is None
    assert unpack_connected(b"\xc1") is None
    assert unpack_connected(b"\x93\x01\x02\x03") is None
