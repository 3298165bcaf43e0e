import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.core.conflicts import (
    clash_name,
    clash_reason,
    conflicted_copy_name,
    conflicted_copy_names,
    copy_origin,
    free_name,
    is_conflicted_copy,
)
from satchel.core.errors import AlreadyExists
from satchel.core.paths import name_key, validate_name

DAY = "2026-11-22"
chars = st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
names = (
    st.tuples(st.text(chars, min_size=1, max_size=255), st.sampled_from(["", ".txt", ".tar.gz", ".jpeg", ". x"]))
    .map("".join)
    .filter(lambda name: len(name.encode()) <= 255 and name not in (".", ".."))
)


@pytest.mark.parametrize(
    ("name", "is_folder", "expected"),
    [
        ("report.txt", False, "report (Laptop's conflicted copy 2026-11-22).txt"),
        ("report", False, "report (Laptop's conflicted copy 2026-11-22)"),
        ("a.tar.gz", False, "a.tar (Laptop's conflicted copy 2026-11-22).gz"),
        (".bashrc", False, ".bashrc (Laptop's conflicted copy 2026-11-22)"),
        (".a.json", False, ".a (Laptop's conflicted copy 2026-11-22).json"),
        ("photos.2026", True, "photos.2026 (Laptop's conflicted copy 2026-11-22)"),
        ("Mr. Smith", False, "Mr. Smith (Laptop's conflicted copy 2026-11-22)"),
        ("end.", False, "end. (Laptop's conflicted copy 2026-11-22)"),
    ],
)
def test_a_conflicted_copy_keeps_its_extension(name: str, is_folder: bool, expected: str) -> None:
    assert conflicted_copy_name(name, "Laptop", DAY, is_folder=is_folder) == expected


def test_the_number_stands_before_the_closing_bracket() -> None:
    assert conflicted_copy_name("a.txt", "Laptop", DAY, 1) == "a (Laptop's conflicted copy 2026-11-22 1).txt"
    first_three = list(itertools.islice(conflicted_copy_names("a", "b", DAY), 3))
    assert first_three == [conflicted_copy_name("a", "b", DAY, number) for number in range(3)]


@pytest.mark.parametrize(
    ("reason", "number", "expected"),
    [
        ("case", 0, "a (case conflict).txt"),
        ("unicode", 0, "a (unicode conflict).txt"),
        ("kind", 0, "a (conflict).txt"),
        ("case", 2, "a (case conflict 2).txt"),
    ],
)
def test_a_clash_is_named_by_its_reason(reason: str, number: int, expected: str) -> None:
    assert clash_name("a.txt", reason, number) == expected  # type: ignore[arg-type]  # the cases are literals


def test_the_reason_of_a_clash_is_told_apart() -> None:
    assert clash_reason("A", "a") == "case"
    assert clash_reason("é", "e\u0301") == "unicode"
    assert clash_reason("É", "e\u0301") == "case"
    assert clash_reason("a", "a") == "kind"


@given(name=names, device=st.text(max_size=80), number=st.integers(0, 10_000), is_folder=st.booleans())
def test_every_made_name_is_valid_and_recognised(name: str, device: str, number: int, is_folder: bool) -> None:
    made = conflicted_copy_name(name, device, DAY, number, is_folder)
    validate_name(made)
    assert is_conflicted_copy(made)
    validate_name(clash_name(name, "case", number, is_folder))


@given(name=names, number=st.integers(0, 100))
def test_numbers_make_different_names(name: str, number: int) -> None:
    made = {name_key(conflicted_copy_name(name, "Laptop", DAY, count)) for count in (number, number + 1)}
    assert len(made) == 2


@pytest.mark.parametrize(
    ("device", "shown"),
    [("a/b", "a-b"), ("", "device"), ("  ", "device"), ("a\nb", "a-b"), ("x\u202ey", "x-y"), ("Ann's  PC", "Ann's PC")],
)
def test_a_device_name_is_tamed(device: str, shown: str) -> None:
    assert conflicted_copy_name("f", device, DAY) == f"f ({shown}'s conflicted copy 2026-11-22)"


def test_a_long_stem_is_shortened_between_whole_letters() -> None:
    name = "e\u0301" * 83 + ".jpeg"
    made = conflicted_copy_name(name, "Laptop", DAY)
    stem = made.partition(" (")[0]
    assert len(made.encode()) <= 255
    assert made.endswith(".jpeg")
    assert stem == "e\u0301" * (len(stem) // 2)


@pytest.mark.parametrize("name", ["a.txt", "a (copy).txt", "conflicted copy", "a (b's conflicted copy).txt"])
def test_other_names_are_no_conflicted_copies(name: str) -> None:
    assert not is_conflicted_copy(name)


def test_the_first_free_name_is_taken_by_its_key() -> None:
    taken = {name_key("A (b's CONFLICTED copy 2026-11-22)"), name_key("a (b's conflicted copy 2026-11-22 1)")}
    assert free_name(conflicted_copy_names("a", "b", DAY), taken) == "a (b's conflicted copy 2026-11-22 2)"


def test_no_free_name_is_a_fault() -> None:
    with pytest.raises(AlreadyExists):
        free_name(["a", "A"], {"a"})


def test_a_copys_name_tells_whose_it_is_and_of_which_day() -> None:
    assert copy_origin(conflicted_copy_name("a (b).txt", "Ben's box (old)", DAY, 2)) == ("Ben's box (old)", DAY)
    assert copy_origin("a (b).txt") == ("", "")
