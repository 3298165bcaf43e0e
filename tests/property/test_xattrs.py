"""Extended attributes have one packed form, and nothing else unpacks."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.core.errors import LimitExceeded, MessageInvalid
from satchel.core.limits import NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX, XATTRS_BYTES_MAX
from satchel.core.xattrs import OWN_PREFIX, PREFIX, TOO_LARGE, pack_xattrs, unpack_xattrs

NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name and not name.startswith(OWN_PREFIX))
ATTRIBUTES = st.dictionaries(NAMES, st.binary(max_size=100), max_size=8)


@given(ATTRIBUTES)
def test_what_is_packed_comes_back(attributes: dict[bytes, bytes]) -> None:
    assert unpack_xattrs(pack_xattrs(attributes)) == attributes


@given(ATTRIBUTES, st.randoms(use_true_random=False))
def test_the_order_in_which_they_were_set_says_nothing(attributes: dict[bytes, bytes], rng) -> None:
    pairs = list(attributes.items())
    rng.shuffle(pairs)
    assert pack_xattrs(dict(pairs)) == pack_xattrs(attributes)


@given(st.binary(max_size=200))
def test_whatever_unpacks_is_the_packed_form_of_it(raw: bytes) -> None:
    try:
        attributes = unpack_xattrs(raw)
    except (MessageInvalid, LimitExceeded):
        return
    assert pack_xattrs(attributes) == raw


@pytest.mark.parametrize("pairs", [[(b"b", b""), (b"a", b"")], [(b"a", b"1"), (b"a", b"2")], [], [(b"", b"")]])
def test_another_form_is_refused(pairs: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(MessageInvalid):
        unpack_xattrs(msgspec.msgpack.encode(pairs))


@pytest.mark.parametrize("name", [b"", b"a\0b", b"satchel.id", b"x" * (NAME_BYTES_MAX - len(PREFIX) + 1)])
def test_a_name_that_may_not_be_set_is_refused(name: bytes) -> None:
    with pytest.raises(MessageInvalid):
        pack_xattrs({name: b""})


def test_limits_hold_at_the_number_and_not_past_it() -> None:
    pack_xattrs({b"a": bytes(XATTR_VALUE_BYTES_MAX)})
    with pytest.raises(LimitExceeded):
        pack_xattrs({b"a": bytes(XATTR_VALUE_BYTES_MAX + 1)})
    three = {b"%d" % at: bytes(XATTR_VALUE_BYTES_MAX) for at in range(3)}
    rest = XATTRS_BYTES_MAX - 3 * XATTR_VALUE_BYTES_MAX - 4 * (len(PREFIX) + 1)
    pack_xattrs(three | {b"9": bytes(rest)})
    with pytest.raises(LimitExceeded):
        pack_xattrs(three | {b"9": bytes(rest + 1)})


def test_the_sign_for_too_large_is_no_packed_value() -> None:
    with pytest.raises(MessageInvalid):
        unpack_xattrs(TOO_LARGE)
