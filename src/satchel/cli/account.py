"""`satchel login|logout|whoami|devices`. Invariant: no password and no token is ever an argument or printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import approving, daemon, output, session, signing_in
from satchel.core.errors import (
    DaemonNotRunning,
    Fault,
    NotFound,
    SecondFactorRequired,
    Unauthenticated,
)

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
    """Sign this device in: by a code that you approve where you are signed in, or by name and password."""
    address, called = with_scheme(url), device or session.settings().device_name
    if user or password_stdin:
        name = user or _ask("User: ")
        password = output.read_password(from_stdin=password_stdin)
        try:
            account = session.run(sign_in(address, name, password, called))
        except SecondFactorRequired:
            code = output.read_password(from_stdin=password_stdin, prompt="Code of your app: ")
            account = session.run(sign_in(address, name, password, called, code))
    else:
        account = session.run(approving.sign_in_by_code(address, called))
    output.give(
        {"server": address, "account": account, "device": called},
        text="" if output.mode.quiet else f"Signed in as {account}. Next: satchel link ~/Satchel",
    )


async def sign_in(url: str, user: str, password: str, device: str, code: str = "") -> str:
    """Sign in and keep the token; return the account's name. Raises: AlreadyExists while signed in elsewhere."""
    from satchel.device.api import Api

    signing_in.refuse_another(url, user)
    async with Api(url, "") as api:
        signed_in = await api.login(user, password, device, code)
    return signing_in.keep(url, device, signed_in)


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


@devices.command()
def approve(
    code: str,
    deny: Annotated[bool, typer.Option("--deny", help="Turn the device away.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Sign in another device, which shows CODE, to your account."""
    approving.answer(code, deny=deny, yes=yes)


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
