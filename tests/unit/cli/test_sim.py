"""`satchel sim replay` tells how a seed goes, the same each time, and loads the simulation for nobody else."""

import json
import subprocess
import sys

import pytest

from satchel.cli.main import main
from satchel.simulation.broken import Broken


def test_a_seed_that_holds_says_so_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "replay", "7", "--operations", "8"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("seed 7: holds\n") and " operations, " in told and " steps, trace " in told


def test_the_same_seed_leaves_the_same_trace_and_another_one_another(capsys: pytest.CaptureFixture[str]) -> None:
    traces = []
    for seed in ("7", "7", "8"):
        assert main(["--json", "sim", "replay", seed, "--operations", "8"]) == 0
        traces.append(json.loads(capsys.readouterr().out)["trace"])
    assert traces[0] == traces[1] != traces[2]


def test_a_seed_that_fails_names_the_claim_and_shrinks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_holds(*args: object) -> None:
        raise Broken("nothing is lost", "all")

    monkeypatch.setattr("satchel.simulation.run.check_quiet", never_holds)
    assert main(["sim", "replay", "7", "--operations", "8", "--minimise"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("seed 7: FAILED: nothing is lost: all\n")
    assert "\n1 steps, 2 machines, 1 namespaces, " in told and told.endswith("\nnothing is lost: all\n")


@pytest.mark.parametrize("line", [["many"], ["1.5"], ["--", "-1"], [], ["7", "--operations", "0"]])
def test_what_names_no_case_is_a_wrong_command_line(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "replay", *line]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "Traceback" not in told.err and "replay" in told.err


def test_no_other_command_loads_the_simulation() -> None:
    program = (
        "import sys; from satchel.cli.main import program; from typer.main import get_command; get_command(program());"
        " sys.exit(any(name.startswith('satchel.simulation') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
