"""`satchel config list|get|set`. Invariant: only documented settings, checked before they are stored."""

from __future__ import annotations

from typing import Annotated

import typer

from satchel.cli import output, session
from satchel.core.errors import SettingInvalid
from satchel.device.settings import SETTINGS, set_setting

group = typer.Typer(help="Show and change this device's settings.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="config")


@group.command("list")
def list_settings() -> None:
    """Show all settings with what they are for."""
    now = values()
    rows = [(setting.name, now[setting.name], setting.doc) for setting in SETTINGS]
    output.give(now, text=output.table(("NAME", "VALUE", "WHAT FOR"), rows))


@group.command()
def get(name: str) -> None:
    """Show one setting."""
    now = values()
    if name not in now:
        raise SettingInvalid("There is no such setting.", setting=name, reason=f"known: {', '.join(now)}")
    output.give(now[name], text=now[name])


@group.command("set")
def change(
    name: str,
    value: Annotated[str, typer.Argument(help="The new value; leave it out with --default.")] = "",
    default: Annotated[bool, typer.Option("--default", help="Go back to the default.")] = False,
) -> None:
    """Change one setting; a running daemon takes it at its next start."""
    set_setting(session.home(), name, None if default else value)
    output.say(f"{name} is {values()[name]} now. It counts from the daemon's next start.")


def values() -> dict[str, str]:
    """Return every setting as it stands for this process."""
    settings = session.settings()
    return {setting.name: str(getattr(settings, setting.name)) for setting in SETTINGS}
