"""`satchel serve` and `satchel admin`. Invariant: they name the store in the same way, and passwords never stand in the
arguments. `admin` works beside a running server, through its socket, and without one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import admin_rewind, audit, backups, output, search, store
from satchel.cli.administering import Config, Data, administer, server_settings
from satchel.core.errors import Fault, LimitExceeded
from satchel.core.limits import PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN

if TYPE_CHECKING:
    import asyncio


admin = typer.Typer(help="Administer a server, on the machine that it runs on.", no_args_is_help=True)
users = typer.Typer(help="Add, list and change accounts.", no_args_is_help=True)
admin.add_typer(users, name="user")

PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(serve)
    store.register(admin)
    backups.register(admin)
    admin_rewind.register(admin)
    audit.register(admin)
    search.register(admin)
    app.add_typer(admin, name="admin")


def serve(
    data: Data = None,
    listen: Annotated[str | None, typer.Option("--listen", help="HOST:PORT; port 0 takes a free one.")] = None,
    public_url: Annotated[str | None, typer.Option("--public-url", help="Address that people and devices use.")] = None,
    config: Config = None,
    behind_proxy: Annotated[
        str | None, typer.Option("--behind-proxy", help="Addresses of the proxies in front, with commas.")
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option("--roles", help="Some of gateway, notifier, upkeep; all by default."),
    ] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")] = None,
) -> None:
    """Run the server until Ctrl-C."""
    from satchel.server.main import Ready
    from satchel.server.main import serve as serve_until_stopped

    flags: dict[str, object] = {
        "data": data,
        "listen": listen,
        "public_url": public_url,
        "behind_proxy": behind_proxy,
        "roles": roles,
        "log_level": log_level,
    }
    settings = server_settings(flags, config)

    def ready(where: Ready) -> None:
        text = f"Satchel serves {where.url} from {settings.data}. Stop it with Ctrl-C."
        told = {"url": where.url, "data": settings.data}
        if where.setup_code:
            told["setup_code"] = where.setup_code
            text += f"\nThere is no account yet. Set-up code, good once and for an hour: {where.setup_code}"
        output.give(told, text="" if output.mode.quiet else text)

    import asyncio

    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(serve_until_stopped(settings, ready=ready))


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop factory where there is one, else None."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@users.command()
def add(
    name: str,
    password_stdin: PasswordStdin = False,
    is_admin: Annotated[bool, typer.Option("--admin", help="May administer the server.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Add an account."""
    password = new_password(from_stdin=password_stdin)
    arguments: dict[str, object] = {"name": name, "password": password, "is_admin": is_admin}
    told = administer(server_settings({"data": data}, config), "user.add", arguments)
    output.give(
        told,
        text=""
        if output.mode.quiet
        else f"Account {name} is there. Sign a device in with: satchel login URL --user {name}",
    )


@users.command("list")
def list_users(data: Data = None, config: Config = None) -> None:
    """List all accounts."""
    told = administer(server_settings({"data": data}, config), "user.list", {})
    output.give(told, text=lambda: _users_text(told))


@users.command()
def disable(
    name: str,
    undo: Annotated[bool, typer.Option("--undo", help="Let the account sign in again.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Shut an account out; its files stay."""
    told = administer(server_settings({"data": data}, config), "user.disable", {"name": name, "is_disabled": not undo})
    output.give(told, text="" if output.mode.quiet else f"Account {name} is {'open' if undo else 'shut out'}.")


@users.command()
def passwd(
    name: str,
    password_stdin: PasswordStdin = False,
    keep_devices: Annotated[bool, typer.Option("--keep-devices", help="Do not sign its devices out.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Set an account's password; signs all its devices out unless told otherwise."""
    password = new_password(from_stdin=password_stdin)
    arguments: dict[str, object] = {"name": name, "password": password, "keep_devices": keep_devices}
    told = administer(server_settings({"data": data}, config), "user.passwd", arguments)
    output.give(told, text="" if output.mode.quiet else f"Account {name} has a new password.")


@users.command()
def invite(
    note: Annotated[str, typer.Option("--note", help="For whom it is.")] = "",
    is_admin: Annotated[bool, typer.Option("--admin", help="The account may administer the server.")] = False,
    size: Annotated[str, typer.Option("--quota", help="How much it may keep; as of 'quota'.")] = "none",
    days: Annotated[int, typer.Option("--days", help="How long the invitation is open.")] = 7,
    email: Annotated[str, typer.Option("--email", help="Whose address needs no token at the provider's sign-in.")] = "",
    data: Data = None,
    config: Config = None,
) -> None:
    """Invite somebody to make an account; prints a token that is good once."""
    limit = size_bytes(size)
    asked: dict[str, object] = {"note": note, "is_admin": is_admin, "quota_bytes": limit, "days": days, "email": email}
    told = administer(server_settings({"data": data}, config), "user.invite", asked)
    assert isinstance(told, dict)
    output.give(told, text=str(told["token"]))


@users.command()
def role(
    name: str,
    is_admin: Annotated[bool, typer.Option("--admin/--member", help="May administer the server, or not.")],
    data: Data = None,
    config: Config = None,
) -> None:
    """Say whether an account may administer the server."""
    arguments: dict[str, object] = {"name": name, "is_admin": is_admin}
    told = administer(server_settings({"data": data}, config), "user.role", arguments)
    shown = "may" if is_admin else "may not"
    output.give(told, text="" if output.mode.quiet else f"Account {name} {shown} administer the server.")


@users.command("second-factor")
def second_factor(
    name: str,
    end: Annotated[bool, typer.Option("--end", help="Ask for no codes any more.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """End an account's second factor, whose owner lost phone and recovery codes."""
    if not end:
        raise Fault("Say --end: the account is then protected by its password alone.")
    told = administer(server_settings({"data": data}, config), "user.second-factor", {"name": name})
    output.give(told, text="" if output.mode.quiet else f"Account {name} is asked for no codes any more.")


@users.command()
def oidc(
    name: str,
    email: Annotated[str, typer.Option("--email", help="The first with this verified address opens it.")] = "",
    end: Annotated[bool, typer.Option("--end", help="Nobody opens it so any more; signs all out.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Say who opens an account by the provider of the sign-in."""
    if bool(email) == end:
        raise Fault("Say --email ADDRESS, or --end.")
    arguments: dict[str, object] = {"name": name, "email": email, "is_end": end}
    told = administer(server_settings({"data": data}, config), "user.oidc", arguments)
    shown = "is opened by nobody of the provider" if end else f"waits for {email}"
    output.give(told, text="" if output.mode.quiet else f"Account {name} {shown}.")


@users.command()
def quota(
    name: str,
    size: Annotated[str, typer.Argument(help="Bytes, or with a unit: 500M, 20G, 1T; 'none' for no limit.")],
    data: Data = None,
    config: Config = None,
) -> None:
    """Set how much an account may keep."""
    limit = size_bytes(size)
    told = administer(server_settings({"data": data}, config), "user.quota", {"name": name, "quota_bytes": limit})
    shown = "no limit" if limit is None else output.size_text(limit)
    output.give(told, text="" if output.mode.quiet else f"Quota of {name}: {shown}.")


def new_password(*, from_stdin: bool) -> str:
    """Return a new password, asked for twice on a terminal. Raises: LimitExceeded, Fault."""
    password = output.read_password(from_stdin=from_stdin, prompt="New password: ")
    if len(password) < PASSWORD_CHARS_MIN:
        raise LimitExceeded(
            f"A password has at least {PASSWORD_CHARS_MIN} characters.",
            limit="PASSWORD_CHARS_MIN",
            maximum=PASSWORD_CHARS_MIN,
            actual=len(password),
        )
    if len(password.encode()) > PASSWORD_BYTES_MAX:
        raise LimitExceeded(
            "The password is too long.", limit="PASSWORD_BYTES_MAX", maximum=PASSWORD_BYTES_MAX, actual="more"
        )
    if not from_stdin and output.read_password(from_stdin=False, prompt="Once more: ") != password:
        raise Fault("The two passwords differ; nothing was changed.")
    return password


def size_bytes(text: str) -> int | None:
    """Return a size in bytes from `500M` and its like, None for `none`. Raises: Fault."""
    plain = text.strip().lower().removesuffix("ib").removesuffix("b")
    if plain == "none":
        return None
    unit = plain[-1:] if plain[-1:] in _UNITS else ""
    number = plain.removesuffix(unit) if unit else plain
    if not number.isdigit():
        raise Fault(f"{text} is no size; write 500M, 20G or none.")
    return int(number) * _UNITS[unit]


def _users_text(told: object) -> str:
    rows = []
    for row in told if isinstance(told, list) else []:
        limit = row.get("quota_bytes")
        state = "shut out" if row.get("is_disabled") else "admin" if row.get("is_admin") else ""
        used, shown = (
            output.size_text(int(row.get("used_bytes") or 0)),
            "" if limit is None else output.size_text(limit),
        )
        rows.append((str(row["name"]), used, shown, state))
    return output.table(("NAME", "USED", "QUOTA", ""), rows, right=(1, 2)) or "No account yet."
