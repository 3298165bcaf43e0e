"""Short files between scan and commit: bounded, each handed out once."""

from __future__ import annotations

import threading

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


def test_whoever_waits_for_room_loses_nothing_while_it_is_being_taken() -> None:
    held = ShortFiles(bytes_max=40, patience_s=20)
    files = [bytes([number]) * 10 for number in range(40)]
    found: list[bytes | None] = []

    def put_all() -> None:
        for data in files:
            held.wait_for_room(len(data))
            held.put(block_hash(data), data)
            put.release()

    held.put(block_hash(b"first"), b"first")
    held.take(block_hash(b"first"))
    put = threading.Semaphore(0)
    putting = threading.Thread(target=put_all)
    putting.start()
    for data in files:
        assert put.acquire(timeout=20)
        found.append(held.take(block_hash(data)))
    putting.join(20)

    assert found == files


def test_room_is_waited_for_in_vain_once_when_nobody_takes_anything_any_more() -> None:
    held = ShortFiles(bytes_max=4, patience_s=0.01)
    held.put(block_hash(b"first"), b"fst")
    held.take(block_hash(b"first"))
    for data in (b"one", b"two", b"six"):
        held.wait_for_room(3)
        held.put(block_hash(data), data)

    assert held.take(block_hash(b"six")) == b"six", "the oldest gave way"


def test_what_is_longer_than_all_the_room_is_not_waited_for() -> None:
    held = ShortFiles(bytes_max=2, patience_s=20)
    held.wait_for_room(3)
    held.put(block_hash(b"one"), b"one")

    assert held.take(block_hash(b"one")) is None
