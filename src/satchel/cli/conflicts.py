"""`satchel conflicts list|resolve` and `satchel undo`. Invariant: nothing is lost by either: what gives way goes to the
local trash, the server keeps its versions, and `undo` takes back the last run, whoever it was.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import daemon, exit_codes, output, session
from satchel.core.errors import Fault, NotFound
from satchel.device.control import Request
from satchel.device.links import Link
from satchel.device.status import Amended

if TYPE_CHECKING:
    from satchel.device.explaining import Conflict, Event

LISTED_MAX = 1_000
AT_ONCE_MAX = 200
AMEND_S = 3_600.0

conflicts = typer.Typer(help="Show conflicted copies, and end conflicts.", invoke_without_command=True)


class Keep(StrEnum):
    """Which of the two files holds the name afterwards."""

    MINE = "mine"
    THEIRS = "theirs"
    BOTH = "both"
    NEWEST = "newest"
    COPY = "copy"
    ORIGINAL = "original"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(conflicts, name="conflicts")
    app.command()(undo)


@conflicts.callback()
def _conflicts(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_conflicts()


@conflicts.command("list")
def list_conflicts(
    path: Annotated[str, typer.Argument(help="A linked folder; all when left out.")] = "",
) -> None:
    """List the conflicted copies in the linked folders, the oldest first (1,000 at most)."""
    links = session.links_in(session.link_of(path).local if path else "")
    found = [(link, each) for link in links for each in _found(link)]
    rows = [
        (
            os.path.join(link.local, each.copy),
            each.made_by + (" (mine)" if each.is_mine else ""),
            output.time_text(each.copy_changed_ms),
            output.size_text(each.copy_size),
            each.original or "(gone)",
        )
        for link, each in found
    ]
    head = ("COPY", "EDIT OF", "CHANGED", "SIZE", "BESIDE")
    hint = "\nEnd them: satchel conflicts resolve PATH... --keep mine|theirs|both|newest"
    shown = [{"link": link.local, "conflict": each} for link, each in found]
    output.give(shown, text=lambda: output.table(head, rows, right=(3,)) + hint if rows else "No conflicts.")


def _found(link: Link) -> list[Conflict]:
    from satchel.device.explaining import conflicts_in

    return conflicts_in(session.state_folder(link), link.device_name, LISTED_MAX)


@conflicts.command()
def resolve(
    paths: Annotated[list[str] | None, typer.Argument(help="Conflicted copies, or the files beside them.")] = None,
    keep: Annotated[Keep, typer.Option("--keep", help="Whose content holds the name; both: two names.")] = ...,  # type: ignore[assignment]  # required
    every: Annotated[bool, typer.Option("--all", help="All conflicts of the linked folders.")] = False,
) -> None:
    """End conflicts: the kept content holds the name, the other goes to the trash. Take it back with 'satchel undo'.

    mine: what this device had; theirs: what the other had; newest: what was changed last; copy, original: by name.
    """
    if bool(paths) == every:
        raise Fault("Name the conflicts, or say --all.")
    chosen = _chosen(paths or [])
    daemon.ensure_daemon()
    told: list[tuple[str, list[Amended]]] = []
    for link, found in chosen:
        by_word: dict[str, list[str]] = {}
        for each in found:
            by_word.setdefault(_word(keep, each), []).append(each.copy)
        for word, copies in by_word.items():
            for at in range(0, len(copies), AT_ONCE_MAX):
                request = Request("resolve", link.local, AMEND_S, tuple(copies[at : at + AT_ONCE_MAX]), word)
                told += session.control().ask(request, list[tuple[str, list[Amended]]])
    _give(told)


def _word(keep: Keep, conflict: Conflict) -> str:
    if keep is Keep.MINE:
        return "copy" if conflict.is_mine else "original"
    if keep is Keep.THEIRS:
        return "original" if conflict.is_mine else "copy"
    return str(keep.value)


def _chosen(paths: Sequence[str]) -> list[tuple[Link, list[Conflict]]]:
    """Return the conflicts that are named, all when none is. Raises: NotFound for a path that is in none."""
    if not paths:
        return [(link, found) for link in session.links_in() if (found := _found(link))]
    chosen: dict[str, tuple[Link, list[Conflict]]] = {}
    known: dict[str, list[Conflict]] = {}
    for path in paths:
        link, names = session.in_link(path)
        if link.local not in known:
            known[link.local] = _found(link)
        wanted = "/".join(names)
        found = [each for each in known[link.local] if wanted in (each.copy, each.original)]
        if not found:
            raise NotFound(f"{path} is in no conflict; see 'satchel conflicts list'.", path=path)
        held = chosen.setdefault(link.local, (link, []))[1]
        held += [each for each in found if each not in held]
    return list(chosen.values())


def undo(
    path: Annotated[str, typer.Argument(help="A linked folder; the only one when left out.")] = "",
    new: Annotated[bool, typer.Option("--new", help="Move to the trash what came new, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what the last run did, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take back what the last run did to a linked folder, from the local trash. Undo an undo the same way.

    A shared folder has runs of its own: the newest one counts, be it the folder's or that of a shared folder in it.
    """
    link, events = _last_run(session.links_in(session.link_of(path).local))
    if dry_run or not events:
        output.give(events, text=lambda: _events_text(link, events))
        return
    if not yes and output.is_terminal():
        output.note(_events_text(link, events))
        if not output.ask_yes("Take this back?"):
            raise typer.Exit(exit_codes.FAILED)
    daemon.ensure_daemon()
    request = Request("undo", link.local, AMEND_S, with_new=new)
    _give(session.control().ask(request, list[tuple[str, list[Amended]]]))


def _last_run(links: Sequence[Link]) -> tuple[Link, list[Event]]:
    """Return which of the links was changed last, and what its last run did to the disk."""
    from satchel.device.explaining import event_of

    runs: list[tuple[Link, list[Event]]] = []
    for link in links:
        # The shared folders in a linked one may be so new that nothing is known of them.
        with contextlib.suppress(NotFound), session.view(link) as view:
            runs.append((link, [event_of(row) for row in view.activity.last_changes(LISTED_MAX)]))
    if not runs:
        raise NotFound(f"{links[0].local} was never synced.", path=links[0].local)
    return max(runs, key=lambda run: run[1][-1].at_ms if run[1] else 0)


def _events_text(link: Link, events: Sequence[Event]) -> str:
    if not events:
        return "Nothing was done to this folder yet."
    rows = [
        (output.time_text(event.at_ms), event.what, event.rule, event.was_path and f"{event.was_path} ->", event.path)
        for event in events
    ]
    return f"{link.local}\n" + output.table(("TIME", "WHAT", "RULE", "", "PATH"), rows)


def _give(told: Sequence[tuple[str, Sequence[Amended]]]) -> None:
    """Show what came of each; the exit code says whether all was done."""
    items = [(local, each) for local, found in told for each in found]
    lines = [f"{each.path}: {'' if each.is_done else 'left as it is: '}{each.told}" for _, each in items]
    shown = [{"link": local, "items": list(found)} for local, found in told]
    output.give(shown, text="\n".join(lines))
    if not all(each.is_done for _, each in items):
        raise typer.Exit(exit_codes.CHANGED)
