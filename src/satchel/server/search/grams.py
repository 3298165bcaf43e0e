"""What of a name is indexed, and what of a question is looked for. Invariant: each name that a question is about has
all grams that are looked for, so the index may bring too many names and never too few; the name itself decides.

A gram is three characters in a row of the name's key; or, marked by a first byte, how the name or a word of it begins
or ends, its kind, its extension. Scripts that write no spaces are found by two characters.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from satchel.core.errors import MessageInvalid
from satchel.core.paths import name_key

GRAM_CHARS = 3
QUESTION_CHARS_MAX = 255
WORDS_MAX = 8
LOOKED_GRAMS_MAX = 12
"""Of a long word so many grams are looked for; the name is compared anyway."""
_NAME, _WORD, _END, _KIND, _EXTENSION, _PAIR = (bytes([number]) for number in range(1, 7))
_WORDS = re.compile(r"[^\W_]+")
_NO_SPACES_FROM = "⺀"
"""The first letter of the scripts of East Asia."""


class Rank(IntEnum):
    """How well a name fits, the best first. WORD: each word of the question begins one of the name."""

    EXACT = 0
    PREFIX = 1
    WORD = 2
    PART = 3


class Question(NamedTuple):
    """What is looked for, as keys. whole: all of it; words: each is to be found, in any order."""

    whole: str
    words: tuple[str, ...]


def question_of(text: str) -> Question:
    """Return the question that a text asks. Raises: MessageInvalid when it is empty, too long or of too many words."""
    if len(text) > QUESTION_CHARS_MAX:
        raise MessageInvalid(f"A question has at most {QUESTION_CHARS_MAX} characters.", reason="q")
    # What is no Unicode stands in no name.
    text = text.replace("\0", " ").encode(errors="replace").decode()
    words = tuple(dict.fromkeys(name_key(word) for word in text.split()))
    if not words:
        raise MessageInvalid("Say what to look for.", reason="q")
    if len(words) > WORDS_MAX:
        raise MessageInvalid(f"A question has at most {WORDS_MAX} words.", reason="q")
    return Question(name_key(text.strip()), words)


def extension_of(key: str) -> str:
    """Return what stands behind the last dot of a name's key; empty where there is none, or nothing before it."""
    before, _, after = key.rpartition(".")
    return after if before else ""


def grams_of_name(key: str, kind: int) -> set[bytes]:
    """Return all grams of a name's key."""
    if key.isascii():
        # A character is a byte: cut once out of the encoded name, which is most of what indexing a name takes.
        text = key.encode()
        found = {text[at : at + GRAM_CHARS] for at in range(len(text) - GRAM_CHARS + 1)}
        words = {text[begin : begin + count] for begin in _begins(key) for count in (1, 2)}
        start, end = text[:2], text[-2:]
    else:
        found = set(_runs(key))
        words = {key[begin : begin + count].encode() for begin in _begins(key) for count in (1, 2)}
        found.update(_PAIR + key[at : at + 2].encode() for at in range(len(key) - 1) if key[at] >= _NO_SPACES_FROM)
        start, end = key[:2].encode(), key[-2:].encode()
    found.update([_WORD + word for word in words])
    found.update((_NAME + key[:1].encode(), _NAME + start, _END + end, kind_gram(kind)))
    if extension := extension_of(key):
        found.add(extension_gram(extension))
    return found


def kind_gram(kind: int) -> bytes:
    """Return the gram that all names of the kind have."""
    return _KIND + bytes([kind])


def extension_gram(extension: str) -> bytes:
    """Return the gram that all names with the extension (a key, without its dot) have."""
    return _EXTENSION + extension.encode()[:32]


def part_grams(word: str) -> list[list[bytes]]:
    """Return what a name that holds the word has: one gram of each list."""
    if len(word) >= GRAM_CHARS:
        runs = list(dict.fromkeys(_runs(word)))
        step = max(1, -(-len(runs) // LOOKED_GRAMS_MAX))
        return [[run] for run in runs[::step]]
    begins = [_NAME + word.encode(), _WORD + word.encode()]
    return [[*begins, _PAIR + word.encode()] if len(word) == 2 and word >= _NO_SPACES_FROM else begins]


def word_gram(word: str) -> bytes:
    """Return the gram of names in which a word begins like this one does."""
    return _WORD + word[:2].encode()


def name_gram(whole: str) -> bytes:
    """Return the gram of names that begin as this does."""
    return _NAME + whole[:2].encode()


def end_gram(whole: str) -> bytes:
    """Return the gram of names that end as this does."""
    return _END + whole[-2:].encode()


def rank_of(question: Question, key: str) -> Rank | None:
    """Return how well a name's key fits the question; None when it does not."""
    if key == question.whole:
        return Rank.EXACT
    is_begun = True
    for word in question.words:
        if not _begins_word(word, key):
            if not _is_part(word, key):
                return None
            is_begun = False
    if key.startswith(question.whole):
        return Rank.PREFIX
    return Rank.WORD if is_begun else Rank.PART


def matches_of(question: Question, name: str) -> list[tuple[int, int]]:
    """Return where the words stand in the name: starts and ends, in characters, in order, none over another."""
    key = name_key(name)
    if len(key) != len(name):
        # Folding changed how many characters there are, so places in the key are none in the name.
        return []
    found = sorted((at, at + len(word)) for word in question.words if (at := _place(word, key)) >= 0)
    kept: list[tuple[int, int]] = []
    for start, end in found:
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept


def _begins(key: str) -> list[int]:
    return [word.start() for word in _WORDS.finditer(key)]


def _runs(text: str) -> Iterator[bytes]:
    for at in range(len(text) - GRAM_CHARS + 1):
        yield text[at : at + GRAM_CHARS].encode()


@functools.lru_cache(maxsize=1_024)
def _beginning(word: str) -> re.Pattern[str]:
    """Return what finds the word where one of a name begins."""
    return re.compile(rf"(?<![^\W_])(?=[^\W_]){re.escape(word)}")


def _begins_word(word: str, key: str) -> bool:
    return key.startswith(word) or (word in key and _beginning(word).search(key) is not None)


def _is_part(word: str, key: str) -> bool:
    is_long = len(word) >= GRAM_CHARS or (len(word) == 2 and word >= _NO_SPACES_FROM)
    return is_long and word in key


def _place(word: str, key: str) -> int:
    """Return where the word stands best: at the beginning, where a word begins, anywhere; -1 for nowhere."""
    if key.startswith(word):
        return 0
    begin = _beginning(word).search(key)
    return begin.start() if begin else key.find(word)
