"""Short files between scan and commit: bounded, each handed out once."""

from __future__ import annotations

from satchel.core.hashing import block_hash
from satchel.device.short_files import ShortFiles


def test_what_was_put_is_taken_once() -> None:
    held = ShortFiles()
    held.put(block_hash(b"one"), b"one")

    assert held.take(block_hash(b"one")) == b"one"
    assert held.take(block_hash(b"one")) is None


def test_the_oldest_give_way_and_the_bytes_are_counted() -> None:
    held = ShortFiles(bytes_max=6)
    for data in (b"one", b"two", b"one", b"six"):
        held.put(block_hash(data), data)

    assert held.take(block_hash(b"one")) is None
    assert held.take(block_hash(b"two")) == b"two"
    held.put(block_hash(b"ten"), b"ten")
    assert held.take(block_hash(b"six")) == b"six", "what was taken makes room"


def test_a_longer_one_than_all_the_room_is_not_held() -> None:
    held = ShortFiles(bytes_max=2)
    held.put(block_hash(b"one"), b"one")

    assert held.take(block_hash(b"one")) is None


def test_cleared_it_holds_nothing() -> None:
    held = ShortFiles()
    held.put(block_hash(b"one"), b"one")
    held.clear()

    assert held.take(block_hash(b"one")) is None
