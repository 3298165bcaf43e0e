"""`satchel completion`: the shell's completion as a script. Invariant: made from the commands themselves, and
complete in itself: no program is started when a person presses the tab key.
"""

from __future__ import annotations

from typing import Annotated

import typer

from satchel.cli import output
from satchel.core.errors import Fault

Words = dict[str, list[str]]
"""By command ("conflicts", "conflicts resolve"): the commands below it and its options; "" for the program itself."""


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(completion)


def completion(shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print what makes the shell complete commands and options; load it from the shell's start file."""
    made = words()
    match shell:
        case "bash":
            script = _bash(made)
        case "zsh":
            script = "autoload -U +X bashcompinit && bashcompinit\n" + _bash(made)
        case "fish":
            script = _fish(made)
        case _:
            raise Fault(f"{shell} is not known here; say bash, zsh or fish.")
    output.give(script, text=script)


def words() -> Words:
    """Return what may follow each command, of the whole program."""
    from typer.main import get_command

    from satchel.cli.main import program

    made: Words = {}
    waiting: list[tuple[str, object]] = [("", get_command(program()))]
    while waiting:
        name, command = waiting.pop()
        below = {word: child for word, child in getattr(command, "commands", {}).items() if not child.hidden}
        options = [
            option
            for parameter in getattr(command, "params", [])
            if parameter.param_type_name == "option"
            for option in parameter.opts
            if option.startswith("--")
        ]
        made[name] = [*sorted(below), *sorted({*options, "--help"})]
        waiting += [(f"{name} {word}".strip(), child) for word, child in below.items()]
    return made


def _bash(made: Words) -> str:
    cases = "\n".join(
        f'    "{name}") words="{" ".join(each)}" ;;' for name, each in sorted(made.items()) if len(name.split()) == 2
    )
    tops = "\n".join(
        f'    "{name}") words="{" ".join(each)}" ;;' for name, each in sorted(made.items()) if len(name.split()) == 1
    )
    return f"""_satchel() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" words=""
  if [ "$COMP_CWORD" -le 1 ]; then
    words="{" ".join(made[""])}"
  else
    case "${{COMP_WORDS[1]}}" in
{tops}
    esac
    if [ "$COMP_CWORD" -gt 2 ]; then
      case "${{COMP_WORDS[1]}} ${{COMP_WORDS[2]}}" in
{cases}
      esac
    fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _satchel satchel"""


def _fish(made: Words) -> str:
    lines = []
    for name, each in sorted(made.items()):
        seen = " and ".join(f"__fish_seen_subcommand_from {word}" for word in name.split())
        when = seen.replace(" and ", "; and ") or "__fish_use_subcommand"
        for word in each:
            kind = f"-l {word[2:]}" if word.startswith("--") else f"-f -a {word}"
            lines.append(f"complete -c satchel -n '{when}' {kind}")
    return "\n".join(lines)
