"""Names that the applier makes: short enough, told apart, and with their extension."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.device.applier.names import labelled_names, numbered_names, origin_name, precious_name

names = st.binary(min_size=1, max_size=255).filter(lambda raw: b"/" not in raw and b"\0" not in raw)


@given(names)
def test_no_name_passes_255_bytes_and_none_comes_twice(name: bytes) -> None:
    for made in (labelled_names(name, b"conflicted copy 2026-11-18"), numbered_names(name)):
        some = list(itertools.islice(made, 30))
        assert all(0 < len(one) <= 255 for one in some)
        assert len(set(some)) == 30
        assert not any(b"/" in one or b"\0" in one for one in some)


@given(st.text(min_size=1, max_size=255).filter(lambda text: len(text.encode(errors="replace")) <= 255))
def test_text_stays_text(text: str) -> None:
    raw = text.encode(errors="replace").replace(b"/", b"-").replace(b"\0", b"-")
    for one in itertools.islice(labelled_names(raw, b"recovered 2026-11-18"), 12):
        one.decode()


@pytest.mark.parametrize(
    ("name", "labelled", "numbered"),
    [
        (b"a.txt", b"a (x).txt", b"a (1).txt"),
        (b"a (copy).txt", b"a (copy) (x).txt", b"a (copy 1).txt"),
        (b".profile", b".profile (x)", b".profile (1)"),
        (b"no extension", b"no extension (x)", b"no extension (1)"),
        (b"v1.2 draft of it", b"v1.2 draft of it (x)", b"v1.2 draft of it (1)"),
    ],
)
def test_the_label_stands_before_the_extension(name: bytes, labelled: bytes, numbered: bytes) -> None:
    assert next(iter(labelled_names(name, b"x"))) == labelled
    assert next(itertools.islice(numbered_names(name), 1, None)) == numbered


@given(names, st.binary(min_size=8, max_size=8))
def test_a_staged_name_carries_the_name_it_stood_under(name: bytes, random: bytes) -> None:
    staged = precious_name("x", random, name)
    assert len(os.fsencode(staged)) <= 220
    assert origin_name(staged) == name[:200]
