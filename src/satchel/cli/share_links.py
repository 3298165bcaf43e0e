"""`satchel share link|request|links`. Invariant: the address of a link is printed once, where it is made."""

from __future__ import annotations

import datetime
import re
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from satchel.cli import output, session
from satchel.core.errors import Fault, NotFound

if TYPE_CHECKING:
    from satchel.api import Link

links = typer.Typer(help="Show your links and file requests, and end them.", invoke_without_command=True)

PATH_HELP = "A remote path, or a path in a linked folder."
TIME_HELP = "How long it opens: 12h, 7d, 4w, a time like 2026-12-24 18:00, or never."
ID_CHARS_SHOWN = 10
_LASTING = re.compile(r"(\d+)\s*([mhdw])\Z")
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PERMISSIONS = ("view", "edit", "upload")


def add_to(group: typer.Typer) -> None:
    """Add the commands of this file to the group `share`."""
    group.command("link")(link)
    group.command("request")(request)
    group.add_typer(links, name="links")


def link(
    path: Annotated[str, typer.Argument(help=PATH_HELP)],
    expires: Annotated[str, typer.Option("--expires", help=TIME_HELP)] = "30d",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Ask for the password on stdin.")] = False,
    max_downloads: Annotated[
        int | None, typer.Option("--max-downloads", min=1, help="So many downloads at most.")
    ] = None,
    permission: Annotated[str, typer.Option("--permission", help="view, edit or upload.")] = "view",
    no_download: Annotated[bool, typer.Option("--no-download", help="Only for looking, where a browser can.")] = False,
) -> None:
    """Make a link to a file or folder, for whoever has it, and print its address."""
    if permission not in _PERMISSIONS:
        raise Fault(f"{permission} is no permission; say view, edit or upload.")
    terms: dict[str, object] = {
        "path": session.remote_path(path),
        "permission": permission,
        "expires_ms": parse_end_ms(expires),
        "downloads_max": max_downloads,
        "is_no_download": no_download,
    }
    _make(terms, password_stdin=password_stdin)


def request(
    folder: Annotated[str, typer.Argument(help=PATH_HELP)],
    until: Annotated[str, typer.Option("--until", help=TIME_HELP)] = "30d",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Ask for the password on stdin.")] = False,
) -> None:
    """Make a file request: whoever has it sends files into a folder, and sees none."""
    terms: dict[str, object] = {
        "path": session.remote_path(folder),
        "permission": "upload",
        "expires_ms": parse_end_ms(until),
    }
    _make(terms, password_stdin=password_stdin)


@links.callback()
def _links(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_links()


@links.command("list")
def list_links() -> None:
    """Show your links and file requests that were not revoked."""
    found = session.run(_listed())
    rows = [
        (
            one.id[-ID_CHARS_SHOWN:],
            one.permission,
            "never" if one.expires_ms is None else output.time_text(one.expires_ms),
            f"{one.downloads}" if one.downloads_max is None else f"{one.downloads} of {one.downloads_max}",
            str(one.hits),
            "yes" if one.has_password else "",
            one.path or "(gone)",
        )
        for one in found
    ]
    head = ("ID", "LETS", "ENDS", "DOWNLOADS", "LOOKS", "PASSWORD", "PATH")
    output.give(found, text=lambda: output.table(head, rows, right=(3, 4)) or "You have no links.")


@links.command("revoke")
def revoke(
    what: Annotated[str, typer.Argument(help="The ID of 'satchel share links list', or the end of it.")],
) -> None:
    """End a link for ever, at once."""
    ended = session.run(_revoke(what))
    output.give(
        {"id": ended.id}, text="" if output.mode.quiet else f"The link to {ended.path or 'what is gone'} ended."
    )


def parse_end_ms(text: str, now_s: float | None = None) -> int | None:
    """Return the Unix ms at which something ends that lasts `7d`, or ends at a time; None for never. Raises: Fault."""
    told = text.strip().lower()
    if told == "never":
        return None
    lasting = _LASTING.match(told)
    if lasting is not None:
        now = time.time() if now_s is None else now_s
        return int((now + int(lasting[1]) * _SECONDS[lasting[2]]) * 1000)
    try:
        return int(datetime.datetime.fromisoformat(text.strip()).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Fault(f"{text} is no time; write 12h, 7d, 4w, 2026-12-24, 2026-12-24 18:00, or never.") from None


def _make(terms: dict[str, object], *, password_stdin: bool) -> None:
    if password_stdin:
        terms["password"] = output.read_password(from_stdin=True)
        if not terms["password"]:
            raise Fault("No password came on stdin.")
    made = session.run(_made(terms))
    address = made.url if "://" in made.url else f"{session.credentials().url.rstrip('/')}{made.url}"
    output.give(msgspec.structs.replace(made, url=address), text=address)
    if made.expires_ms is not None:
        output.note(f"It opens until {output.time_text(made.expires_ms)}. The address is not shown again.")


async def _made(terms: dict[str, object]) -> Link:
    async with session.api() as api:
        return await api.make_link(terms)


async def _listed() -> list[Link]:
    async with session.api() as api:
        return [one async for one in api.links()]


async def _revoke(what: str) -> Link:
    async with session.api() as api:
        found = [one async for one in api.links() if what and one.id.endswith(what.lower())]
        if len(found) > 1:
            raise Fault(f"{len(found)} links end in {what}; write more of the ID.")
        if not found:
            raise NotFound(f"You have no link {what}; see 'satchel share links list'.")
        await api.revoke_link(found[0].id)
        return found[0]
