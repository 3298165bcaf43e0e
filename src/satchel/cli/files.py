"""`satchel ls|cat|mv|rm|mkdir`: files on the server, without the daemon. Invariant: what is removed is in the trash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import output, session
from satchel.core.errors import AlreadyExists, Fault, NotFound
from satchel.core.paths import join_path, split_path

if TYPE_CHECKING:
    from satchel.device.api import Api, Item

_LETTERS = {"folder": "d", "symlink": "l", "file": "-", "mount": "m"}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (ls, cat, mv, rm, mkdir):
        app.command()(command)


def ls(
    path: Annotated[str, typer.Argument(help="A remote path, or a path in a linked folder.")] = "/",
    long: Annotated[bool, typer.Option("-l", "--long", help="Sizes, times and kinds too.")] = False,
) -> None:
    """List a folder on the server."""
    found = session.run(_listed(session.remote_path(path)))
    output.give(found, text=lambda: _long_text(found) if long else "\n".join(_shown_name(item) for item in found))


async def _listed(path: str) -> list[Item]:
    async with session.api() as api:
        if path != "/":
            one = await api.entry(path)
            if not one.is_folder:
                return [one]
        return [item async for item in api.list_folder(path)]


def _long_text(items: Sequence[Item]) -> str:
    rows = [
        (
            _LETTERS.get(item.kind, "?") + ("x" if item.is_executable else "-"),
            output.size_text(item.size) if item.kind == "file" else "",
            output.time_text(item.mtime_ns // 1_000_000) if item.mtime_ns else "",
            _shown_name(item) + (f" -> {item.target}" if item.kind == "symlink" else ""),
        )
        for item in items
    ]
    return output.table(("", "SIZE", "CHANGED", "NAME"), rows, right=(1,))


def _shown_name(item: Item) -> str:
    return item.name + ("/" if item.is_folder else "")


def cat(
    path: Annotated[str, typer.Argument(help="A remote path, or a path in a linked folder.")],
    rev: Annotated[int, typer.Option("--rev", help="An earlier version, as 'satchel versions' names it.")] = 0,
) -> None:
    """Write a file's bytes to stdout."""
    import sys

    async def copy() -> None:
        async with session.api() as api:
            await api.download(session.remote_path(path), sys.stdout.buffer, rev=rev)

    session.run(copy())
    sys.stdout.flush()


def mv(source: str, target: str) -> None:
    """Move or rename a file or folder on the server. Into TARGET when that is a folder."""
    moved = session.run(_move(session.remote_path(source), session.remote_path(target)))
    output.give(moved, text="")


async def _move(source: str, target: str) -> Item:
    async with session.api() as api:
        return await api.move(source, await inside(api, target, split_path(source)[-1]))


async def inside(api: Api, target: str, name: str) -> str:
    """Return the path to write to: `target` itself, or `name` in it when it is a folder."""
    if target != "/":
        try:
            if not (await api.entry(target)).is_folder:
                return target
        except NotFound:
            return target
    return join_path((*split_path(target), name))


def rm(
    paths: Annotated[list[str], typer.Argument(help="Remote paths, or paths in a linked folder.")],
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Folders too, with all in them.")] = False,
) -> None:
    """Move files to the trash, from where 'satchel trash restore' brings them back."""
    session.run(_remove([session.remote_path(path) for path in paths], recursive))


async def _remove(paths: Sequence[str], recursive: bool) -> None:
    async with session.api() as api:
        for path in paths:
            kind = (await api.entry(path)).kind
            if kind == "mount":
                raise Fault(f"{path} is a shared folder; 'satchel share leave' ends your part in it.")
            if not recursive and kind == "folder":
                raise Fault(f"{path} is a folder; say -r to move it to the trash with all in it.")
            await api.delete(path)
            output.say(f"{path} is in the trash.")


def mkdir(
    path: str,
    parents: Annotated[bool, typer.Option("-p", "--parents", help="Its parents too; no error if it exists.")] = False,
) -> None:
    """Make a folder on the server."""
    session.run(_make(session.remote_path(path), parents))


async def _make(path: str, parents: bool) -> None:
    async with session.api() as api:
        names = split_path(path)
        for depth in range(1 if parents else len(names), len(names) + 1):
            try:
                await api.make_folder(join_path(names[:depth]))
            except AlreadyExists:
                if not parents or not (await api.entry(join_path(names[:depth]))).is_folder:
                    raise
