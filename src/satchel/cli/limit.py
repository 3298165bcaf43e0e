"""`satchel limit`. Invariant: what it prints is what holds: what the running daemon says, else its next start takes."""

from __future__ import annotations

from typing import Annotated

import typer

from satchel.cli import output, session
from satchel.core.errors import DaemonNotRunning, SettingInvalid
from satchel.device.control import Request
from satchel.device.settings import DIRECTIONS, SETTINGS, rate_of, set_setting, wanted_limits
from satchel.device.status import Limits


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(limit)


def limit(
    rates: Annotated[
        list[str] | None, typer.Argument(metavar="[up=RATE] [down=RATE]", help="RATE: 500K, 2M, 1.5G a second, or off.")
    ] = None,
) -> None:
    """Show or set how much this device sends and receives a second; it counts at once and stays."""
    wanted = wanted_limits(rates or [])
    for direction, rate in wanted.items():
        set_setting(session.home(), DIRECTIONS[direction], rate)
    now = _taken() if wanted else _holding()
    for direction, rate in wanted.items():
        if getattr(now, direction) != (rate_of(rate) or None):
            variable = next(each.variable for each in SETTINGS if each.name == DIRECTIONS[direction])
            raise SettingInvalid(
                f"{direction}={rate} is stored, but {variable} in the environment wins over it.",
                setting=variable,
                reason=f"{direction} is {output.rate_text(getattr(now, direction))}",
            )
    if not (wanted and output.mode.quiet and not output.mode.json):
        output.give(now, text=f"up {output.rate_text(now.up)}, down {output.rate_text(now.down)}")


def _taken() -> Limits:
    try:
        return session.control().ask(Request("limit"), Limits)
    except DaemonNotRunning:
        return _stored()


def _holding() -> Limits:
    try:
        return session.daemon_status(session.control()).limits
    except DaemonNotRunning:
        return _stored()


def _stored() -> Limits:
    settings = session.settings()
    return Limits(rate_of(settings.limit_up) or None, rate_of(settings.limit_down) or None)
