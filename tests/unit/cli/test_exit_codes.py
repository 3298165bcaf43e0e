import re
from pathlib import Path
from typing import get_args

import pytest

from satchel.cli import exit_codes
from satchel.core.errors import Fault, NotSignedIn, every_fault
from satchel.device.status import State, gravest


def test_every_state_has_the_code_that_the_manual_promises() -> None:
    codes = {state: exit_codes.of_state(state) for state in get_args(State)}
    assert codes == {"in_sync": 0, "syncing": 10, "attention": 11, "offline": 12, "halted": 13, "paused": 0}


def test_a_paused_link_with_work_waiting_is_not_in_sync() -> None:
    assert exit_codes.of_state("paused", has_work=True) == exit_codes.SYNCING


@pytest.mark.parametrize("fault", every_fault(), ids=lambda fault: fault.code)
def test_every_fault_has_a_documented_code(fault: type[Fault]) -> None:
    assert exit_codes.of_fault(fault()) in exit_codes.MEANINGS


def test_a_plain_fault_fails_with_one() -> None:
    assert exit_codes.of_fault(Fault("odd")) == exit_codes.FAILED
    assert exit_codes.of_fault(NotSignedIn()) == exit_codes.SIGNED_OUT


def test_of_several_links_the_most_serious_counts() -> None:
    assert gravest(["in_sync", "syncing", "offline"]) == "offline"
    assert gravest(["attention", "syncing"]) == "attention"
    assert gravest(["halted", "offline"]) == "halted"
    assert gravest([]) == "in_sync"


def test_the_manual_lists_exactly_the_codes_that_exist() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "use" / "commands.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", manual, re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == exit_codes.MEANINGS
