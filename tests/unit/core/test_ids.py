import uuid

from hypothesis import given
from hypothesis import strategies as st

from satchel.core.ids import ID_BYTES, derived_id, short, uuid7

moments = st.integers(0, 2**48 - 1)
chances = st.binary(min_size=10, max_size=16)


@given(now_ms=moments, chance=chances)
def test_an_id_is_a_uuid_of_version_7_with_its_time(now_ms: int, chance: bytes) -> None:
    made = uuid.UUID(bytes=uuid7(now_ms, chance))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now_ms


@given(early=moments, late=moments, one=chances, other=chances)
def test_a_later_id_is_a_greater_one(early: int, late: int, one: bytes, other: bytes) -> None:
    if early < late:
        assert uuid7(early, one) < uuid7(late, other)


@given(st.lists(st.binary(max_size=8), max_size=4))
def test_a_derived_id_is_a_uuid_of_version_8_and_always_the_same(parts: list[bytes]) -> None:
    made = derived_id(*parts)
    assert made == derived_id(*parts)
    assert len(made) == ID_BYTES
    assert (uuid.UUID(bytes=made).version, uuid.UUID(bytes=made).variant) == (8, uuid.RFC_4122)


def test_where_a_part_ends_counts() -> None:
    assert derived_id(b"ab", b"c") != derived_id(b"a", b"bc") != derived_id(b"abc")


def test_a_short_id_is_eight_digits() -> None:
    assert short(bytes(range(16))) == "00010203"
