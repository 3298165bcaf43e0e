"""The words of a text: what of it is indexed, and what of a question is looked for. Invariant: a text that a question
is about has all words that are looked for.

Scripts that write no spaces are found by one character and by two in a row.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from satchel.core.errors import MessageInvalid
from satchel.core.paths import name_key
from satchel.server.search.grams import QUESTION_CHARS_MAX, WORDS_MAX

WORD_CHARS_MAX = 32
"""Of a longer word so much is indexed."""
WORDS_OF_TEXT_MAX = 20_000
LOOKED_WORDS_MAX = 16
"""A long word of a script without spaces is looked for by so many pairs."""
BEGINNING_CHARS_MIN = 3
"""A word of a question that is shorter is looked for as it is; a longer one may also begin a word of the text."""
SNIPPET_CHARS = 160
_BEFORE_CHARS = 50
_WORDS = re.compile(r"[^\W_]+")
_NO_SPACES_FROM = "⺀"
"""The first letter of the scripts of East Asia."""
_LEVEL = 6


class Snippet(NamedTuple):
    """A piece of a text, on one line. matches: where the words of a question stand in it, as starts and ends in
    characters, in order."""

    text: str
    matches: list[tuple[int, int]]


def words_of(text: str) -> list[str]:
    """Return the words of a text, each once, as they are indexed; the first `WORDS_OF_TEXT_MAX`."""
    found: dict[str, None] = {}
    for match in _WORDS.finditer(name_key(text)):
        if len(found) >= WORDS_OF_TEXT_MAX:
            break
        found.update(dict.fromkeys(_indexed(match[0])))
    return list(found)[:WORDS_OF_TEXT_MAX]


def asked_words(text: str) -> tuple[str, ...]:
    """Return the words that a question asks for, each once. Raises: MessageInvalid when there is none, or too much."""
    if len(text) > QUESTION_CHARS_MAX:
        raise MessageInvalid(f"A question has at most {QUESTION_CHARS_MAX} characters.", reason="q")
    key = name_key(text.replace("\0", " ").encode(errors="replace").decode())
    asked = list(dict.fromkeys(match[0] for match in _WORDS.finditer(key)))
    found = dict.fromkeys(part for word in asked for part in _asked(word))
    if not asked:
        raise MessageInvalid("Say what to look for.", reason="q")
    if len(asked) > WORDS_MAX:
        raise MessageInvalid(f"A question has at most {WORDS_MAX} words.", reason="q")
    return tuple(found)[:LOOKED_WORDS_MAX]


def pack_text(text: str) -> bytes:
    """Return the text as it is kept."""
    return zlib.compress(text.encode(errors="replace"), _LEVEL)


def unpack_text(body: bytes) -> str:
    """Return what `pack_text` packed."""
    return zlib.decompress(body).decode()


def snippet_of(text: str, words: Sequence[str]) -> Snippet:
    """Return the piece of the text around the first place where one of the words stands; else its beginning."""
    pattern = re.compile("|".join(_pattern(word) for word in sorted(words, key=len, reverse=True)), re.IGNORECASE)
    first = pattern.search(text)
    start = max(0, first.start() - _BEFORE_CHARS) if first else 0
    if start and (space := text.find(" ", start, start + 20)) >= 0:
        start = space + 1
    piece = " ".join(text[start : start + 2 * SNIPPET_CHARS].split())[:SNIPPET_CHARS]
    return Snippet(piece, [match.span() for match in pattern.finditer(piece)])


def _pattern(word: str) -> str:
    escaped = re.escape(word)
    if word[0] >= _NO_SPACES_FROM:
        return escaped
    return rf"(?<![^\W_]){escaped}" + ("" if len(word) >= BEGINNING_CHARS_MIN else r"(?![^\W_])")


def _indexed(word: str) -> Iterator[str]:
    """Yield what a word of a text is indexed as."""
    yield word[:WORD_CHARS_MAX]
    if any(letter >= _NO_SPACES_FROM for letter in word):
        yield from (letter for letter in word if letter >= _NO_SPACES_FROM)
        yield from (word[at : at + 2] for at in range(len(word) - 1) if word[at] >= _NO_SPACES_FROM)


def _asked(word: str) -> Iterator[str]:
    """Yield what a word of a question is looked for by."""
    if word[0] >= _NO_SPACES_FROM and len(word) > 2:
        yield from (word[at : at + 2] for at in range(0, len(word) - 1, 2))
        yield word[-2:]
    else:
        yield word[:WORD_CHARS_MAX]
