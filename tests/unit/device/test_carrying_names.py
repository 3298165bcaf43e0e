"""Names for disks that hold less than Satchel does."""

from hypothesis import given
from hypothesis import strategies as st

from satchel.core.paths import name_key
from satchel.device.carrying.disk_names import Rules, disk_name

STRICT = Rules(100, is_strict=True)


def named(*names: str, rules: Rules = STRICT) -> list[str]:
    taken: set[str] = set()
    return [disk_name(name, rules, taken) for name in names]


def test_a_name_that_every_disk_holds_stays() -> None:
    assert named("a.txt", ".hidden", "é 😀", "100%") == ["a.txt", ".hidden", "é 😀", "100%"]


def test_what_a_disk_refuses_is_written_in_hex() -> None:
    assert named('a:b"?.txt', "end. ", "con", "COM1.log") == ["a%3Ab%22%3F.txt", "end%2E%20", "%63on", "%43OM1.log"]


def test_a_long_name_keeps_its_extension() -> None:
    [name] = named("x" * 200 + ".jpeg")
    assert name.endswith(".jpeg")
    assert len(name.encode()) == 100


def test_the_same_name_twice_is_two_names() -> None:
    assert len({name_key(name) for name in named("a", "a", "A", "a%3A", "a:")}) == 5


@given(st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1), max_size=8))
def test_names_are_held_apart_and_are_the_same_again(names: list[str]) -> None:
    found = named(*names)
    assert found == named(*names)
    assert len({name_key(name) for name in found}) == len(names)
    assert all(0 < len(name.encode()) <= 100 for name in found)
    assert not any(char in name for name in found for char in '<>:"\\|?*')
