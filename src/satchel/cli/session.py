"""What commands share: this SATCHEL_HOME, its sign-in, its daemon, and what a person means by a path.

Invariant: the only file of the command line that knows where the device keeps things.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from satchel.core.paths import join_path, split_path
from satchel.device.control import ControlClient, Request
from satchel.device.links import Link, LinkStore, index_folder, is_within
from satchel.device.settings import Settings, load_settings
from satchel.device.status import DaemonStatus

if TYPE_CHECKING:
    from satchel.api import Client
    from satchel.cli.begun_uploads import BegunUpload
    from satchel.device.credentials import Credentials
    from satchel.device.index.beside import View

T = TypeVar("T")

REMOTE_PREFIX = "satchel:"
"""Says that a path is a remote one, where it could be taken for a local one."""


def settings() -> Settings:
    """Return the device's settings. Raises: SettingInvalid."""
    return load_settings()


def home() -> Path:
    """Return SATCHEL_HOME."""
    return settings().home


def credentials() -> Credentials:
    """Return this device's sign-in. Raises: NotSignedIn."""
    from satchel.device.credentials import load

    return load(home())


def begun_upload(target: str, source: str, size: int, mtime_ns: int) -> BegunUpload:
    """Return the note of an upload of one state of a local file to a remote path. Raises: NotSignedIn."""
    from satchel.cli.begun_uploads import begun_upload

    known = credentials()
    local = os.path.realpath(source)
    return begun_upload(home() / "uploads", known.url, known.device_id, target, local, size, mtime_ns)


def control() -> ControlClient:
    """Return the way to the daemon, which may not run."""
    return ControlClient(home())


def links() -> LinkStore:
    """Return the list of linked folders."""
    return LinkStore(home())


def daemon_status(client: ControlClient) -> DaemonStatus:
    """Return what the daemon says of itself. Raises: DaemonNotRunning."""
    return client.ask(Request("status"), DaemonStatus)


@contextlib.asynccontextmanager
async def api() -> AsyncIterator[Client]:
    """Give the service's REST interface, signed in as this device. Raises: NotSignedIn."""
    from satchel.api import Client

    known = credentials()
    async with Client(known.url, known.token) as signed_in:
        yield signed_in


def run(work: Coroutine[object, object, T]) -> T:
    """Run asynchronous work to its end."""
    import asyncio

    return asyncio.run(work)


def link_of(local: str) -> Link:
    """Return the link of that local folder, or the only one when `local` is empty. Raises: NotLinked."""
    from satchel.core.errors import NotLinked

    known = links().links()
    if not local and len(known) == 1:
        return known[0]
    real = os.path.realpath(os.path.expanduser(local)) if local else ""
    for link in links().every():
        if link.local == real:
            return link
    raise NotLinked(f"{local or 'No folder'} is not linked.", path=local)


def links_in(local: str = "") -> list[Link]:
    """Return the linked folder of that path with the shared folders in it, or all when `local` is empty."""
    found = [link for link in links().every() if not local or local in (link.local, link.outer)]
    return sorted(found, key=lambda link: link.local)


def in_link(typed: str) -> tuple[Link, tuple[str, ...]]:
    """Return the link that holds what a person named, by its local or its remote path, and the names below it.

    The last name is not followed when it is a symlink. Raises: NotLinked, NameInvalid.
    """
    from satchel.core.errors import NotLinked

    known = links().every()
    if not typed.startswith(REMOTE_PREFIX):
        whole = os.path.abspath(os.path.expanduser(typed))
        real = os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))
        for link in known:
            # A shared folder as a whole stands in the folder around it.
            if is_within(real, link.local) and not (link.outer and real == link.local):
                below = os.path.relpath(real, link.local)
                return link, () if below == "." else tuple(below.split(os.sep))
    names = split_path(typed.removeprefix(REMOTE_PREFIX))
    for link in sorted(known, key=lambda link: -len(link.remote)):
        above = split_path(link.remote)
        if names[: len(above)] == above and not (link.outer and names == above):
            return link, names[len(above) :]
    raise NotLinked(f"{typed} lies in no linked folder.", path=typed)


def state_folder(link: Link) -> Path:
    """Return where this device keeps what it knows of a link."""
    return index_folder(home(), link.link_id)


@contextlib.contextmanager
def view(link: Link) -> Iterator[View]:
    """Give what the index of a link holds, beside the daemon or without it. Raises: NotFound, VersionUnsupported."""
    from satchel.device.index.beside import viewing

    with viewing(state_folder(link)) as found:
        yield found


def remote_path(typed: str) -> str:
    """Return the remote path that a person means.

    `satchel:/a` is remote; a path in a linked folder (as typed, seen from here) stands for its remote twin; anything
    else is remote, from the root on. Raises: NameInvalid, LimitExceeded.
    """
    if typed.startswith(REMOTE_PREFIX):
        return join_path(split_path(typed.removeprefix(REMOTE_PREFIX)))
    expanded = os.path.expanduser(typed)
    held = links().holding(os.path.abspath(expanded)) if expanded else None
    if held is not None:
        return held[1]
    return join_path(split_path(typed))
