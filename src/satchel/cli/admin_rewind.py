"""`satchel admin rewind`: the whole of an account as it was at a time. Invariant: shown before it is done, and undone
as any rewind is, by the account itself too.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from satchel.cli import output
from satchel.cli.administering import Config, Data, administer, server_settings
from satchel.cli.rewind import line_texts, summary
from satchel.cli.times import parse_time_ms
from satchel.core.errors import Fault


class Told(msgspec.Struct, frozen=True):
    """What the server says of a rewind. lines: the first ones (does, path now, path then); id: empty until done."""

    to_ms: int
    to_seq: int
    head_seq: int
    counts: dict[str, int]
    lines: list[tuple[str, str, str]]
    id: str = ""


def register(admin: typer.Typer) -> None:
    """Add the command of this file to `admin`."""
    admin.command("rewind")(rewind)


def rewind(
    user: Annotated[str, typer.Argument(help="The account.")],
    to: Annotated[str, typer.Option("--to", help="2026-11-28 14:00, 2 hours ago, yesterday.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Bring all of an account back to what it was at a time. Nothing is removed for good; it can be taken back."""
    settings = server_settings({"data": data}, config)
    asked: dict[str, object] = {"name": user, "to_ms": parse_time_ms(to)}
    shown = msgspec.convert(administer(settings, "rewind", {**asked, "dry_run": True}), Told)
    if dry_run or not shown.counts:
        output.give(shown, text=lambda: _text(shown))
        return
    output.note(_text(shown))
    if not yes and not output.ask_yes("Do it?"):
        raise Fault("Nothing was changed: say --yes, or answer y on a terminal.")
    done = msgspec.convert(administer(settings, "rewind", {**asked, "seen_seq": shown.head_seq}), Told)
    output.give(done, text="" if output.mode.quiet else f"{summary(done.counts)}. The rewind is {done.id}.")


def _text(shown: Told) -> str:
    if not shown.counts:
        return "Nothing has changed since then."
    lines = [f"As it was at {output.time_text(shown.to_ms)}: {summary(shown.counts)}."]
    return "\n".join([*lines, *["  " + text for text in line_texts(shown.lines)]])
