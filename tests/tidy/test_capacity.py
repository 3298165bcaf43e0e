"""The plan in the documents is the one that is computed, and every number in it can be followed to its source."""

from __future__ import annotations

import re

import pytest
from bench.capacity import PLAN, USED_COSTS, Input, Line, evaluated, planned, read_inputs, shown, table

from tests.tidy.sources import ROOT, document

PAGE = "docs/operate/capacity.md"


def test_the_documents_tables_are_what_the_program_prints() -> None:
    assert document(PAGE).partition("\n| quantity |")[2] == table(read_inputs()).partition("| quantity |")[2] + "\n"


def test_every_input_is_used_and_has_a_source() -> None:
    inputs = read_inputs()
    used = {name for line in PLAN for name in re.findall(r"[a-z_]+", line.formula)}
    assert set(inputs) - used == set()
    assert [name for name, given in inputs.items() if not given.source or not given.unit] == []


def test_every_measured_input_names_a_command_of_this_repository_and_a_day() -> None:
    inputs = read_inputs()
    odd = [
        n for n in USED_COSTS if not re.fullmatch(r"python -m bench\.load .*, \d{4}-\d\d-\d\d(, .*)?", inputs[n].source)
    ]
    assert odd == []


def test_every_file_that_a_source_names_exists() -> None:
    named = re.findall(r"(?:src|bench|docs)/[\w./-]+\w", " ".join(each.source for each in read_inputs().values()))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_line_is_named_once_and_is_no_input() -> None:
    names = [line.name for line in PLAN]
    assert len(names) == len(set(names))
    assert set(names) & set(read_inputs()) == set()


def test_twice_the_uploads_never_need_less() -> None:
    inputs = read_inputs()
    more = inputs | {"uploads_a_day": inputs["uploads_a_day"]._replace(value=2 * inputs["uploads_a_day"].value)}
    before, after = planned(inputs), planned(more)
    assert [name for name in before if after[name] < before[name]] == []
    assert after["gateway_cores"] > before["gateway_cores"]


@pytest.mark.parametrize(
    ("formula", "value"), [("2 * (3 + a)", 14), ("up(a / 3)", 2), ("most(a, 9) - 1", 8), ("a / 8", 0.5)]
)
def test_a_formula_is_arithmetic(formula: str, value: float) -> None:
    assert evaluated(formula, {"a": 4}) == value


@pytest.mark.parametrize("formula", ["a.real", "open('x')", "'a'", "[a]", "a ** 2", "up(a=1)"])
def test_a_formula_is_nothing_else(formula: str) -> None:
    with pytest.raises(ValueError, match=re.escape(formula)):
        evaluated(formula, {"a": 4})


def test_a_line_may_name_those_above_it_alone() -> None:
    inputs = {"a": Input(2, "", "")}
    assert planned(inputs, [Line("b", "", "a + 1"), Line("c", "", "b * a")]) == {"b": 3, "c": 6}
    with pytest.raises(KeyError):
        planned(inputs, [Line("b", "", "c"), Line("c", "", "a")])


@pytest.mark.parametrize(
    ("value", "text"), [(34722.2, "34,700"), (1e9, "1,000,000,000"), (0.01234, "0.0123"), (7, "7"), (1.5, "1.5")]
)
def test_numbers_are_shown_with_three_digits(value: float, text: str) -> None:
    assert shown(value) == text
