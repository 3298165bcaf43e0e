"""What the block service keeps of the small blocks that just came: bounded by the memory that it takes."""

import tracemalloc

from satchel.core.messages import WireBlock
from satchel.server.blocks.service import RECENT_BYTES_MAX, RECENT_ENTRY_BYTES, Recent

NS = b"n" * 16
ROOM = RECENT_BYTES_MAX // RECENT_ENTRY_BYTES


def _block(number: int, size: int) -> tuple[WireBlock, bytes]:
    return WireBlock(number.to_bytes(32, "big"), size, 0, size), number.to_bytes(size, "big")


def test_files_of_a_few_bytes_take_no_more_memory_than_large_ones() -> None:
    tracemalloc.start()
    recent = Recent()
    for number in range(3 * ROOM):
        recent.keep(NS, *_block(number, 4))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held <= 1.2 * RECENT_BYTES_MAX
    assert recent.find(NS, (3 * ROOM - 1).to_bytes(32, "big")) is not None
    assert recent.find(NS, (0).to_bytes(32, "big")) is None


def test_a_block_that_comes_again_is_counted_once() -> None:
    recent = Recent()
    for _ in range(3 * ROOM):
        recent.keep(NS, *_block(1, 4))
    recent.keep(NS, *_block(2, 4))
    assert all(recent.find(NS, number.to_bytes(32, "big")) is not None for number in (1, 2))
