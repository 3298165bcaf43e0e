"""`satchel link|unlink`. Invariant: linking never deletes and unlinking never removes a file; both say what they do.

A new link merges both sides: what is only here goes up, what is only there comes down, what differs under one name is
kept twice. A person is shown that first; with --yes nobody reads it, and neither side is read for it. The list of links
is changed first, then the daemon is told to read it again.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import daemon, output, session, sync
from satchel.core.errors import AlreadyExists, DaemonNotRunning, Fault, FileUnreadable, NotFound, NotLinked
from satchel.core.ids import ID_BYTES, ROOT_NODE, LinkId, NamespaceId, NodeId
from satchel.core.paths import join_path, split_path
from satchel.device.control import Request
from satchel.device.links import Link, check_overlap, is_within
from satchel.device.status import DaemonStatus

if TYPE_CHECKING:
    from satchel.cli import preview
    from satchel.device.api import Api

FIRST_LOOK_S = 3.0


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(link)
    app.command()(unlink)


def link(
    local: Annotated[str, typer.Argument(help="Folder on this device; made when it does not exist.")],
    remote: Annotated[str, typer.Argument(help="Folder on the server; made when it does not exist.")] = "/",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    moved: Annotated[
        bool, typer.Option("--moved", help="The linked folder was restored or moved here: merge it again.")
    ] = False,
    xattrs: Annotated[
        bool, typer.Option("--xattrs", help="Sync extended attributes (user.*) of files and folders too.")
    ] = False,
) -> None:
    """Keep a folder of this device and one on the server the same. Nothing is deleted on either side by this."""
    real = real_folder(local)
    old = _moved_from(real) if moved else None
    remote_path = old.remote if old is not None else join_path(split_path(remote))
    has_xattrs = xattrs or (old is not None and old.has_xattrs)
    draft(real, remote_path, instead_of=old)
    foreseen = None
    if dry_run or not yes:
        foreseen = session.run(_foresee(real, remote_path))
    if foreseen is not None and dry_run:
        output.give(foreseen, text=foreseen.text())
        return
    output.say(foreseen.text() if foreseen is not None else f"{real}  <->  {remote_path}")
    if not (foreseen is None or foreseen.is_trivial or output.ask_yes("Link these folders?")):
        raise Fault("Not linked: nobody said yes. Use --yes where there is no terminal.")
    session.run(add_link(real, remote_path, instead_of=old, has_xattrs=has_xattrs))
    before = tell_daemon()
    if not output.mode.quiet:
        waited = sync.wait_in_sync(real, FIRST_LOOK_S, before)
        told = {"link": {"local": real, "remote": remote_path}, "foreseen": foreseen, "links": waited.links}
        is_going = any(link.state == "syncing" for link in waited.links)
        more = "\nSee how it goes with: satchel status --watch" if is_going else ""
        output.give(told, text=f"Linked. {waited.text()}{more}")


def draft(real: str, remote_path: str, *, instead_of: Link | None = None) -> Link:
    """Return the link of these folders, the remote one's id still to be found. Changes nothing.

    Raises: NotSignedIn, AlreadyExists when it overlaps another link than `instead_of`.
    """
    known = session.credentials()
    new = Link(LinkId(secrets.token_bytes(ID_BYTES)), real, remote_path, known.root_ns, "", known.device_name)
    check_overlap(new, tuple(one for one in session.links().links() if one != instead_of))
    return new


async def add_link(real: str, remote_path: str, *, instead_of: Link | None = None, has_xattrs: bool = False) -> Link:
    """Make both folders where needed and store the link. Raises: as `draft`; nothing was made then."""
    from satchel.device.disk import LocalDisk

    new = draft(real, remote_path, instead_of=instead_of)
    unit = ROOT_NODE
    if remote_path != "/":
        # Only then: what speaks HTTP takes longer to import than all the rest of this.
        async with session.api() as api:
            unit = await _made_unit(api, remote_path)
    os.makedirs(real, mode=0o700, exist_ok=True)
    new = replace(new, unit=unit.hex(), has_xattrs=has_xattrs)
    LocalDisk.initialise(os.fsencode(real))
    session.links().add(new, instead_of=instead_of.link_id if instead_of is not None else None)
    return new


def tell_daemon() -> DaemonStatus:
    """Start the daemon, or make it read the list of links again; return its status from before."""
    before = daemon.ensure_daemon()
    session.control().ask(Request("reload"), object)
    return before


def unlink(
    local: Annotated[str, typer.Argument(help="A linked folder.")],
    keep_files: Annotated[
        bool, typer.Option("--keep-files/", help="All files stay, here and on the server; it is always so.")
    ] = True,
) -> None:
    """Stop keeping a folder in sync. All files stay, on this device and on the server."""
    gone = session.links().remove(session.link_of(local).link_id)
    try:
        session.control().ask(Request("reload"), object)
    except DaemonNotRunning:
        pass  # It reads the list when it starts.
    told = {"local": gone.local, "remote": gone.remote, "files_kept": True}
    output.give(
        told,
        text=""
        if output.mode.quiet
        else f"{gone.local} is no longer linked. All its files stay, here and on the server.",
    )


def real_folder(local: str) -> str:
    """Return the folder's absolute path without symlinks. Raises: FileUnreadable when it cannot be a linked folder."""
    real = os.path.realpath(os.path.expanduser(local))
    try:
        real.encode()
    except UnicodeEncodeError as error:
        raise FileUnreadable("The folder's path is not UTF-8.", path=ascii(real), reason="encoding") from error
    if os.path.lexists(real) and not os.path.isdir(real):
        raise FileUnreadable(f"{real} is not a folder.", path=real, reason="not_a_folder")
    refuse_nested(real, str(session.home()), "SATCHEL_HOME")
    return real


def refuse_nested(real: str, other: str, what: str) -> None:
    """Accept a linked folder that neither holds nor lies in `other`. Raises: AlreadyExists."""
    if is_within(real, os.path.realpath(other)) or is_within(os.path.realpath(other), real):
        raise AlreadyExists(f"{real} and {what} ({other}) must not lie in one another.", what="link", name=other)


async def _foresee(real: str, remote_path: str) -> preview.Foreseen:
    from satchel.cli import preview
    from satchel.device.clock import MachineClock
    from satchel.device.remote import HttpRemote

    known = session.credentials()
    async with session.api() as api:
        unit = await _unit_of(api, remote_path)
    remote = HttpRemote(known.url, known.token, clock=MachineClock())
    try:
        there = (NamespaceId(bytes.fromhex(known.root_ns)), unit) if unit is not None else None
        return await preview.foresee(real, remote_path, remote, there)
    finally:
        await remote.close()


async def _unit_of(api: Api, path: str) -> NodeId | None:
    """Return the id of a remote folder, None when there is none yet.

    Raises: AlreadyExists for a file, and for a shared folder and what is in it, which the link around syncs.
    """
    if path == "/":
        return ROOT_NODE
    try:
        found = await api.entry(path)
    except NotFound:
        return None
    if found.kind == "mount" or found.namespace not in ("", session.credentials().root_ns):
        raise AlreadyExists(
            f"{path} is or stands in a shared folder, which is not linked by itself. Link a folder around it, as with"
            " 'satchel link DIR /': shared folders come along.",
            what="share",
            name=path,
        )
    if found.kind != "folder":
        raise AlreadyExists(f"{path} is a {found.kind} on the server.", what="remote", name=path)
    return NodeId(bytes.fromhex(found.id))


async def _made_unit(api: Api, path: str) -> NodeId:
    """Return the id of a remote folder, made with its parents where it is missing."""
    names = split_path(path)
    for depth in range(1, len(names)):
        if await _unit_of(api, join_path(names[:depth])) is None:
            await api.make_folder(join_path(names[:depth]))
    unit = await _unit_of(api, path)
    if unit is None:
        await api.make_folder(path)
        unit = await _unit_of(api, path)
    if unit is None:
        raise NotFound(f"{path} went away while it was being linked.", what="remote", name=path)
    return unit


def _moved_from(real: str) -> Link:
    """Return the link that a restored or moved folder had: the one at this path, else the one whose folder is gone.

    Raises: NotLinked.
    """
    known = session.links().links()
    same = [one for one in known if one.local == real]
    gone = [one for one in known if not os.path.isdir(one.local)]
    found = same or gone
    if len(found) != 1:
        raise NotLinked(
            f"Which link moved to {real}? {len(found)} linked folders are gone; unlink the old one and link anew.",
            path=real,
        )
    return found[0]
