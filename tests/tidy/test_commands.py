"""docs/use/commands.md says what the program understands: each command, each option, each exit code."""

import re
from collections.abc import Iterator

import typer
from typer.main import get_command

from satchel.cli.exit_codes import MEANINGS
from satchel.cli.main import program
from tests.tidy.sources import document

PAGE = "docs/use/commands.md"


def commands(command: object, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], typer.core.TyperCommand]]:
    """Yield each command that does something, by its words after `satchel`."""
    below = getattr(command, "commands", {})
    for name, child in sorted(below.items()):
        if not child.hidden:
            yield from commands(child, (*words, name))
    if not below:
        assert isinstance(command, typer.core.TyperCommand)
        yield words, command


def told_in(words: tuple[str, ...]) -> str:
    """Return the table row that tells this command, empty when none does.

    One row may tell a whole group: its first cell begins with the group's words and holds the last word.
    """
    for row in re.findall(r"^\| (`.*) \|$", document(PAGE), flags=re.MULTILINE):
        first_cell = re.split(r"(?<!\\)\|", row)[0]
        tokens = re.findall(r"[\w-]+|\S", first_cell.replace("`", " "))
        begins = tuple(tokens[: len(words)]) == words
        belongs = tuple(tokens[: len(words) - 1]) == words[:-1] and words[-1] in tokens
        if begins or (belongs and (len(words) > 1 or f"· `{words[-1]}" in first_cell)):
            return row
    return ""


def test_every_command_has_its_row() -> None:
    assert [" ".join(words) for words, _ in commands(get_command(program())) if not told_in(words)] == []


def test_every_option_is_told_with_its_command() -> None:
    # What holds for all commands is told once, before the first table.
    for_all = document(PAGE).partition("\n## ")[0]
    unsaid = [
        f"{' '.join(words)} {parameter.opts}"
        for words, command in commands(get_command(program()))
        for parameter in command.params
        if parameter.param_type_name == "option" and "--help" not in parameter.opts
        if not any(_says(told_in(words) + for_all, option) for option in parameter.opts)
    ]
    assert unsaid == []


def _says(text: str, option: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


def test_every_exit_code_has_its_row() -> None:
    section = document(PAGE).partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| (\d+) \| (.*) \|$", section, flags=re.MULTILINE))
    assert told == {str(code): meaning for code, meaning in MEANINGS.items()}
