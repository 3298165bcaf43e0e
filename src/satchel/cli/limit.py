"""`satchel limit`. Invariant: what it prints is what holds: what the running daemon says, else its next start takes."""

from __future__ import annotations

from typing import Annotated

import typer

from satchel.cli import output, session
from satchel.core.errors import DaemonNotRunning, SettingInvalid
from satchel.device.control import Request
from satchel.device.settings import SETTINGS, rate_of, set_setting
from satchel.device.status import Limits

DIRECTIONS = {"up": "limit_up", "down": "limit_down"}


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(limit)


def limit(
    rates: Annotated[
        list[str] | None, typer.Argument(metavar="[up=RATE] [down=RATE]", help="RATE: 500K, 2M, 1.5G a second, or off.")
    ] = None,
) -> None:
    """Show or set how much this device sends and receives a second; it counts at once and stays."""
    wanted = wanted_of(rates or [])
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


def wanted_of(words: list[str]) -> dict[str, str]:
    """Return the rates by direction, all of them checked. Raises: SettingInvalid."""
    wanted = {}
    for word in words:
        direction, _, rate = word.partition("=")
        if direction not in DIRECTIONS or direction in wanted or rate_of(rate) is None:
            raise SettingInvalid(
                f"'{word}' is no limit: write up=500K, down=1.5M (K, M or G a second, 16K at least), or up=off.",
                setting=DIRECTIONS.get(direction, "limit"),
                reason="twice" if direction in wanted else "",
            )
        wanted[direction] = rate
    return wanted


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
