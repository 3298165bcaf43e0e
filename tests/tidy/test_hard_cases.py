"""The table of hard cases names tests that exist, and leaves no case out."""

from __future__ import annotations

import ast
import functools
import re

import pytest

from tests.tidy.sources import ROOT, document

PAGE = "docs/design/046-hard-cases.md"
CASES = {"R": 12, "N": 6, "T": 10, "I": 8, "P": 15}
ROWS = [line.strip("|").split("|") for line in document(PAGE).splitlines() if line.startswith("| ")]
CLAIMS = sorted(set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", document(PAGE))))


@functools.cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("path", sorted({path for path, _ in CLAIMS}))
def test_every_test_that_a_hard_case_names_exists(path: str) -> None:
    named = {name for where, name in CLAIMS if where == path}
    assert named - names_in(path) == set()


def test_every_hard_case_has_its_row() -> None:
    told = {row[0].split()[0] for row in ROWS}
    assert {f"{letter}{number}" for letter, count in CASES.items() for number in range(1, count + 1)} - told == set()


def test_every_row_names_a_test_or_says_why_there_is_none() -> None:
    silent = [row for row in ROWS if row[0].strip() != "case" and "::test_" not in row[2] and len(row[2].split()) < 4]
    assert silent == []
