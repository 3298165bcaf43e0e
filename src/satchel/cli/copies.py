"""`satchel cp|find|diff`: more of files on the server. Invariant: `cp` takes no name that is taken; the others
only read.
"""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import output, session
from satchel.cli.files import inside
from satchel.cli.search import found_by_server
from satchel.core.errors import Fault, NotFound
from satchel.core.paths import join_path, split_path

if TYPE_CHECKING:
    from satchel.device.api import Api, Item

FOUND_MAX = 10_000
DIFF_BYTES_MAX = 4 * 1024 * 1024


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(cp)
    app.command()(find)
    app.command()(diff)


def cp(
    source: Annotated[str, typer.Argument(help="A remote path, or a path in a linked folder.")],
    target: Annotated[str, typer.Argument(help="A folder there, or the new path; it must be free.")],
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="A folder, with all in it.")] = False,
) -> None:
    """Copy a file or folder on the server. The bytes pass through this machine, and are stored once."""
    made = session.run(_copy(session.remote_path(source), session.remote_path(target), recursive=recursive))
    output.give(made, text="" if output.mode.quiet else f"{len(made)} copied.")


async def _copy(source: str, target: str, *, recursive: bool) -> list[str]:
    async with session.api() as api:
        item = await api.entry(source)
        if item.is_folder and not recursive:
            raise Fault(f"{source} is a folder; say -r to copy it with all in it.")
        target = await inside(api, target, split_path(source)[-1])
        above, names = split_path(source), split_path(target)
        if names[: len(above)] == above:
            raise Fault(f"{target} is {source} itself or lies in it.")
        if not item.is_folder:
            return [await _copy_file(api, source, target, item)]
        await api.make_folder(target)
        made: list[str] = []
        async for path, each in _below(api, source):
            there = join_path((*names, *split_path(path)[len(above) :]))
            if each.is_folder:
                await api.make_folder(there)
            else:
                made.append(await _copy_file(api, path, there, each))
        return made


async def _copy_file(api: Api, source: str, target: str, item: Item) -> str:
    if item.kind != "file":
        raise Fault(f"{source} is a {item.kind}; only files and folders are copied.")
    with tempfile.TemporaryFile() as held, output.progress(item.name, 2 * item.size) as advance:
        got = await api.download(source, held, progress=advance)
        held.seek(0)
        await api.upload(target, held, size=got.size, mtime_ns=item.mtime_ns, is_new=True, progress=advance)
    return target


async def _below(api: Api, folder: str) -> AsyncIterator[tuple[str, Item]]:
    """Yield (path, item) of all below a folder, a folder before what it holds."""
    waiting = [folder]
    while waiting:
        at = waiting.pop()
        async for item in api.list_folder(at):
            path = join_path((*split_path(at), item.name))
            if item.is_folder:
                waiting.append(path)
            yield path, item


def find(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern such as '*.pdf'.")],
    path: Annotated[str, typer.Argument(help="A remote folder, or a path in a linked folder.")] = "/",
    limit: Annotated[int, typer.Option("--limit", min=1, max=FOUND_MAX, help="How many at most.")] = 1_000,
    server: Annotated[bool, typer.Option("--server", help="Ask the server's index: words, the best first.")] = False,
) -> None:
    """Find files and folders on the server by name; capitals do not count."""
    if server:
        found_by_server(pattern, session.remote_path(path), limit)
        return
    wanted = pattern.casefold()
    if not any(char in wanted for char in "*?["):
        wanted = f"*{wanted}*"
    found = session.run(_find(wanted, session.remote_path(path), limit))
    output.give(found, text="\n".join(found))
    if len(found) == limit:
        output.note(f"Only the first {limit} are shown: --limit")
    if not found:
        raise NotFound(f"Nothing below {path} is called {pattern}.", path=path)


async def _find(wanted: str, folder: str, limit: int) -> list[str]:
    found: list[str] = []
    async with session.api() as api:
        async for path, item in _below(api, folder):
            if fnmatch.fnmatchcase(item.name.casefold(), wanted):
                found.append(path)
                if len(found) == limit:
                    break
    return sorted(found)


def diff(
    path: Annotated[str, typer.Argument(help="A remote path, or a path in a linked folder.")],
    a: Annotated[int, typer.Argument(help="A version of 'satchel versions'; the one before B if left out.")] = 0,
    b: Annotated[int, typer.Argument(help="Another version; the newest if left out.")] = 0,
) -> None:
    """Show what changed between two versions of a text file, line by line."""
    lines = session.run(_diff(session.remote_path(path), a, b))
    output.give(lines, text="\n".join(lines) or "No difference.")


async def _diff(path: str, a: int, b: int) -> list[str]:
    import difflib

    async with session.api() as api:
        revs = [one.rev for one in (await api.versions(path)).versions]
        newer = b or revs[0]
        older = a or next((rev for rev in revs if rev < newer), 0)
        if not older:
            raise NotFound(f"{path} has no version before {newer}.", path=path)
        was, now = await _text(api, path, older), await _text(api, path, newer)
    lines = difflib.unified_diff(was, now, f"{path} rev {older}", f"{path} rev {newer}")
    return [line.rstrip("\n") for line in lines]


async def _text(api: Api, path: str, rev: int) -> list[str]:
    with tempfile.SpooledTemporaryFile(DIFF_BYTES_MAX) as held:
        got = await api.download(path, held, rev=rev)  # type: ignore[arg-type]  # a spooled file is one of bytes
        if got.size > DIFF_BYTES_MAX:
            raise Fault(f"{path} is too long to compare line by line ({output.size_text(got.size)}).")
        held.seek(0)
        raw = held.read()
    try:
        return raw.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        raise Fault(f"{path} is no text file (rev {rev}); get both: satchel get --rev") from None
