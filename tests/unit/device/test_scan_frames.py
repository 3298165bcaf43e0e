"""What passes between the daemon and the process that scans: the same values come out, and nothing else is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.core.entries import Kind
from satchel.core.errors import FileUnreadable, MessageInvalid, RootMissing
from satchel.core.ids import BlockHash, Nid
from satchel.device.ignore import RulesText
from satchel.device.ports import ROOT_PATH, DiskPath, Hint, Stat, Volume
from satchel.device.scan_process.frames import (
    LENGTH_BYTES,
    Beat,
    Failed,
    Frame,
    Learnt,
    Order,
    Part,
    ShortRead,
    fault_of,
    frame_of,
    framed,
    length_of,
    order_of,
    part_of,
    told,
)
from satchel.device.tasks import (
    LocalFact,
    NewParent,
    Scanned,
    ScanTask,
    SeenChanged,
    SeenGone,
    SeenMoved,
    SeenNew,
    SeenUnknown,
)

TASK = ScanTask((Hint(ROOT_PATH, None, True),))

numbers = st.integers(-(2**63), 2**63 - 1)
nids = st.integers(1, 2**62).map(Nid)
parents = nids | st.integers(1, 2**40).map(NewParent)
names = st.binary(min_size=1, max_size=255)
stats = st.builds(
    Stat,
    st.sampled_from([None, *Kind]),
    st.integers(0, 2**62),
    numbers,
    numbers,
    st.integers(0, 2**64 - 1),
    numbers,
    st.booleans(),
    st.integers(0, 2**63),
)
contents = st.binary(max_size=40)
facts: st.SearchStrategy[LocalFact] = st.one_of(
    st.builds(SeenNew, st.integers(1, 2**40), parents, names, stats, contents, contents),
    st.builds(SeenChanged, nids, numbers, stats, contents, contents),
    st.builds(SeenMoved, nids, numbers, parents, names, stats, contents, contents),
    st.builds(SeenGone, nids, numbers),
    st.builds(SeenUnknown, st.none() | nids, st.none() | parents, names, st.text(), st.text(), st.booleans()),
)


def taken(frame: Frame) -> Frame:
    """Return what the other side reads."""
    whole = bytes(framed(frame))
    assert length_of(whole[:LENGTH_BYTES]) == len(whole) - LENGTH_BYTES
    return frame_of(whole[LENGTH_BYTES:])


@given(st.lists(facts, max_size=8), st.integers(0, 2**40), st.booleans(), st.booleans())
def test_a_part_comes_out_as_it_went_in(seen: list[LocalFact], files_seen: int, is_last: bool, is_full: bool) -> None:
    part = Scanned(TASK, tuple(seen), is_last, files_seen, is_full)

    came = taken(part_of(part))

    assert isinstance(came, Part) and came.of(TASK) == part


def test_the_fault_of_a_part_comes_out_with_its_fields() -> None:
    fault = RootMissing("The linked folder is not there.", path=ROOT_PATH, reason="unreadable")

    came = taken(part_of(Scanned(TASK, (), True, 0, True, fault)))

    assert isinstance(came, Part)
    out = came.of(TASK).fault
    assert isinstance(out, RootMissing) and out.message == fault.message
    assert out.fields == {"path": "", "reason": "unreadable"}


def test_a_fault_about_a_name_that_is_no_text_can_be_told() -> None:
    out = fault_of(told(FileUnreadable("The file could not be read.", path=b"a/\xff", reason="\udcff", count=3)))
    assert isinstance(out, FileUnreadable)
    assert out.fields == {"path": "a/\ufffd", "reason": "\ufffd", "count": 3}


def test_contents_rules_and_signs_of_life_come_out_as_they_went_in() -> None:
    stat = Stat(Kind.FILE, 2, -1, 0, 3, 4, False, 5)
    frames: list[Frame] = [
        Beat(),
        ShortRead([BlockHash(b"h" * 32)], [b"\x00\xff"]),
        Learnt(Volume(b"m", b"f"), (RulesText(DiskPath(b"a"), stat, b"*.log"),)),
        Failed(None, "KeyError at walk.py:1"),
    ]
    assert [taken(frame) for frame in frames] == frames


def test_an_order_comes_out_as_it_went_in() -> None:
    hint = Hint(DiskPath(b"\xff"), frozenset((b"a", b"\xfe")), False)
    order = Order(b"/home/\xff", "/state/index.db", (hint,), None, ())
    assert order_of(bytes(framed(order))[LENGTH_BYTES:]) == order


@given(st.binary(max_size=64))
def test_other_bytes_are_refused(body: bytes) -> None:
    try:
        frame = frame_of(body)
    except MessageInvalid:
        return
    assert isinstance(frame, Beat | ShortRead | Learnt | Part | Failed)


@pytest.mark.parametrize("size", [0, 2**32 - 1])
def test_an_impossible_length_is_refused(size: int) -> None:
    with pytest.raises(MessageInvalid):
        length_of(size.to_bytes(LENGTH_BYTES, "big"))


def test_a_part_that_is_cut_short_is_refused() -> None:
    fact = SeenGone(Nid(1), 2)
    body = bytes(framed(part_of(Scanned(TASK, (fact,), True, 0))))[LENGTH_BYTES:]
    for end in range(len(body)):
        with pytest.raises(MessageInvalid):
            frame_of(body[:end])
