"""`satchel put|get`: copies between this machine and the server, without the daemon. Invariant: what `get` writes is
whole and verified before it gets its name, and nothing is overwritten unless that was asked for or can be undone.

`put` over an existing file makes a new version of it, and goes on with a long one where it was broken off; `get` over
an existing file needs --force.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from satchel.cli import output, session
from satchel.cli.files import inside
from satchel.core.errors import AlreadyExists, Fault, NotFound, Unavailable
from satchel.core.paths import join_path, split_path, validate_name

if TYPE_CHECKING:
    from satchel.api import Client
    from satchel.device.api import Api, Item


@dataclass(frozen=True, slots=True)
class _Upload:
    source: str
    target: str
    is_folder: bool
    size: int


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(put)
    app.command()(get)


def put(
    paths: Annotated[list[str], typer.Argument(metavar="SOURCE... TARGET", help="Local files, then a remote path.")],
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Folders too, with all in them.")] = False,
) -> None:
    """Copy files to the server. TARGET is a folder there, or the new name of one file."""
    if len(paths) < 2:
        raise Fault("Say what to copy and where to: satchel put SOURCE... TARGET")
    sources, target = paths[:-1], paths[-1]
    for source in sources:
        if os.path.isdir(source) and not recursive:
            raise Fault(f"{source} is a folder; say -r to copy it with all in it.")
    stored = session.run(
        _put(sources, session.remote_path(target), must_be_folder=len(sources) > 1 or target[-1:] == "/")
    )
    output.give(stored, text="" if output.mode.quiet else f"{len(stored)} stored.")


async def _put(sources: Sequence[str], target: str, *, must_be_folder: bool) -> list[str]:
    async with session.api() as api:
        if must_be_folder and target != "/" and not (await api.entry(target)).is_folder:
            raise AlreadyExists(f"{target} is a file on the server.", what="path", name=target)
        uploads: list[_Upload] = []
        for source in sources:
            uploads += _uploads(source, await inside(api, target, _last_name(source)))
        with output.progress("Copying", sum(upload.size for upload in uploads)) as advance:
            for upload in uploads:
                if upload.is_folder:
                    await _ensure_folder(api, upload.target)
                else:
                    await _put_file(api, upload, advance)
        return [upload.target for upload in uploads]


async def _put_file(api: Client, upload: _Upload, advance: Callable[[int], None]) -> None:
    from satchel.api.uploads import PART_BYTES

    with _opened(upload.source) as file:
        found = os.fstat(file.fileno())
        if found.st_size > PART_BYTES:
            await _put_in_parts(api, upload, file, found, advance)
        else:
            await api.upload(upload.target, file, size=found.st_size, mtime_ns=found.st_mtime_ns, progress=advance)


async def _put_in_parts(
    api: Client, upload: _Upload, file: BinaryIO, found: os.stat_result, advance: Callable[[int], None]
) -> None:
    """Send a long file over any breaks, also over the end of this program: what was begun is noted until it is done."""
    note = session.begun_upload(upload.target, upload.source, found.st_size, found.st_mtime_ns)
    upload_id = note.read()
    try:
        if upload_id and not (await api.upload_of(upload_id)).is_finished:
            output.note(f"{upload.source}: going on where it was broken off.")
        else:
            upload_id = ""
    except NotFound:
        upload_id = ""
    try:
        await api.upload_in_parts(
            upload.target,
            file,
            size=found.st_size,
            mtime_ns=found.st_mtime_ns,
            upload_id=upload_id,
            begun=note.write,
            progress=advance,
        )
    except Unavailable:
        raise
    except Fault:
        # What can never be finished is not gone on with: changed bytes, a folder that is gone.
        note.forget()
        raise
    note.forget()


def _opened(path: str) -> BinaryIO:
    return open(path, "rb")


def _last_name(path: str) -> str:
    return os.path.basename(os.path.abspath(path))


async def _ensure_folder(api: Api, path: str) -> None:
    try:
        await api.make_folder(path)
    except AlreadyExists:
        if not (await api.entry(path)).is_folder:
            raise


def _uploads(source: str, target: str) -> Iterator[_Upload]:
    """Yield what to copy, a folder before what it holds; what is neither file nor folder is left out and told."""
    if os.path.isdir(source) and not os.path.islink(source):
        yield _Upload(source, target, True, 0)
        for name in sorted(os.listdir(source)):
            yield from _uploads(os.path.join(source, name), join_path((*split_path(target), name)))
    elif os.path.isfile(source):
        yield _Upload(source, target, False, os.path.getsize(source))
    elif not os.path.lexists(source):
        raise FileNotFoundError(2, os.strerror(2), source)
    else:
        output.note(f"{source} is no file; left out.")


def get(
    path: Annotated[str, typer.Argument(help="A remote path.")],
    local: Annotated[str, typer.Argument(help="A local folder, or the new name of the file.")] = ".",
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="A folder, with all in it.")] = False,
    rev: Annotated[int, typer.Option("--rev", help="An earlier version, as 'satchel versions' names it.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace local files that are in the way.")] = False,
) -> None:
    """Copy a file or folder from the server."""
    remote = session.remote_path(path)
    written = session.run(_get(remote, local, recursive=recursive, rev=rev, force=force))
    output.give(written, text="" if output.mode.quiet else f"{len(written)} written.")


async def _get(remote: str, local: str, *, recursive: bool, rev: int, force: bool) -> list[str]:
    async with session.api() as api:
        item = await api.entry(remote) if remote != "/" else None
        target = _target(local, item.name if item is not None else "satchel")
        if item is not None and not item.is_folder:
            await fetch(api, remote, target, item, rev=rev, force=force)
            return [target]
        if not recursive:
            raise Fault(f"{remote} is a folder; say -r to copy it with all in it.")
        return await _get_folder(api, remote, target, force=force)


def _target(local: str, name: str) -> str:
    return os.path.join(local, name) if os.path.isdir(local) else local


async def _get_folder(api: Api, remote: str, target: str, *, force: bool) -> list[str]:
    written, waiting = [], [(remote, target)]
    while waiting:
        folder, here = waiting.pop()
        os.makedirs(here, exist_ok=True)
        async for item in api.list_folder(folder):
            # The server is not trusted with names: one that is a path must not lead out of `here`.
            validate_name(item.name)
            there, path = join_path((*split_path(folder), item.name)), os.path.join(here, item.name)
            if item.is_folder:
                waiting.append((there, path))
            else:
                await fetch(api, there, path, item, rev=0, force=force)
                written.append(path)
    return written


async def fetch(api: Api, remote: str, path: str, item: Item, *, rev: int, force: bool) -> None:
    """Write one file or symlink whole, verified and durable, and only then under its name. Raises: AlreadyExists."""
    beside = Path(path).with_name(f".satchel-{secrets.token_hex(6)}.part")
    _refuse_taken(path, force=force)
    try:
        if item.kind == "symlink":
            beside.symlink_to(item.target)
        else:
            with _made(beside) as file, output.progress(item.name, item.size) as advance:
                await api.download(remote, file, rev=rev, progress=advance)
                _finish(file, item)
        _name(beside, path, force=force)
    finally:
        beside.unlink(missing_ok=True)


def _made(path: Path) -> BinaryIO:
    return open(path, "x+b")


def _refuse_taken(path: str, *, force: bool) -> None:
    if not force and os.path.lexists(path):
        raise _in_the_way(path)


def _finish(file: BinaryIO, item: Item) -> None:
    """Make the written file as the server's, and durable."""
    file.flush()
    if item.is_executable:
        os.fchmod(file.fileno(), os.fstat(file.fileno()).st_mode | 0o111)
    os.utime(file.fileno(), ns=(item.mtime_ns, item.mtime_ns))
    os.fsync(file.fileno())


def _name(beside: Path, path: str, *, force: bool) -> None:
    """Give the finished file its name; without `force` never over another. Raises: AlreadyExists."""
    if force:
        os.replace(beside, path)
        return
    try:
        # A link is refused where the name is taken, which a rename is not.
        os.link(beside, path, follow_symlinks=False)
    except FileExistsError as error:
        raise _in_the_way(path) from error


def _in_the_way(path: str) -> AlreadyExists:
    return AlreadyExists(f"{path} exists; say --force to replace it.", what="file", name=path)
