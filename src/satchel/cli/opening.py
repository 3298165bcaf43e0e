"""`satchel open`: the daemon's page in the browser. Invariant: the address with its code is in no list of processes.

The browser is given a private file that leads to the page; the arguments of a program can be read by everybody.
"""

from __future__ import annotations

import html
import os
import webbrowser
from typing import Annotated

import typer

from satchel.cli import daemon, output, session
from satchel.device.control import Request

FILE_NAME = "open.html"
_LEADING = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={url}"><title>Satchel</title>'
    '<p><a href="{url}">Satchel on this device</a></p>\n'
)


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("open")(open_page)


def open_page(
    show: Annotated[
        bool, typer.Option("--print", help="Print the address instead; it is good once, for 3 minutes.")
    ] = False,
) -> None:
    """Show in the browser what this device does: transfers, what waits and why, conflicts, limits."""
    from satchel.device.local_page import PageOpened

    daemon.ensure_daemon()
    url = session.control().ask(Request("page"), PageOpened).url
    if not show and _opened(url):
        output.give({"opened": True}, text="" if output.mode.quiet else "The page opens in your browser.")
        return
    output.give({"opened": False, "url": url}, text=url)


def _opened(url: str) -> bool:
    path = session.home() / FILE_NAME
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        os.fchmod(handle, 0o600)
        file.write(_LEADING.format(url=html.escape(url, quote=True)))
    try:
        return webbrowser.open(path.as_uri())
    except webbrowser.Error:
        return False
