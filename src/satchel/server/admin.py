"""Administration of accounts, beside a running service or alone. Invariant: only who owns the data folder gets in.

A running service listens on `admin.sock` in its data folder (0700): one JSON line asks, one answers. Without a service
the store is opened directly, under the same lock. Source: docs/design/010 (the command line).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec
import structlog

from satchel.core.errors import Fault, MessageInvalid, Unavailable, every_fault
from satchel.core.limits import KIB
from satchel.server.accounts.service import Account, add_user, disable_user, list_users, set_password, set_quota
from satchel.server.adapters.machine import MachineClock
from satchel.server.db.engine import Database
from satchel.server.db.opening import open_database
from satchel.server.folder import data_lock, socket_path
from satchel.server.ports import Clock
from satchel.server.settings import Settings

_log = structlog.get_logger("admin")

LINE_BYTES_MAX = 64 * KIB
ASK_TIMEOUT_S = 60.0

Args = Mapping[str, object]


class UserAdd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new account. quota_bytes: None for no limit."""

    name: str
    password: str
    is_admin: bool = False
    quota_bytes: int | None = None


class UserDisable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shut an account out, or let it in again."""

    name: str
    is_disabled: bool = True


class UserPasswd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new password; every device is signed out unless told otherwise."""

    name: str
    password: str
    keep_devices: bool = False


class UserQuota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A limit in bytes; None ends it."""

    name: str
    quota_bytes: int | None = None


class UserList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All accounts."""


class Asked(msgspec.Struct, frozen=True):
    """One line to the socket."""

    command: str
    args: dict[str, object]


class Admin:
    """The commands, over one database. changed: called after one that takes a right away."""

    def __init__(self, db: Database, clock: Clock, changed: Callable[[], None]) -> None:
        self._db = db
        self._clock = clock
        self._changed = changed
        self._commands: dict[str, tuple[type[msgspec.Struct], Callable[..., Awaitable[object]]]] = {
            "user.add": (UserAdd, self._add),
            "user.list": (UserList, self._list),
            "user.disable": (UserDisable, self._disable),
            "user.passwd": (UserPasswd, self._passwd),
            "user.quota": (UserQuota, self._quota),
        }

    async def run(self, command: str, args: Args) -> object:
        """Do one command; return its result as plain data. Raises: MessageInvalid and what the command raises."""
        known = self._commands.get(command)
        if known is None:
            raise MessageInvalid("There is no such command.", reason=command)
        shape, work = known
        try:
            asked = msgspec.convert(dict(args), shape)
        except msgspec.ValidationError as error:
            raise MessageInvalid("The command's arguments are wrong.", reason=str(error)) from error
        result = await work(asked)
        _log.info("admin.done", command=command)
        return result

    async def _add(self, asked: UserAdd) -> object:
        made = await add_user(
            self._db,
            self._clock,
            name=asked.name,
            password=asked.password,
            is_admin=asked.is_admin,
            quota_bytes=asked.quota_bytes,
        )
        return _shown(made)

    async def _list(self, asked: UserList) -> object:
        return [_shown(account) for account in await list_users(self._db)]

    async def _disable(self, asked: UserDisable) -> object:
        await disable_user(self._db, asked.name, is_disabled=asked.is_disabled)
        self._changed()
        return {}

    async def _passwd(self, asked: UserPasswd) -> object:
        at_ms = None if asked.keep_devices else self._clock.now_ms()
        await set_password(self._db, asked.name, asked.password, revoke_devices_at_ms=at_ms)
        self._changed()
        return {}

    async def _quota(self, asked: UserQuota) -> object:
        await set_quota(self._db, asked.name, asked.quota_bytes)
        return {}


async def run_admin(settings: Settings, command: str, args: Args) -> object:
    """Do one command through the running service, or on the store itself when none runs; return plain data.

    command: `user.add|list|disable|passwd|quota`; args: the fields of its struct above.
    Raises: the command's faults, AlreadyRunning (a service that starts or stops just now), Unavailable.
    """
    with socket_path(settings.admin_socket) as path, contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        async with asyncio.timeout(ASK_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_BYTES_MAX)
            return await _ask(reader, writer, command, args)
    with data_lock(settings.data):
        clock = MachineClock()
        db = await open_database(settings.database_url, clock)
        try:
            return await Admin(db, clock, lambda: None).run(command, args)
        finally:
            await db.close()


@contextlib.asynccontextmanager
async def answering(socket: str, admin: Admin) -> AsyncIterator[None]:
    """Answer on the socket while the block runs."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                writer.write(await _answer(admin, await reader.readline()))
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            _log.warning("admin.dropped")
        finally:
            writer.close()

    with contextlib.suppress(FileNotFoundError):
        os.unlink(socket)
    with socket_path(socket) as path:
        server = await asyncio.start_unix_server(answer, path, limit=LINE_BYTES_MAX)
    os.chmod(socket, 0o600)
    try:
        yield
    finally:
        server.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket)


def _decoded(line: bytes) -> Asked:
    try:
        return msgspec.json.decode(line, type=Asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageInvalid("This is no command.", reason=str(error)) from error


async def _answer(admin: Admin, line: bytes) -> bytes:
    try:
        asked = _decoded(line)
        told: dict[str, object] = {"result": await admin.run(asked.command, asked.args)}
    except Fault as fault:
        fields = {name: str(value) for name, value in fault.fields.items()}
        told = {"error": {"code": fault.code, "message": fault.message, "fields": fields}}
    return msgspec.json.encode(told) + b"\n"


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str, args: Args) -> object:
    try:
        writer.write(msgspec.json.encode(Asked(command, dict(args))) + b"\n")
        await writer.drain()
        told = msgspec.json.decode(await reader.readline() or b"{}")
    finally:
        writer.close()
    error = told.get("error")
    if error is not None:
        kind = next((kind for kind in every_fault() if kind.code == error["code"]), Fault)
        raise kind(error["message"], **error["fields"])
    if "result" not in told:
        raise Unavailable("The server went away.", where="admin.sock", reason="closed")
    return told["result"]


def _shown(account: Account) -> dict[str, object]:
    return {
        "account_id": account.account_id.hex(),
        "name": account.name,
        "is_admin": account.is_admin,
        "is_disabled": account.is_disabled,
        "created_ms": account.created_ms,
        "used_bytes": account.used_bytes,
        "quota_bytes": account.quota_bytes,
    }
