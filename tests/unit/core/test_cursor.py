import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.core.cursor import CURSOR_CHARS_MAX, CursorPayload, CursorPlace, seal, unseal
from satchel.core.errors import CursorInvalid, LimitExceeded
from satchel.core.ids import AccountId, NamespaceId, NodeId, Tag
from satchel.core.limits import CURSOR_NAMESPACES_MAX

KEY = b"k" * 32
ids = st.binary(min_size=16, max_size=16)
places = st.builds(
    CursorPlace,
    ns=ids.map(NamespaceId),
    seq=st.integers(0, 2**63 - 1),
    tag=st.binary(min_size=8, max_size=8).map(Tag),
    joining_after=st.none() | ids.map(NodeId),
)
payloads = st.builds(
    CursorPayload, epoch=ids, account=ids.map(AccountId), places=st.lists(places, max_size=5).map(tuple)
)


def payload_of(count: int) -> CursorPayload:
    place = CursorPlace(NamespaceId(b"n" * 16), 2**62, Tag(b"t" * 8), NodeId(b"a" * 16))
    return CursorPayload(b"e" * 16, AccountId(b"a" * 16), (place,) * count)


@given(payloads)
def test_what_was_sealed_comes_back(payload: CursorPayload) -> None:
    assert unseal(KEY, seal(KEY, payload)) == payload


@given(payload=payloads, data=st.data())
def test_any_other_character_anywhere_is_refused(payload: CursorPayload, data: st.DataObject) -> None:
    text = seal(KEY, payload)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(max_codepoint=0x17F).filter(lambda char: char != text[at]))
    with pytest.raises(CursorInvalid):
        unseal(KEY, text[:at] + other + text[at + 1 :])


def test_every_single_character_of_one_cursor_counts() -> None:
    text = seal(KEY, payload_of(1))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for at in range(len(text)):
        for char in alphabet.replace(text[at], ""):
            with pytest.raises(CursorInvalid):
                unseal(KEY, text[:at] + char + text[at + 1 :])


@given(st.text(max_size=80))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        unseal(KEY, text)


@given(payload=payloads, tail=st.text(min_size=1, max_size=4))
def test_a_longer_or_shorter_text_is_refused(payload: CursorPayload, tail: str) -> None:
    text = seal(KEY, payload)
    for other in (text + tail, text[: -len(tail)], text + "=", text + "\n"):
        with pytest.raises(CursorInvalid):
            unseal(KEY, other)


def test_another_servers_cursor_is_refused() -> None:
    with pytest.raises(CursorInvalid):
        unseal(b"x" * 32, seal(KEY, payload_of(1)))


def test_a_cursor_of_another_version_is_refused() -> None:
    import hashlib
    import hmac

    body = b"\x02" + b"\x93"
    sealed = body + hmac.digest(KEY, body, hashlib.sha256)[:16]
    with pytest.raises(CursorInvalid) as caught:
        unseal(KEY, base64.urlsafe_b64encode(sealed).rstrip(b"=").decode())
    assert caught.value.fields["reason"] == "version"


def test_the_longest_cursor_opens_and_one_more_namespace_is_refused() -> None:
    payload = payload_of(CURSOR_NAMESPACES_MAX)
    text = seal(KEY, payload)
    assert len(text) <= CURSOR_CHARS_MAX
    assert unseal(KEY, text) == payload
    with pytest.raises(LimitExceeded):
        seal(KEY, payload_of(CURSOR_NAMESPACES_MAX + 1))
