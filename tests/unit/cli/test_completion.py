"""The shell completes what the program understands."""

import subprocess

import pytest

from satchel.cli.completion import words
from satchel.cli.main import main


def completed(script: str, *line: str) -> list[str]:
    """Let bash complete the last word of a line."""
    typed = " ".join(f"'{word}'" for word in line)
    asked = f'{script}\nCOMP_WORDS=({typed}); COMP_CWORD={len(line) - 1}; _satchel; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.split()


@pytest.fixture
def bash(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", "bash"]) == 0
    return capsys.readouterr().out


def test_bash_completes_commands_groups_and_options(bash: str) -> None:
    assert completed(bash, "satchel", "confl") == ["conflicts"]
    assert completed(bash, "satchel", "conflicts", "res") == ["resolve"]
    assert completed(bash, "satchel", "conflicts", "resolve", "--k") == ["--keep"]
    assert completed(bash, "satchel", "undo", "--") == ["--dry-run", "--help", "--new", "--yes"]


def test_fish_has_a_line_for_each_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == sum(len(each) for each in words().values())
    assert "complete -c satchel -n '__fish_seen_subcommand_from undo' -l dry-run" in lines


def test_another_shell_is_refused() -> None:
    assert main(["completion", "tcsh"]) == 1
