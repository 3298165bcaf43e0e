"""`satchel versions|restore|trash`. Invariant: restoring adds a state; no earlier one is lost by it."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import output, session
from satchel.core.errors import Fault, NotFound

if TYPE_CHECKING:
    from satchel.device.api import Api, Item, Trashed, Version

trash = typer.Typer(help="Show what was deleted, and bring it back.", invoke_without_command=True)

_AGO = re.compile(r"(\d+)\s*([smhdw])(?:\s+ago)?\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(versions)
    app.command()(restore)
    app.add_typer(trash, name="trash")


def versions(path: Annotated[str, typer.Argument(help="A remote path, or a path in a linked folder.")]) -> None:
    """List the committed states of a file, the newest first."""
    found = session.run(_versions(session.remote_path(path)))
    rows = [
        (str(one.rev), output.time_text(one.created_ms), output.size_text(one.size), one.device or one.author)
        for one in found
    ]
    output.give(found, text=lambda: output.table(("REV", "STORED", "SIZE", "BY"), rows, right=(0, 2)))


def restore(
    path: Annotated[str, typer.Argument(help="A remote path, or a path in a linked folder.")],
    rev: Annotated[int, typer.Option("--rev", help="The version, as 'satchel versions' names it.")] = 0,
    at: Annotated[str, typer.Option("--at", help="The state then: 2026-11-22 14:30, or 2h, 3d ago.")] = "",
) -> None:
    """Bring back an earlier version of a file, or a deleted file or folder.

    Without --rev and --at: brings back what was deleted at that path last.
    """
    if rev and at:
        raise Fault("Say --rev or --at, not both.")
    item = session.run(_restore(session.remote_path(path), rev, parse_time_ms(at) if at else 0))
    output.give(item, text="" if output.mode.quiet else f"{item.name} is back.")


async def _versions(path: str) -> list[Version]:
    async with session.api() as api:
        return (await api.versions(path)).versions


async def _restore(path: str, rev: int, at_ms: int) -> Item:
    async with session.api() as api:
        if not rev and not at_ms:
            return await _restore_deleted(api, path)
        if at_ms:
            rev = version_at((await api.versions(path)).versions, at_ms).rev
        return await api.restore(rev, path)


async def _restore_deleted(api: Api, path: str) -> Item:
    async for item in api.list_trash():
        if item.path == path:
            return await api.restore_trashed(item.id)
    try:
        await api.entry(path)
    except NotFound:
        raise NotFound(f"Nothing was deleted at {path}; see 'satchel trash list'.", path=path) from None
    raise Fault(f"{path} is not deleted; say which version: --rev (see 'satchel versions {path}') or --at TIME.")


def version_at(found: Sequence[Version], at_ms: int) -> Version:
    """Return the version that was the newest at that time. Raises: NotFound."""
    for one in found:
        if one.created_ms <= at_ms:
            return one
    raise NotFound(f"There was no version yet at {output.time_text(at_ms)}.", at_ms=at_ms)


def parse_time_ms(text: str, now_s: float | None = None) -> int:
    """Return Unix ms of `2026-11-22 14:30` (local, or with a zone) or of `2h` ago. Raises: Fault."""
    ago = _AGO.match(text.strip().lower())
    if ago is not None:
        now = time.time() if now_s is None else now_s
        return int((now - int(ago[1]) * _SECONDS[ago[2]]) * 1000)
    try:
        return int(datetime.datetime.fromisoformat(text.strip()).astimezone().timestamp() * 1000)
    except ValueError:
        raise Fault(f"{text} is no time; write 2026-11-22, 2026-11-22 14:30, or 2h, 3d (ago).") from None


@trash.callback()
def _trash(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_trash()


@trash.command("list")
def list_trash() -> None:
    """Show what was deleted, the newest first."""
    found = session.run(_trashed())
    rows = [
        (
            output.time_text(item.deleted_ms),
            item.kind,
            output.size_text(item.size) if item.size else "",
            item.path,
            item.id,
        )
        for item in found
    ]
    output.give(
        found, text=lambda: output.table(("DELETED", "KIND", "SIZE", "PATH", "ID"), rows) or "The trash is empty."
    )


@trash.command("restore")
def restore_trash(
    what: Annotated[str, typer.Argument(help="A path as it was, or an id of 'satchel trash list'.")],
) -> None:
    """Bring back a deleted file or folder with all that went with it."""
    item = session.run(_restore_trash(what))
    output.give(item, text="" if output.mode.quiet else f"{item.name} is back.")


async def _trashed() -> list[Trashed]:
    async with session.api() as api:
        return [item async for item in api.list_trash()]


async def _restore_trash(what: str) -> Item:
    async with session.api() as api:
        async for item in api.list_trash():
            if what in (item.id, item.path):
                return await api.restore_trashed(item.id)
    raise NotFound(f"Nothing in the trash is called {what}.", path=what)
