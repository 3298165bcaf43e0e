"""The format of packs: walked from the beginning, whatever the tail looks like."""

from __future__ import annotations

import pytest

from satchel.core.errors import StorageFailed
from satchel.core.ids import PackId
from satchel.core.messages import WireBlock
from satchel.server.blocks.codec import shut_block
from satchel.server.blocks.packs import HEADER_BYTES, build, pack_id_of, pack_name, records


def pack_of(*bodies: bytes) -> tuple[bytes, list[int], list[WireBlock]]:
    shut = [shut_block(body) for body in bodies]
    pieces, offsets = build(shut)
    return b"".join(pieces), offsets, [wire for wire, _ in shut]


def test_walking_a_pack_finds_every_record_where_it_was_built() -> None:
    data, offsets, wires = pack_of(b"one", b"two" * 1_000, b"three")
    assert [(r.hash, r.size, r.stored_size, r.codec, r.offset) for r in records(data)] == [
        (w.hash, w.size, w.stored_size, w.codec, offset) for w, offset in zip(wires, offsets, strict=True)
    ]


def test_a_torn_last_record_is_ignored_at_every_length() -> None:
    whole, _, wires = pack_of(b"kept", b"torn by the crash")
    first = HEADER_BYTES + len(b"kept")
    for length in range(first, len(whole)):
        assert [record.hash for record in records(whole[:length])] == [wires[0].hash]


def test_a_damaged_header_ends_the_walk() -> None:
    data, _, _ = pack_of(b"one", b"two")
    for at in range(HEADER_BYTES):
        broken = bytearray(data)
        broken[at] ^= 1
        assert list(records(broken)) == []


def test_a_log_of_several_puts_is_one_walk() -> None:
    first, _, _ = pack_of(b"a", b"b")
    second, _, _ = pack_of(b"c")
    assert len(list(records(first + second))) == 3


def test_a_packs_name_says_its_id_and_nothing_else_does() -> None:
    pack_id = PackId(bytes(range(16)))
    assert pack_name(pack_id) == "packs/0f/000102030405060708090a0b0c0d0e0f"
    assert pack_id_of(pack_name(pack_id)) == pack_id
    for name in ("packs/0e/000102030405060708090a0b0c0d0e0f", "packs/0f/zz", "../0f/000102030405060708090a0b0c0d0e0f"):
        with pytest.raises(StorageFailed):
            pack_id_of(name)
