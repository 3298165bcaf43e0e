"""The diff of two texts is the one that difflib makes, as long as that is cheap, and a true one when it is not."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.core.text_diff import COMPARED_PAIRS_MAX, LINE_CHARS_MAX, text_of, unified

LINES = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=30)


def diff(old: str, new: str, lines_max: int = 10_000) -> list[str]:
    return unified(old, new, old_name="one", new_name="two", lines_max=lines_max).lines


def patched(old: list[str], lines: list[str]) -> list[str]:
    """Apply a unified diff."""
    made, at = [], 0
    for line in lines[2:]:
        if line.startswith("@@"):
            begin, _, count = line.split()[1][1:].partition(",")
            start = int(begin) - (count != "0")
            made += old[at:start]
            at = start
        elif line[0] == "+":
            made.append(line[1:])
        else:
            assert old[at] == line[1:]
            made += [line[1:]] if line[0] == " " else []
            at += 1
    return made + old[at:]


@given(LINES, LINES)
def test_a_diff_leads_from_one_text_to_the_other(old: list[str], new: list[str]) -> None:
    lines = diff("".join(f"{line}\n" for line in old), "".join(f"{line}\n" for line in new))
    assert patched(old, lines) == new
    assert (lines == []) == (old == new)


def test_a_small_change_in_a_long_text_is_told_as_difflib_tells_it() -> None:
    old = [f"line {number}\n" for number in range(10_000)]
    new = [*old[:3_000], "changed\n", *old[3_001:7_000], "more\n", *old[7_000:]]
    expected = [line.rstrip("\n") for line in difflib.unified_diff(old[2_990:7_010], new[2_990:7_011], "one", "two")]
    shown = diff("".join(old), "".join(new))
    assert [line for line in shown if not line.startswith("@@")] == [
        line for line in expected if not line.startswith("@@")
    ]
    assert shown[2] == "@@ -2998,7 +2998,7 @@"


def test_what_is_too_much_to_compare_is_told_as_replaced() -> None:
    old = "".join(f"a{number}\n" for number in range(4_000))
    new = "".join(f"b{number}\n" for number in range(4_000))
    assert COMPARED_PAIRS_MAX < 4_000 * 4_000
    told = unified(f"same\n{old}", f"same\n{new}", old_name="one", new_name="two", lines_max=100_000)
    assert (told.is_short, told.is_whole, len(told.lines)) == (False, True, 2 + 1 + 1 + 8_000)
    assert unified(old, new, old_name="one", new_name="two", lines_max=10)[1:] == (False, False)


def test_a_long_line_is_cut() -> None:
    assert len(diff("x", "y" * 100_000)[-1]) == LINE_CHARS_MAX + 2


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        ("ä".encode(), "ä"),
        (b"\xef\xbb\xbfmarked", "marked"),
        ("wide".encode("utf-16"), "wide"),
        (b"\x89PNG\0", None),
        (b"\xff\xfe\0", None),
        (b"\xc3", None),
    ],
)
def test_text_is_told_from_what_is_binary(raw: bytes, text: str | None) -> None:
    assert text_of(raw) == text
