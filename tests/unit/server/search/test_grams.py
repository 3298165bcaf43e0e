"""The grams of names and questions: a name that a question is about is never missed by the index."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from satchel.core.entries import Kind
from satchel.core.paths import name_key
from satchel.server.search.grams import (
    GRAM_CHARS,
    LOOKED_GRAMS_MAX,
    Rank,
    grams_of_name,
    matches_of,
    part_grams,
    question_of,
    rank_of,
)

letters = st.text(st.sampled_from("abAB1-_. ß年報é\u0301"), min_size=1, max_size=12)
questions = letters.filter(str.strip)


@given(letters, questions)
def test_a_name_that_fits_has_a_gram_of_each_list_that_is_looked_for(name: str, text: str) -> None:
    key, question = name_key(name), question_of(text)
    grams = grams_of_name(key, Kind.FILE)
    if rank_of(question, key) not in (None, Rank.EXACT):
        assert all(grams.intersection(alternatives) for word in question.words for alternatives in part_grams(word))


@given(letters, questions)
def test_matches_are_in_order_within_the_name_and_say_what_was_asked(name: str, text: str) -> None:
    question = question_of(text)
    last = 0
    for start, end in matches_of(question, name):
        assert last <= start < end <= len(name)
        assert name_key(name)[start:end] in question.words
        last = end


@given(letters.map(lambda text: text * 20))
def test_a_long_word_is_looked_for_by_few_grams(word: str) -> None:
    assert len(word) < GRAM_CHARS or 1 <= len(part_grams(word)) <= LOOKED_GRAMS_MAX


def test_the_name_itself_the_beginning_words_and_parts_rank_in_this_order() -> None:
    question = question_of("Re Port")
    found = [rank_of(question, key) for key in ("re port", "re port 2", "port of re", "airport re", "re porter", "por")]
    assert found == [Rank.EXACT, Rank.PREFIX, Rank.WORD, Rank.PART, Rank.PREFIX, None]


def test_what_folds_to_another_length_has_no_places() -> None:
    assert matches_of(question_of("straße"), "Straße") == []
    assert matches_of(question_of("port re"), "Re-Port 7") == [(0, 2), (3, 7)]
