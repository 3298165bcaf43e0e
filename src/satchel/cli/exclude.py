"""`satchel exclude add|remove|list`: selective sync. Invariant: neither direction deletes anything on the server.

The daemon notes the word durably before it answers; what follows goes on by itself, also after a crash.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from satchel.cli import daemon, output, session
from satchel.core.errors import Fault
from satchel.core.paths import join_path, split_path
from satchel.device.control import Request
from satchel.device.links import Link
from satchel.device.status import Excluded

exclude = typer.Typer(help="Leave files and folders out on this device (selective sync).", invoke_without_command=True)

_STATE_TEXT = {
    "leaving": "leaving: what is not uploaded goes up first",
    "out": "left out",
    "returning": "coming back",
    "deleted": "left out, and deleted on the server",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(exclude, name="exclude")


@exclude.callback()
def _exclude(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_excluded()


@exclude.command()
def add(paths: Annotated[list[str], typer.Argument(help="Files or folders, here or on the server.")]) -> None:
    """Leave these out on this device. Nothing is deleted on the server or on other devices.

    What is not uploaded yet is uploaded first; then the local files go to the local trash.
    """
    told = [_tell("exclude", link, names) for link, names in _by_link(paths)]
    _show(told)


@exclude.command()
def remove(paths: Annotated[list[str], typer.Argument(help="What was left out.")]) -> None:
    """Bring these back to this device."""
    told = [_tell("include", link, names) for link, names in _by_link(paths)]
    _show(told)


@exclude.command("list")
def list_excluded(path: Annotated[str, typer.Argument(help="A linked folder; all when left out.")] = "") -> None:
    """List what this device leaves out."""
    links = session.links_in(session.link_of(path).local if path else "")
    told = [_tell("excluded", link, ()) for link in links]
    _show(told)


def _by_link(paths: Sequence[str]) -> list[tuple[Link, list[str]]]:
    """Return the paths relative to their linked folders. Raises: NotLinked, Fault for a linked folder itself."""
    found: dict[str, tuple[Link, list[str]]] = {}
    for path in paths:
        link, names = session.in_link(path)
        if not names:
            raise Fault(f"{path} is a linked folder; 'satchel unlink' ends the link and keeps the files.")
        found.setdefault(link.local, (link, []))[1].append("/".join(names))
    return list(found.values())


def _tell(what: str, link: Link, paths: Sequence[str]) -> tuple[Link, list[Excluded]]:
    daemon.ensure_daemon()
    request = Request(what, link.local, paths=tuple(paths))
    told = session.control().ask(request, list[tuple[str, list[Excluded]]])
    return link, told[0][1]


def _show(told: Sequence[tuple[Link, list[Excluded]]]) -> None:
    shown = [
        {
            "local": os.path.join(link.local, each.path),
            "remote": join_path((*split_path(link.remote), *split_path(each.path))),
            "state": each.state,
            "kind": each.kind,
        }
        for link, items in told
        for each in items
    ]
    rows = [(str(one["local"]), _STATE_TEXT[str(one["state"])]) for one in shown]
    output.give(shown, text=lambda: output.table(("PATH", "STATE"), rows) or "Nothing is left out.")
