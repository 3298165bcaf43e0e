"""`satchel login|logout|whoami|devices`. Invariant: no password and no token is ever an argument or printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import daemon, output, session
from satchel.core.errors import AlreadyExists, DaemonNotRunning, Fault, NotFound, NotSignedIn, Unauthenticated

if TYPE_CHECKING:
    from satchel.device.api import Account, Device

devices = typer.Typer(help="List, rename and revoke the devices of your account.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(login)
    app.command()(logout)
    app.command()(whoami)
    app.add_typer(devices, name="devices")


def login(
    url: Annotated[str, typer.Argument(help="Address of the server, such as https://files.example.org")],
    user: Annotated[str, typer.Option("--user", help="Name of your account; asked for when left out.")] = "",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    device: Annotated[str, typer.Option("--device", help="Name of this device, as others see it.")] = "",
) -> None:
    """Sign this device in."""
    name = user or _ask("User: ")
    password = output.read_password(from_stdin=password_stdin)
    account = session.run(sign_in(with_scheme(url), name, password, device or session.settings().device_name))
    output.give(
        {"server": with_scheme(url), "account": account, "device": device or session.settings().device_name},
        text="" if output.mode.quiet else f"Signed in as {account}. Next: satchel link ~/Satchel",
    )


async def sign_in(url: str, user: str, password: str, device: str) -> str:
    """Sign in and keep the token; return the account's name. Raises: AlreadyExists while signed in elsewhere."""
    from satchel.device import credentials
    from satchel.device.api import Api

    home = session.home()
    try:
        known = credentials.load(home)
    except NotSignedIn:
        known = None
    if known is not None and (known.url != url or known.account != user):
        raise AlreadyExists(
            f"This device is signed in to {known.url} as {known.account}; run 'satchel logout' first.",
            what="sign-in",
            name=known.account,
        )
    async with Api(url, "") as api:
        signed_in = await api.login(user, password, device)
    credentials.save(
        home,
        credentials.Credentials(
            url=url,
            account=signed_in.account,
            device_id=signed_in.device_id,
            device_name=device,
            root_ns=signed_in.root_ns,
            token=signed_in.token,
        ),
    )
    _restart_daemon()
    return signed_in.account


def _restart_daemon() -> None:
    """A running daemon holds the old token; it is started again with the new one."""
    try:
        daemon.stop_daemon()
    except DaemonNotRunning:
        return
    daemon.ensure_daemon()


def logout() -> None:
    """Sign this device out. All its files stay where they are; folders are no longer linked."""
    known = session.credentials()
    try:
        daemon.stop_daemon()
    except DaemonNotRunning:
        pass
    revoked = True
    try:
        session.run(_revoke_here())
    except Unauthenticated:
        pass
    except Fault as fault:
        revoked = False
        output.note(f"The server was not told ({fault.message}); revoke this device there: satchel devices revoke")
    from satchel.device import credentials

    session.links().remove_all()
    credentials.forget(session.home())
    output.give(
        {"account": known.account, "revoked": revoked}, text="" if output.mode.quiet else "Signed out. All files stay."
    )


async def _revoke_here() -> None:
    async with session.api() as api:
        await api.logout()


def whoami() -> None:
    """Show the account, the server, this device and the room that is used."""
    known = session.credentials()
    account = session.run(_account())
    quota = output.size_text(account.quota_bytes) if account.quota_bytes else "no limit"
    output.give(
        {"server": known.url, "device_id": known.device_id, "account": account},
        text=f"{account.name} on {known.url}\n{output.size_text(account.used_bytes)} used, {quota}",
    )


@devices.callback()
def _devices(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_devices()


@devices.command("list")
def list_devices() -> None:
    """List the devices of your account; * marks this one."""
    found = session.run(_devices_of())
    rows = [("*" if device.is_this else "", device.name, device.id[-8:], _seen(device)) for device in found]
    output.give(found, text=lambda: output.table(("", "NAME", "ID", "LAST SEEN"), rows))


@devices.command()
def rename(device: str, name: str) -> None:
    """Give a device another name. DEVICE: its name, or the end of its id."""
    session.run(_rename(device, name))
    output.say(f"The device is called {name} now.")


@devices.command()
def revoke(device: str) -> None:
    """Sign a device out for good; the files on it stay. DEVICE: its name, or the end of its id."""
    session.run(_revoke(device))
    output.say(f"{device} is signed out.")


def _seen(device: Device) -> str:
    return "now" if device.is_online else output.time_text(device.seen_ms)


async def _account() -> Account:
    async with session.api() as api:
        return await api.account()


async def _devices_of() -> list[Device]:
    async with session.api() as api:
        return await api.devices()


async def _rename(device: str, name: str) -> None:
    async with session.api() as api:
        await api.rename_device(_the_device(await api.devices(), device), name)


async def _revoke(device: str) -> None:
    async with session.api() as api:
        await api.revoke_device(_the_device(await api.devices(), device))


def _the_device(found: Sequence[Device], wanted: str) -> str:
    matching = [one for one in found if one.name == wanted] or [
        one for one in found if wanted and one.id.endswith(wanted)
    ]
    if len(matching) != 1:
        raise NotFound(f"{len(matching)} devices are called {wanted}.", what="device", name=wanted)
    return matching[0].id


def with_scheme(url: str) -> str:
    """Return the address with https:// where nothing was said; loopback is plain."""
    if "://" in url:
        return url.rstrip("/")
    host = url.split("/")[0].rsplit(":", 1)[0].strip("[]")
    return f"{'http' if host in ('localhost', '127.0.0.1', '::1') else 'https'}://{url.rstrip('/')}"


def _ask(prompt: str) -> str:
    import sys

    if not sys.stdin.isatty():
        raise Fault("No terminal to ask for the user on: use --user.")
    return input(prompt).strip()
