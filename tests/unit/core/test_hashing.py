import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.core.errors import MessageInvalid
from satchel.core.hashing import (
    EMPTY_CONTENT,
    PACKED_BYTES,
    Block,
    block_hash,
    content_hash,
    pack_blocks,
    packed_content_hash,
    packed_hashes,
    unpack_blocks,
)
from satchel.core.ids import BlockHash
from satchel.core.limits import BLOCK_BYTES_MAX

blocks = st.lists(
    st.builds(Block, st.binary(min_size=32, max_size=32).map(BlockHash), st.integers(1, BLOCK_BYTES_MAX)), max_size=8
)


def test_a_block_is_named_by_its_sha256() -> None:
    assert block_hash(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert block_hash(memoryview(b"abc")) == block_hash(b"abc")


def test_a_content_is_named_by_its_blocks_in_order() -> None:
    one, other = block_hash(b"1"), block_hash(b"2")
    assert content_hash([one, other]) == hashlib.sha256(one + other).digest()
    assert content_hash([one, other]) != content_hash([other, one])
    assert EMPTY_CONTENT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(blocks)
def test_unpacking_undoes_packing(listed: list[Block]) -> None:
    packed = pack_blocks(listed)
    assert unpack_blocks(packed) == listed
    assert list(packed_hashes(packed)) == [block.hash for block in listed]
    assert packed_content_hash(packed) == content_hash(block.hash for block in listed)


@given(st.binary(max_size=100).filter(lambda packed: len(packed) % PACKED_BYTES))
def test_a_broken_length_is_refused(packed: bytes) -> None:
    with pytest.raises(MessageInvalid):
        unpack_blocks(packed)


@pytest.mark.parametrize("size", [0, BLOCK_BYTES_MAX + 1, 2**32 - 1])
def test_a_block_of_an_impossible_length_is_refused(size: int) -> None:
    with pytest.raises(MessageInvalid):
        unpack_blocks(bytes(32) + size.to_bytes(4, "big"))
