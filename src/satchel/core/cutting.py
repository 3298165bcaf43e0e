"""Cuts a file into blocks. Invariant: the cuts follow from the bytes alone, on every device and for any buffering.

`cdc1`: a file up to 512 KiB is one block; a longer one is cut by its content (FastCDC-2020, normalisation 2) at
256 KiB, 1 MiB, 4 MiB. `fixed4m`: every 4 MiB. A cutter's parameters never change: equal content must have equal blocks
for ever, so a better cut gets a new name. Golden vectors: tests/golden/cdc1.json. Source: docs/adr, cdc1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from pyfastcdc import FastCDC

from satchel.core.errors import MessageInvalid, SettingInvalid
from satchel.core.limits import BLOCK_BYTES_MAX, KIB, MIB, SINGLE_BLOCK_BYTES_MAX

CDC1 = "cdc1"
FIXED4M = "fixed4m"

CDC1_BYTES_MIN = 256 * KIB
CDC1_BYTES_AVERAGE = 1 * MIB
CDC1_NORMALISATION: Final = 2

_fastcdc = FastCDC(
    CDC1_BYTES_AVERAGE,
    min_size=CDC1_BYTES_MIN,
    max_size=BLOCK_BYTES_MAX,
    normalized_chunking=CDC1_NORMALISATION,
)


@dataclass(frozen=True, slots=True)
class Cutter:
    """A frozen way to cut. A file up to single_bytes_max is one block; `lengths` cuts a longer one."""

    name: str
    single_bytes_max: int
    lengths: Callable[[memoryview], Iterator[int]]


def _cdc1_lengths(view: memoryview) -> Iterator[int]:
    return (chunk.length for chunk in _fastcdc.cut_buf(view))


def _fixed4m_lengths(view: memoryview) -> Iterator[int]:
    return (min(BLOCK_BYTES_MAX, len(view) - at) for at in range(0, len(view), BLOCK_BYTES_MAX))


_CUTTERS = {
    CDC1: Cutter(CDC1, SINGLE_BLOCK_BYTES_MAX, _cdc1_lengths),
    FIXED4M: Cutter(FIXED4M, BLOCK_BYTES_MAX, _fixed4m_lengths),
}


def cutter(name: str) -> Cutter:
    """Return the cutter of that name. Raises: MessageInvalid for a name this version does not know."""
    found = _CUTTERS.get(name)
    if found is None:
        raise MessageInvalid("A file was cut in a way this version does not know.", reason="cutter", cutter=name)
    return found


def cut(data: bytes | memoryview, cutter_name: str = CDC1) -> list[int]:
    """Return the lengths of the blocks of a whole file, in order; their sum is its size. An empty file has none."""
    return StreamCutter(cutter_name).feed(data, is_last=True)


class StreamCutter:
    """Cuts one file that comes in buffers of any size. Give each buffer once, in order, the last one marked.

    Holds back what a later byte could still change: at most one block, and buffers shorter than that.
    """

    __slots__ = ("_cutter", "_held", "_held_bytes", "_is_done", "_is_long")

    def __init__(self, cutter_name: str = CDC1, *, is_begun: bool = False) -> None:
        """is_begun: blocks of this file were cut before, and what is given follows the last of them."""
        self._cutter = cutter(cutter_name)
        self._held: list[bytes | memoryview] = []
        self._held_bytes = 0
        self._is_long = is_begun
        self._is_done = False

    @property
    def held(self) -> bytes:
        """What was given and is in no block yet."""
        return b"".join(self._held)

    def feed(self, data: bytes | memoryview, *, is_last: bool = False) -> list[int]:
        """Return the lengths of the blocks that are final now, in file order."""
        return [len(block) for block in self.feed_blocks(data, is_last=is_last)]

    def feed_blocks(self, data: bytes | memoryview, *, is_last: bool = False) -> list[memoryview]:
        """As `feed`, but return views of the blocks' bytes. The caller may not change `data` until the file is cut."""
        assert not self._is_done, "a file has one last buffer"
        self._is_done = is_last
        total = self._held_bytes + len(data)
        self._is_long = self._is_long or total > self._cutter.single_bytes_max
        # Less than a whole block can hold no certain cut that is worth a scan; waiting keeps tiny buffers linear.
        if not is_last and total <= BLOCK_BYTES_MAX:
            self._held.append(data)
            self._held_bytes = total
            return []
        blocks = self._cut_all(memoryview(data))
        # Every block but the last was cut by its own bytes. The last one merely ends where the buffer does.
        self._held = [] if is_last or not blocks else [blocks.pop()]
        self._held_bytes = len(self._held[0]) if self._held else 0
        return blocks

    def _cut_all(self, data: memoryview) -> list[memoryview]:
        if not self._held:
            return self._cut(data)
        # A block that begins in the held bytes ends within one block's length of the new ones: no more is copied.
        joined = memoryview(b"".join([*self._held, data[:BLOCK_BYTES_MAX]]))
        if len(data) <= BLOCK_BYTES_MAX:
            return self._cut(joined)
        blocks, at = [], 0
        for length in self._cutter.lengths(joined):
            blocks.append(joined[at : at + length])
            at += length
            if at >= self._held_bytes:
                break
        return blocks + self._cut(data[at - self._held_bytes :])

    def _cut(self, view: memoryview) -> list[memoryview]:
        if not self._is_long:
            return [view] if len(view) else []
        blocks, at = [], 0
        for length in self._cutter.lengths(view):
            blocks.append(view[at : at + length])
            at += length
        return blocks


def require_fast_cutter() -> None:
    """Check that the compiled cutter is loaded: the library's own fallback is a hundred times slower, and silent.

    Called once at start. Raises: SettingInvalid.
    """
    implementation = FastCDC.__module__
    if not implementation.startswith("pyfastcdc.cy"):
        raise SettingInvalid(
            "The compiled part of pyfastcdc is missing on this machine.",
            setting="pyfastcdc",
            reason=f"only {implementation} could be loaded; reinstall it from a wheel or with a C compiler",
        )
