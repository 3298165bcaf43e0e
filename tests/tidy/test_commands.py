"""docs/use/commands.md says what the program understands: each command, each option, each exit code."""

from collections.abc import Iterator

import typer
from typer.main import get_command

from satchel.cli.exit_codes import MEANINGS
from satchel.cli.main import app
from tests.tidy.sources import document, rows


def commands(command: object, path: str = "satchel") -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Yield each command that does something, with its full name."""
    below = getattr(command, "commands", {})
    for name, child in sorted(below.items()):
        if not child.hidden:
            yield from commands(child, f"{path} {name}")
    if not below:
        assert isinstance(command, typer.core.TyperCommand)
        yield path, command


def test_every_command_has_its_heading_and_every_option_its_mention() -> None:
    text = document("docs/use/commands.md")
    parts = {part.partition("`")[0]: part for part in text.split("\n### `")[1:]}
    known = dict(commands(get_command(app)))
    assert set(parts) == set(known)
    unsaid = [
        f"{name} {option}"
        for name, command in known.items()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and option != "--help" and f"`{option}" not in parts[name]
    ]
    assert unsaid == []


def test_every_exit_code_has_its_row() -> None:
    told = rows("docs/use/commands.md", "Exit codes")
    assert told == {str(code): f" {meaning} " for code, meaning in MEANINGS.items()}
