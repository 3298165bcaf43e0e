"""`satchel versions|restore|trash`. Invariant: restoring adds a state, and loses no earlier one; what is lost is what
somebody removes for good, and that is asked before."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import output, session
from satchel.cli.times import parse_time_ms
from satchel.core.errors import Fault, NotFound

if TYPE_CHECKING:
    from satchel.device.api import Api, Item, Trashed, Version

trash = typer.Typer(help="Show what was deleted, bring it back, or remove it for good.", invoke_without_command=True)


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
    as_copy: Annotated[bool, typer.Option("--as-copy", help="As a new file beside it, which stays as it is.")] = False,
    copy_to: Annotated[str, typer.Option("--copy-to", help="As a new file at this path, which must be free.")] = "",
) -> None:
    """Bring back an earlier version of a file, or a deleted file or folder.

    Without --rev and --at: brings back what was deleted at that path last.
    """
    if rev and at:
        raise Fault("Say --rev or --at, not both.")
    if (as_copy or copy_to) and not (rev or at):
        raise Fault("Say which version is to be copied: --rev or --at.")
    target = session.remote_path(copy_to) if copy_to else ""
    at_ms = parse_time_ms(at) if at else 0
    item = session.run(_restore(session.remote_path(path), rev, at_ms, as_copy=as_copy, target=target))
    told = f"{item.name} is made." if as_copy or copy_to else f"{item.name} is back."
    output.give(item, text="" if output.mode.quiet else told)


async def _versions(path: str) -> list[Version]:
    async with session.api() as api:
        return (await api.versions(path)).versions


async def _restore(path: str, rev: int, at_ms: int, *, as_copy: bool, target: str) -> Item:
    async with session.api() as api:
        if not rev and not at_ms:
            return await _restore_deleted(api, path)
        if at_ms:
            rev = version_at((await api.versions(path)).versions, at_ms).rev
        return await api.restore(rev, path, as_copy=as_copy, target=target)


async def _restore_deleted(api: Api, path: str) -> Item:
    async for item in api.list_trash(await _shared_around(api, path)):
        if item.path == path:
            return await api.restore_trashed(item.id, namespace=item.namespace)
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


@trash.callback()
def _trash(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_trash()


_In = Annotated[str, typer.Option("--in", help="The trash of the shared folder at this path.")]


@trash.command("list")
def list_trash(shared: _In = "") -> None:
    """Show what was deleted, the newest first. Each shared folder has a trash of its own: --in PATH."""
    found = session.run(_trashed(_in(shared)))
    others = [] if shared or output.mode.json or output.mode.quiet else session.run(_shared_folders())
    rows = [
        (
            output.time_text(item.deleted_ms),
            item.kind,
            output.size_text(item.size) if item.size else "",
            item.device or item.deleted_by,
            output.time_text(item.purge_ms).split(" ")[0],
            item.path,
            item.id,
        )
        for item in found
    ]
    head = ("DELETED", "KIND", "SIZE", "BY", "GONE", "PATH", "ID")
    output.give(found, text=lambda: output.table(head, rows) or "The trash is empty.")
    if others:
        output.note(f"Each shared folder has a trash of its own: 'satchel trash list --in {shlex.quote(others[0])}'.")


@trash.command("restore")
def restore_trash(
    what: Annotated[str, typer.Argument(help="A path as it was, or an id of 'satchel trash list'.")],
    to: Annotated[str, typer.Option("--to", help="The path it gets, which must be free; else where it was.")] = "",
    shared: _In = "",
) -> None:
    """Bring back a deleted file or folder with all that went with it."""
    item = session.run(_restore_trash(what, session.remote_path(to) if to else "", _in(shared)))
    output.give(item, text="" if output.mode.quiet else f"{item.name} is back.")


@trash.command("empty")
def empty(
    what: Annotated[list[str] | None, typer.Argument(help="Paths as they were, or ids; none: all of it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    shared: _In = "",
) -> None:
    """Remove deleted files and folders for good, with all their versions. Nothing brings them back.

    From the trash of a shared folder only its owner can.
    """
    found = session.run(_trashed(_in(shared), is_ending=True))
    if what:
        found = [_named_in(found, one) for one in dict.fromkeys(what)]
    if not found:
        output.give({"removed": 0}, text="" if output.mode.quiet else "The trash is empty.")
        return
    if not yes and not output.ask_yes(f"Remove {_things(found)} for good? Nothing brings them back."):
        raise Fault("Nothing was removed: say --yes, or answer y on a terminal.")
    seen_ms = max(one.deleted_ms for one in found)
    removed = session.run(_empty([one.id for one in found] if what else [], seen_ms + 1, found[0].namespace))
    text = f"{removed:,} gone for good. Their space is free after the server's next upkeep."
    output.give({"removed": removed}, text="" if output.mode.quiet else text)


def _things(found: list[Trashed]) -> str:
    return f"'{found[0].path}'" if len(found) == 1 else f"{len(found):,} deleted files and folders"


def _named_in(found: list[Trashed], what: str) -> Trashed:
    for item in found:
        if what in (item.id, item.path):
            return item
    raise _not_there(what)


def _not_there(what: str) -> NotFound:
    return NotFound(f"Nothing in the trash is called {what}.", path=what)


def _in(shared: str) -> str:
    return session.remote_path(shared) if shared else ""


async def _shared_around(api: Api, path: str) -> str:
    from satchel.device.api_shared import shared_around

    return await shared_around(api, path)


async def _shared_folders() -> list[str]:
    from satchel.device.api_shared import shared_folders

    async with session.api() as api:
        return [one.path async for one in shared_folders(api)]


async def _empty(ids: list[str], before_ms: int, namespace: str) -> int:
    from satchel.device.api_history import empty_trash

    async with session.api() as api:
        return await empty_trash(api, ids, before_ms=before_ms, namespace=namespace)


async def _trashed(folder: str, *, is_ending: bool = False) -> list[Trashed]:
    from satchel.device.api_shared import shared_at

    async with session.api() as api:
        if folder and (await shared_at(api, folder)).role != "owner" and is_ending:
            raise Fault(f"Only the owner of {folder} removes for good what was deleted in it.")
        return [item async for item in api.list_trash(folder)]


async def _restore_trash(what: str, target: str, folder: str) -> Item:
    async with session.api() as api:
        async for item in api.list_trash(folder or await _shared_around(api, what)):
            if what in (item.id, item.path):
                return await api.restore_trashed(item.id, target=target, namespace=item.namespace)
    raise _not_there(what)
