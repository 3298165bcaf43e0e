import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.core.errors import LimitExceeded, NameInvalid
from satchel.core.limits import DEPTH_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX
from satchel.core.paths import join_path, name_key, split_path, validate_name

# Letters, marks and the characters whose folding is known to be odd, so that they meet often.
ODD = "aAiIİıßẞKkſΣσςΐΐᾳᾼﬁŉǰ\u0301\u0307\u0308\u0313\u0345\u1fbe\u0331Å가각한 ."
texts = st.text(alphabet=st.one_of(st.sampled_from(ODD), st.characters(exclude_categories=["Cs"])), max_size=12)
names = texts.filter(lambda text: text not in ("", ".", "..") and "/" not in text and "\0" not in text)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        (".", "dots"),
        ("..", "dots"),
        ("a/b", "slash"),
        ("/", "slash"),
        ("a\0b", "nul"),
        ("a\ud800", "surrogate"),
        ("a" * 256, "too_long"),
        ("é" * 128, "too_long"),
    ],
)
def test_a_name_that_no_node_may_carry_is_refused_with_its_reason(name: str, reason: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        validate_name(name)
    assert caught.value.fields["reason"] == reason
    str(caught.value.fields["name"]).encode()


@pytest.mark.parametrize("name", ["a" * NAME_BYTES_MAX, "...", ".a", " ", "a\nb", "é" * 127, "\\", "CON", "a:b"])
def test_a_name_at_the_limit_or_merely_unusual_is_accepted(name: str) -> None:
    validate_name(name)


@given(texts)
def test_the_key_of_a_key_is_the_key(text: str) -> None:
    assert name_key(name_key(text)) == name_key(text)


@given(texts)
def test_canonical_twins_have_one_key(text: str) -> None:
    composed, decomposed = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert name_key(composed) == name_key(decomposed) == name_key(text)


@given(texts)
def test_folding_the_case_first_keeps_the_key(text: str) -> None:
    assert name_key(unicodedata.normalize("NFC", text).casefold()) == name_key(text)


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_short_way_for_ascii_is_the_long_way(text: str) -> None:
    assert name_key(text) == unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("README.txt", "readme.TXT"),
        ("straße", "STRASSE"),
        ("straße", "STRAẞE"),
        ("\u212a", "k"),  # the Kelvin sign
        ("Å", "\u212b"),
        ("é", "e\u0301"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("İ", "i\u0307"),
    ],
)
def test_twins_share_a_key(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(("one", "other"), [("I", "ı"), ("İ", "I"), ("a", "á"), ("ﬁ ", "fi"), ("a", "a ")])
def test_different_names_have_different_keys(one: str, other: str) -> None:
    assert name_key(one) != name_key(other)


@given(st.lists(names, max_size=6))
def test_splitting_undoes_joining(parts: list[str]) -> None:
    assert split_path(join_path(parts)) == tuple(parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("", ()), ("/", ()), ("/a/b", ("a", "b")), ("a/b", ("a", "b")), ("/a/b/", ("a", "b")), ("/ ", (" ",))],
)
def test_a_path_may_leave_out_its_outer_slashes(text: str, parts: tuple[str, ...]) -> None:
    assert split_path(text) == parts


@pytest.mark.parametrize("text", ["//", "/a//b", "//a", "/a/../b", "/./a", "/a\0", "a//"])
def test_a_path_with_an_invalid_name_is_refused(text: str) -> None:
    with pytest.raises(NameInvalid):
        split_path(text)


def test_depth_holds_at_its_limit_and_not_past_it() -> None:
    assert len(split_path("/a" * DEPTH_MAX)) == DEPTH_MAX
    with pytest.raises(LimitExceeded) as caught:
        split_path("/a" * (DEPTH_MAX + 1))
    assert caught.value.fields["limit"] == "DEPTH_MAX"


def test_path_length_holds_at_its_limit_and_not_past_it() -> None:
    at_limit = ("/" + "a" * 255) * (PATH_BYTES_MAX // 256)
    assert len(at_limit) == PATH_BYTES_MAX
    assert split_path(at_limit)
    with pytest.raises(LimitExceeded) as caught:
        split_path(at_limit + "/a")
    assert caught.value.fields["limit"] == "PATH_BYTES_MAX"
