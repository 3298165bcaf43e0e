"""Blocks as they travel: what opens is what it says, and nothing bigger is ever made."""

from __future__ import annotations

import os

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from satchel.core.errors import BlockMismatch, LimitExceeded
from satchel.core.hashing import block_hash
from satchel.core.limits import BLOCK_BYTES_MAX
from satchel.core.messages import CODEC_RAW, CODEC_ZSTD, WireBlock
from satchel.server.blocks.codec import open_block, shut_block, verify_block


@given(st.binary(min_size=1, max_size=5_000), st.integers(1, 50))
def test_what_is_shut_opens_to_the_same_bytes(data: bytes, times: int) -> None:
    wire, body = shut_block(data * times)
    verify_block(wire, body)
    assert bytes(open_block(wire, body)) == data * times


def test_text_is_squeezed_and_noise_is_not() -> None:
    assert shut_block(b"text " * 1_000)[0].codec == CODEC_ZSTD
    assert shut_block(os.urandom(5_000))[0].codec == CODEC_RAW


def test_other_bytes_than_the_hash_says_are_refused() -> None:
    wire, body = shut_block(b"text " * 1_000)
    wrong = WireBlock(block_hash(b"other"), wire.size, wire.codec, wire.stored_size)
    with pytest.raises(BlockMismatch):
        verify_block(wrong, body)


@pytest.mark.parametrize("names_its_length", [True, False])
def test_a_frame_that_opens_to_more_than_declared_is_refused(names_its_length: bool) -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=names_its_length).compress(bytes(64 * 1024 * 1024))
    with pytest.raises(BlockMismatch):
        open_block(WireBlock(block_hash(b""), BLOCK_BYTES_MAX, CODEC_ZSTD, len(bomb)), bomb)


def test_a_declared_length_past_the_limit_is_refused_before_opening() -> None:
    for size in (0, -1, BLOCK_BYTES_MAX + 1):
        with pytest.raises(LimitExceeded):
            open_block(WireBlock(block_hash(b"x"), size, CODEC_ZSTD, 1), b"x")


def test_bytes_after_the_frame_are_refused() -> None:
    wire, body = shut_block(b"text " * 1_000)
    longer = bytes(body) + b"more"
    with pytest.raises(BlockMismatch):
        verify_block(WireBlock(wire.hash, wire.size, wire.codec, len(longer)), longer)


def test_an_unknown_codec_and_a_broken_frame_are_refused() -> None:
    with pytest.raises(BlockMismatch):
        open_block(WireBlock(block_hash(b"x"), 1, 7, 1), b"x")
    with pytest.raises(BlockMismatch):
        open_block(WireBlock(block_hash(b"x"), 1, CODEC_ZSTD, 9), b"no frame!")


def test_a_frame_padded_far_past_its_content_is_refused() -> None:
    empty_part = b"\x00\x00\x00"
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"x")
    padded = frame[:6] + empty_part * 1_000 + frame[6:]
    with pytest.raises(BlockMismatch):
        verify_block(WireBlock(block_hash(b"x"), 1, CODEC_ZSTD, len(padded)), padded)
