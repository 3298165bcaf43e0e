"""`satchel up`: a server and this machine as its first device, in one command. Invariant: run again, it finds what it
made and makes nothing twice; ended with Ctrl-C, it ends both parts cleanly and exits with 0.

Server and daemon are two child processes, watched and ended by their own ids, so that a fault of one is no fault of the
other and both cores are used. They are in sessions of their own: Ctrl-C reaches `up` alone, which ends them in order.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from satchel.cli import account, children, links, output, session
from satchel.cli.administering import administer, server_settings
from satchel.core.errors import AlreadyExists, NotSignedIn, Unauthenticated
from satchel.device.control import Request
from satchel.device.durable import read_json, write_json

if TYPE_CHECKING:
    from satchel.device.credentials import Credentials
    from satchel.server.settings import Settings

PASSWORD_FILE = "first-account.json"


class FirstAccount(msgspec.Struct, frozen=True):
    """The account that the first run made, with the password that nobody has typed."""

    name: str
    password: str


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(up)


def up(
    data: Annotated[str | None, typer.Option("--data", help="Data folder of the server.")] = None,
    folder: Annotated[str, typer.Option("--folder", help="Folder to keep in sync.")] = "~/Satchel",
    listen: Annotated[str | None, typer.Option("--listen", help="HOST:PORT to listen on.")] = None,
) -> None:
    """Run a server here and make this machine its first device; end both with Ctrl-C.

    The first run makes the data folder, an account named like you, and the linked folder; later runs go on with them.
    """
    settings = server_settings({"data": data or default_data(), "listen": listen})
    real = links.real_folder(folder)
    links.refuse_nested(real, settings.data, "the server's data folder")
    with children.ending(), contextlib.ExitStack() as running:
        server, url = running.enter_context(children.server(settings))
        is_first = _sign_in(settings, url)
        _link(real)
        watched = [server, *_run_daemon(running)]
        _tell(url, real, settings.data, is_first=is_first)
        children.wait_for_end(watched)
    output.say("Stopped. All files stay; go on with: satchel up")


def default_data() -> str:
    """Return the data folder of the embedded server."""
    import platformdirs

    return os.path.join(platformdirs.user_data_dir("satchel", appauthor=False), "server")


def _sign_in(settings: Settings, url: str) -> bool:
    """Make the account and sign this device in, unless that was done before. Result: whether it was done now."""
    from satchel.device import credentials

    try:
        known = session.credentials()
    except NotSignedIn:
        first = _first_account(settings)
        session.run(account.sign_in(url, first.name, first.password, session.settings().device_name))
        return True
    if known.url != url:
        # Another address of the same server (another port) knows our token; another server does not.
        _check_same_server(known, url)
        credentials.save(session.home(), msgspec.structs.replace(known, url=url))
    return False


def _check_same_server(known: Credentials, url: str) -> None:
    from satchel.device.api import Api

    async def ask() -> None:
        async with Api(url, known.token) as api:
            await api.account()

    try:
        session.run(ask())
    except Unauthenticated as fault:
        raise AlreadyExists(
            f"This device is signed in to {known.url}. Run 'satchel logout' first, or set another SATCHEL_HOME.",
            what="sign-in",
            name=known.url,
        ) from fault


def _first_account(settings: Settings) -> FirstAccount:
    """Return the account that `up` made, making it now if there is none. Raises: AlreadyExists."""
    kept = Path(settings.data) / PASSWORD_FILE
    first = read_json(kept, FirstAccount)
    if first is None:
        first = FirstAccount(getpass.getuser(), secrets.token_urlsafe(18))
        write_json(kept, first)
    try:
        fields: dict[str, object] = {"name": first.name, "password": first.password, "is_admin": True}
        administer(settings, "user.add", fields)
    except AlreadyExists:
        pass  # An earlier run made it; the password is the kept one unless a person changed it.
    return first


def _link(real: str) -> None:
    known = session.links().links()
    if not any(link.local == real for link in known):
        session.run(links.add_link(real, "/"))


def _run_daemon(running: contextlib.ExitStack) -> list[children.Child]:
    """Start the daemon as a child, unless one runs on this SATCHEL_HOME already; that one reads its links again."""
    control = session.control()
    if control.is_running():
        control.ask(Request("reload"), object)
        return []
    log = session.home() / "daemon.err"
    child = running.enter_context(children.started("daemon", ["-m", "satchel.device.daemon"], log))
    children.wait_until(child, control.is_running)
    return [child]


def _tell(url: str, real: str, data: str, *, is_first: bool) -> None:
    name = session.credentials().account
    lines = [f"Satchel is up.  Server {url}  Folder {real}  Data {data}", "Stop with Ctrl-C."]
    if is_first:
        lines += [
            "",
            f"Your account is {name}. Give it a password of your own, for other devices and programs:",
            f"  satchel admin user passwd {name} --keep-devices --data {data}",
            "How it goes: satchel status --watch",
        ]
    told = {"url": url, "folder": real, "data": data, "account": name, "is_first": is_first}
    output.give(told, text="" if output.mode.quiet else "\n".join(lines))
