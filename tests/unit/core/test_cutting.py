import hashlib
import itertools
import json
from pathlib import Path

import pyfastcdc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.core import cutting
from satchel.core.cutting import StreamCutter, cut, cutter, require_fast_cutter
from satchel.core.cutting_reference import GEAR, reference_cut
from satchel.core.errors import MessageInvalid, SettingInvalid
from satchel.core.hashing import block_hash, content_hash
from satchel.core.limits import BLOCK_BYTES_MAX, KIB, MIB, SINGLE_BLOCK_BYTES_MAX
from tests.support.streams import counter_stream, low_entropy

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "cdc1.json").read_text())
MAKERS = {"counter": counter_stream, "low": low_entropy, "zero": lambda label, size: bytes(size)}
WHOLE = hashlib.shake_256(b"buffering").digest(12 * MIB + 17)
WHOLE_CUT = {name: cut(WHOLE, name) for name in ("cdc1", "fixed4m")}


def made(vector: dict[str, object]) -> bytes:
    return MAKERS[str(vector["maker"])](str(vector["label"]), int(str(vector["size"])))


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: f"{vector['maker']}-{vector['size']}")
def test_the_cuts_are_the_golden_ones(vector: dict[str, object]) -> None:
    data = made(vector)
    lengths = cut(data)
    hashes, at = [], 0
    for length in lengths:
        hashes.append(block_hash(data[at : at + length]))
        at += length
    assert lengths == vector["lengths"]
    assert content_hash(hashes).hex() == vector["content_hash"]


@pytest.mark.parametrize(
    "vector",
    [vector for vector in GOLDEN["vectors"] if vector["is_for_reference"]],
    ids=lambda vector: f"{vector['maker']}-{vector['size']}",
)
def test_the_reference_makes_the_golden_cuts(vector: dict[str, object]) -> None:
    assert reference_cut(made(vector)) == vector["lengths"]


@settings(max_examples=15, deadline=None)
@given(
    label=st.integers(),
    size=st.integers(SINGLE_BLOCK_BYTES_MAX - 2, SINGLE_BLOCK_BYTES_MAX + 700 * KIB),
    make=st.sampled_from([counter_stream, low_entropy]),
)
def test_reference_and_library_cut_alike(label: int, size: int, make: object) -> None:
    data = make(str(label), size)  # type: ignore[operator]  # both makers take a label and a size
    assert reference_cut(data) == cut(data)


def test_the_gear_is_the_published_one() -> None:
    assert (GEAR[0], GEAR[1], GEAR[255]) == (0x3B5D3C7D207E37DC, 0x784D68BA91123086, 0xAABD2B2A451504E1)
    assert len(set(GEAR)) == 256


@pytest.mark.parametrize("name", ["cdc1", "fixed4m"])
def test_an_empty_file_has_no_block(name: str) -> None:
    assert cut(b"", name) == []


@pytest.mark.parametrize("size", [1, 256 * KIB + 1, SINGLE_BLOCK_BYTES_MAX - 1, SINGLE_BLOCK_BYTES_MAX])
def test_a_short_file_is_one_block(size: int) -> None:
    assert cut(counter_stream("short", size)) == [size]


def test_the_fixed_cut_is_a_grid() -> None:
    assert cut(bytes(BLOCK_BYTES_MAX), "fixed4m") == [BLOCK_BYTES_MAX]
    assert cut(bytes(2 * BLOCK_BYTES_MAX + 1), "fixed4m") == [BLOCK_BYTES_MAX, BLOCK_BYTES_MAX, 1]


def test_an_insertion_changes_only_blocks_near_it() -> None:
    edited = WHOLE[: 5 * MIB] + b"inserted" + WHOLE[5 * MIB :]
    assert len(set(spans(WHOLE)) & set(spans(edited))) >= len(WHOLE_CUT["cdc1"]) - 3


def spans(data: bytes) -> list[bytes]:
    found, at = [], 0
    for length in cut(data):
        found.append(block_hash(data[at : at + length]))
        at += length
    return found


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["cdc1", "fixed4m"]),
    size=st.integers(0, len(WHOLE)),
    borders=st.lists(st.integers(0, len(WHOLE)), max_size=12),
    is_last_empty=st.booleans(),
)
def test_buffering_does_not_move_a_cut(name: str, size: int, borders: list[int], is_last_empty: bool) -> None:
    whole = WHOLE[:size]
    marks = sorted({0, size, *(border for border in borders if border <= size)})
    buffers = [whole[start:end] for start, end in itertools.pairwise(marks)]
    if is_last_empty or not buffers:
        buffers.append(b"")
    stream = StreamCutter(name)
    blocks = [
        bytes(block)
        for number, buffer in enumerate(buffers, start=1)
        for block in stream.feed_blocks(buffer, is_last=number == len(buffers))
    ]
    assert [len(block) for block in blocks] == cut(whole, name)
    assert b"".join(blocks) == whole


@pytest.mark.parametrize("buffer_size", [64 * KIB, MIB, 4 * MIB, 16 * MIB])
def test_the_usual_buffers_give_the_cuts_of_the_whole(buffer_size: int) -> None:
    stream, lengths = StreamCutter(), []
    for at in range(0, len(WHOLE), buffer_size):
        lengths += stream.feed(WHOLE[at : at + buffer_size], is_last=at + buffer_size >= len(WHOLE))
    assert lengths == WHOLE_CUT["cdc1"]


def test_a_stream_holds_back_less_than_two_blocks() -> None:
    stream, given_out, fed = StreamCutter(), 0, 0
    for at in range(0, len(WHOLE), 100_000):
        fed += len(WHOLE[at : at + 100_000])
        given_out += sum(stream.feed(WHOLE[at : at + 100_000]))
        assert fed - given_out <= 2 * BLOCK_BYTES_MAX


def test_an_unknown_cutter_is_refused() -> None:
    with pytest.raises(MessageInvalid):
        cutter("cdc2")


def test_the_compiled_cutter_is_loaded() -> None:
    require_fast_cutter()
    assert pyfastcdc.FastCDC.__module__.startswith("pyfastcdc.cy")


def test_the_slow_cutter_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyfastcdc.py import FastCDC as SlowCutter

    monkeypatch.setattr(cutting, "FastCDC", SlowCutter)
    with pytest.raises(SettingInvalid) as caught:
        require_fast_cutter()
    assert caught.value.fields["setting"] == "pyfastcdc"
