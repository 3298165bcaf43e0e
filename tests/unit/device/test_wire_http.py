"""How a body leaves: whole, in order, and in parts that are worth a write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from satchel.device.wire_http import PART_BYTES, pieces_of

LONG = b"l" * PART_BYTES


def _parts(body: Sequence[bytes]) -> list[bytes]:
    async def taken() -> list[bytes]:
        return [part async for part in pieces_of(body)]

    return asyncio.run(taken())


@pytest.mark.parametrize(
    "body",
    [
        [],
        [b"", b""],
        [b"one"],
        [b"%05d" % number for number in range(200_000)],
        [b"head", LONG, b"between", b"", LONG, LONG, b"tail"],
    ],
)
def test_a_body_leaves_whole_and_in_order(body: list[bytes]) -> None:
    assert b"".join(_parts(body)) == b"".join(body)


def test_small_pieces_leave_together() -> None:
    parts = _parts([b"x" * 1_000] * 1_000)
    assert len(parts) == 4
    assert all(len(part) >= PART_BYTES for part in parts[:-1])


def test_a_long_piece_is_not_copied() -> None:
    assert any(part is LONG for part in _parts([b"head", LONG, b"tail"]))
