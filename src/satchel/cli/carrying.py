"""`satchel export|import`: all that an account has, out to a folder; and files from elsewhere in. Invariant: as of
`device/carrying`: nothing is overwritten unasked, each file counts by its hash, and a second call goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import exit_codes, output, session
from satchel.core.errors import Fault, FileUnreadable

if TYPE_CHECKING:
    from satchel.device.carrying.exporting import Exported
    from satchel.device.carrying.importing import Existing, Imported
    from satchel.device.carrying.sources import Source

WAYS = ("skip", "copy", "replace")
SHOWN_MAX = 20
WEB = ("http://", "https://")
RCLONE_PREFIX = "rclone:"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(export)
    app.command(name="import")(import_)


def export(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A new or empty folder, or one of an earlier export.")],
    versions: Annotated[bool, typer.Option("--versions", help="Every version of every file too.")] = False,
    portable: Annotated[bool, typer.Option("--portable", help="Only names that every common system can hold.")] = False,
) -> None:
    """Copy everything that you have here into a folder, with a list of it; called again, it goes on."""
    told = session.run(_export(Path(folder), with_versions=versions, is_portable=portable))
    output.give(told, text=lambda: _exported_text(told, folder))
    _end(told.not_taken_count)


async def _export(folder: Path, *, with_versions: bool, is_portable: bool) -> Exported:
    from satchel.device.carrying.attributes import attributes_of
    from satchel.device.carrying.exporting import export as take
    from satchel.device.clock import MachineClock
    from satchel.device.remote import HttpRemote

    known = session.credentials()
    remote = HttpRemote(known.url, known.token, clock=MachineClock())
    with _bar("Exporting") as shown:
        try:
            async with session.api() as api:
                return await take(
                    api,
                    folder,
                    now_ms=time.time_ns() // 1_000_000,
                    with_versions=with_versions,
                    is_portable=is_portable,
                    attributes=await attributes_of(remote),
                    links=[link async for link in api.links()],
                    shown=shown,
                )
        finally:
            await remote.close()


def import_(
    source: Annotated[str, typer.Argument(help="A folder, an export, https://USER@HOST/PATH, or rclone:REMOTE:PATH.")],
    to: Annotated[str, typer.Option("--to", help="The remote folder that it goes into; it may be new.")] = "/",
    existing: Annotated[str, typer.Option("--existing", help="Files that differ: skip, copy or replace.")] = "copy",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would come, and send nothing.")] = False,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="The WebDAV password, a line.")] = False,
) -> None:
    """Copy files from a folder, an export, a WebDAV server or an rclone remote to the server. Nothing there is lost:
    a file that differs stays, beside a copy or as an earlier version; called again, it goes on."""
    if existing not in WAYS:
        raise Fault(f"--existing is one of {', '.join(WAYS)}.")
    password = ""
    if source.startswith(WEB) and "@" in source:
        password = output.read_password(from_stdin=password_stdin, prompt="WebDAV password: ")
    way: Existing = existing  # type: ignore[assignment]  # it is one of them
    told = session.run(_import(source, session.remote_path(to), way, password, is_dry=dry_run))
    output.give(told, text=lambda: _imported_text(told))
    _end(told.not_taken_count)


async def _import(source: str, target: str, existing: Existing, password: str, *, is_dry: bool) -> Imported:
    from satchel.device.carrying.importing import Importer
    from satchel.device.clock import MachineClock
    from satchel.device.remote import HttpRemote

    known, clock = session.credentials(), MachineClock()
    with _bar("Importing") as shown:
        remote = HttpRemote(known.url, known.token, clock=clock)
        try:
            async with session.api() as api, _source(source, password) as found:
                importer = Importer(api, remote, clock, existing=existing, is_dry=is_dry, shown=shown)
                return await importer.run(found, target)
        finally:
            await remote.close()


@contextlib.asynccontextmanager
async def _source(source: str, password: str) -> AsyncIterator[Source]:
    """Give what a person named. Raises: as `_folder`, SettingInvalid, MessageInvalid."""
    if source.startswith(WEB):
        from satchel.device.carrying.webdav import WebDavSource

        async with WebDavSource(source, password=password) as dav:
            yield dav
        return
    if source.startswith(RCLONE_PREFIX):
        from satchel.device.carrying.rclone import RcloneSource

        async with RcloneSource(source.removeprefix(RCLONE_PREFIX)) as remote:
            yield remote
        return
    yield _folder(source)


def _folder(source: str) -> Source:
    """Return a folder of this machine, or the export that it is. Raises: FileUnreadable."""
    from satchel.device.carrying.manifest import is_export
    from satchel.device.carrying.sources import ExportSource, FolderSource

    top = Path(source).expanduser()
    if not top.is_dir():
        raise FileUnreadable(f"{source} is no folder here.", path=source, reason="not a folder")
    return ExportSource(top) if is_export(top) else FolderSource(top)


@contextlib.contextmanager
def _bar(word: str) -> Iterator[Callable[[str, int], None]]:
    """Give what is told of each file and its bytes, and shows it as the live line."""
    done, files, last = 0, 0, ""
    with output.live_bar() as show:

        def shown(path: str, more: int) -> None:
            nonlocal done, files, last
            done += more
            files += path != last
            last = path
            show(word, None, f"{files:,} files, {output.size_text(max(0, done))}: {path}")

        yield shown


def _exported_text(told: Exported, folder: str) -> str:
    if output.mode.quiet:
        return ""
    lines = [
        f"{told.files:,} files and {told.folders:,} folders are in {folder} ({output.size_text(told.bytes)}):"
        f" {told.kept:,} were there, {output.size_text(told.fetched_bytes)} came now."
    ]
    if told.versions:
        lines.append(f"{told.versions:,} versions are listed in its manifest.")
    if told.links:
        lines.append(f"The terms of {told.links:,} links are in {folder}/links.jsonl.")
    if told.attributes_refused:
        lines.append(
            f"This disk did not take the extended attributes of {told.attributes_refused:,} files and folders; the"
            " manifest has them."
        )
    lines += _listed("has another name there", [f"{path}: {name}" for path, name in told.renamed], len(told.renamed))
    if told.set_aside:
        lines.append(f"{told.set_aside:,} things that stood in the way are in {folder}/replaced.")
    return "\n".join(lines + _not_taken(told.not_taken, told.not_taken_count))


def _imported_text(told: Imported) -> str:
    if output.mode.quiet:
        return ""
    word = "would come" if told.is_dry else "came"
    lines = [
        f"{told.files:,} files ({output.size_text(told.bytes)}), {told.folders:,} folders and {told.symlinks:,}"
        f" symlinks {word}; {told.same:,} were there already."
    ]
    if not told.is_dry:
        lines.append(f"{output.size_text(told.sent_bytes)} had to be sent; the rest was on the server.")
    if told.versions:
        lines.append(f"{told.versions:,} earlier versions {word} along.")
    if told.replaced:
        lines.append(f"{told.replaced:,} got new content; what they held is an earlier version.")
    lines += _listed("stands beside what was there", [f"{one}: {name}" for one, name in told.copied], len(told.copied))
    lines += _listed("was left as it is there", told.skipped, told.skipped_count)
    return "\n".join(lines + _not_taken(told.not_taken, told.not_taken_count))


def _not_taken(found: list[tuple[str, str]], count: int) -> list[str]:
    return _listed("could not be taken", [f"{path}: {reason}" for path, reason in found], count)


def _listed(what: str, lines: list[str], count: int) -> list[str]:
    if not count:
        return []
    shown = [f"  {line}" for line in lines[:SHOWN_MAX]]
    more = [f"  ... and {count - len(shown):,} more: --json"] if count > len(shown) else []
    return [f"{count:,} {what}:", *shown, *more]


def _end(not_taken: int) -> None:
    """End with a code of its own when something is missing, so that no script takes it for all."""
    if not_taken:
        raise typer.Exit(exit_codes.ATTENTION)
