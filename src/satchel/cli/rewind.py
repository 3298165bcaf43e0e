"""`satchel rewind`: a folder, or the whole account, as it was at a time. Invariant: what would change is shown before
anything does, and a person says yes to what was shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import output, session
from satchel.cli.times import parse_time_ms
from satchel.core.errors import Fault

if TYPE_CHECKING:
    from satchel.device.api_history import Rewind, RewindDone, RewindPreview, RewindTarget

SHOWN_MAX = 20
DOES = {
    "back": "comes back",
    "moved": "moves",
    "content": "gets what it held then",
    "attributes": "gets its attributes of then",
    "trash": "goes into the trash",
    "gone": "was removed for good, stays away",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(rewind)
    app.command()(rewinds)


def rewind(
    path: Annotated[str, typer.Argument(help="A remote folder, or one in a linked folder; / for all.")] = "",
    to: Annotated[str, typer.Option("--to", help="2026-11-28 14:00, 2 hours ago, yesterday.")] = "",
    undo: Annotated[str, typer.Option("--undo", help="Take a rewind back, by its id of 'satchel rewinds'.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Bring a folder on the server back to what it was at a time. What was made since goes into the trash, what was
    edited since stays a version, and the rewind itself can be taken back."""
    if bool(to) == bool(undo) or bool(path) == bool(undo):
        raise Fault("Say which folder and --to TIME, or --undo ID.")
    target: RewindTarget = {"undo": undo} if undo else _target(session.remote_path(path), to)
    shown = session.run(_preview(target))
    if dry_run or not shown.counts:
        output.give(shown, text=lambda: preview_text(shown))
        return
    output.note(preview_text(shown))
    if not yes and not output.ask_yes("Do it?"):
        raise Fault("Nothing was changed: say --yes, or answer y on a terminal.")
    done = session.run(_rewind(target, shown))
    told = f"{summary(done.counts)}. Take it back with: satchel rewind --undo {done.id}"
    output.give(done, text="" if output.mode.quiet else told)


def _target(path: str, to: str) -> RewindTarget:
    return {"path": path, "to_ms": parse_time_ms(to)}


async def _preview(target: RewindTarget) -> RewindPreview:
    from satchel.device.api_history import preview_rewind

    async with session.api() as api:
        return await preview_rewind(api, target, limit=1_000 if output.mode.json else SHOWN_MAX)


async def _rewind(target: RewindTarget, shown: RewindPreview) -> RewindDone:
    """Do it in as many calls as it takes; only the first one minds what changed since the preview."""
    from satchel.device.api_history import rewind as make_rewind

    async with session.api() as api:
        done = await make_rewind(api, target, seen_seq=shown.head_seq)
        counts = done.counts
        while not done.is_finished:
            output.note("Going on...")
            done = await make_rewind(api, target)
    return type(done)(done.id, done.to_seq, done.before_seq, done.head_seq, counts, True, done.namespace)


def preview_text(shown: RewindPreview) -> str:
    """Return what a rewind would do, for people."""
    if not shown.counts:
        return "Nothing has changed since then."
    lines = [f"As it was at {output.time_text(shown.to_ms)}: {summary(shown.counts)}."]
    lines += ["  " + text for text in line_texts([(one.does, one.path_now, one.path_then) for one in shown.lines])]
    more = sum(count for does, count in shown.counts.items() if does != "thinned") - len(shown.lines)
    if more > 0:
        lines.append(f"  ... and {more:,} more: satchel rewind --dry-run --json")
    if shown.counts.get("thinned"):
        lines.append(f"  Of {shown.counts['thinned']:,} only an older version than that of then is kept; it gets that.")
    return "\n".join(lines)


def line_texts(lines: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return a line for each (does, path now, path then)."""
    told = []
    for does, now, then in lines:
        place = f"{now} -> {then}" if does == "moved" else then or now
        told.append(f"{place}: {DOES.get(does, does)}")
    return told


def summary(counts: Mapping[str, int]) -> str:
    """Return what a rewind comes to, in one line."""
    words = {
        "back": "come back",
        "trash": "into the trash",
        "content": "get older content",
        "moved": "move",
        "attributes": "get older attributes",
        "gone": "are gone for good",
    }
    return ", ".join(f"{counts[does]:,} {word}" for does, word in words.items() if counts.get(does)) or "no change"


def rewinds(
    path: Annotated[str, typer.Argument(help="A shared folder, to list those of it.")] = "",
) -> None:
    """List the rewinds that were made, the newest first: of your own folders, or of a shared one."""
    found = session.run(_listed(session.remote_path(path) if path else ""))
    rows = [
        (
            output.time_text(one.created_ms),
            one.path or "(gone)",
            output.time_text(one.to_ms),
            one.device or one.account,
            "undo" if one.undoes else "" if one.finished_ms else "unfinished",
            one.id,
        )
        for one in found
    ]
    head = ("MADE", "FOLDER", "TO", "BY", "", "ID")
    output.give(found, text=lambda: output.table(head, rows) or "No rewind was made yet.")


async def _listed(path: str) -> list[Rewind]:
    from satchel.device.api_history import list_rewinds

    async with session.api() as api:
        return [one async for one in list_rewinds(api, path)]
