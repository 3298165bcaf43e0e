"""Administration of accounts and of what is stored, beside a running service or alone.

Invariant: only who owns the data folder gets in. A running service listens on `admin.sock` in its data folder (0700):
one JSON line asks, one answers; before it come lines that tell how far a long command is. Without a service the store
is opened directly, under the same lock. Source: docs/design/010 (the command line).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from satchel.core.errors import Fault, MessageInvalid, SettingInvalid, Unavailable, every_fault
from satchel.core.ids import ROOT_NODE
from satchel.core.limits import KIB
from satchel.server.accounts.acting import acting_for
from satchel.server.accounts.audit import STORE_CHAIN, Action, Event, record
from satchel.server.accounts.audit_reports import AuditAsked, AuditVerifyAsked, shown_audit, verified_audit
from satchel.server.accounts.invitations import invite
from satchel.server.accounts.oidc_links import expect, unlink_all
from satchel.server.accounts.roles import Change, change_account
from satchel.server.accounts.service import (
    Account,
    account_id_of,
    add_user,
    disable_user,
    list_users,
    reset_second_factor,
    set_password,
    set_quota,
)
from satchel.server.adapters.machine import MachineClock, ThreadWorkers
from satchel.server.blocks.service import BlockService
from satchel.server.db.engine import Database
from satchel.server.db.opening import open_database
from satchel.server.documents.extracting import Extractor
from satchel.server.folder import data_lock, socket_path
from satchel.server.metadata.rewind import place_at, preview, rewind
from satchel.server.ports import BlockStore, Clock, Workers
from satchel.server.search.texts import Reading
from satchel.server.settings import Settings
from satchel.server.stopped import COMMANDS as STOPPED
from satchel.server.stopped import run_stopped
from satchel.server.stores import opened_blocks, sealing_key
from satchel.server.upkeep import garbage, naming, recount, texts
from satchel.server.upkeep.backup import taking
from satchel.server.upkeep.backup.marks import require_in_service
from satchel.server.upkeep.backup.repository import Secret
from satchel.server.upkeep.figures import figures
from satchel.server.upkeep.marking import read_brake

_log = structlog.get_logger("admin")

LINE_BYTES_MAX = 64 * KIB
ASK_TIMEOUT_S = 60.0
TELL_EVERY_S = 2.0
WORK_TIMEOUT_S = 7 * 24 * 3_600.0
"""A deep fsck reads everything that is stored."""

LONG = frozenset({"gc", "fsck", "backup", "rewind", "search.rebuild"})
"""Commands that need the blocks and may take long."""
LINES_TOLD_MAX = 20
LOOKING = frozenset({"fsck", "stats", "audit", "audit.verify"})
"""Commands that may look into a store that is out of service."""

Args = Mapping[str, object]
Progress = Callable[[str, int], None]


def _silent(what: str, done: int) -> None:
    """Tell nobody."""


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


class UserSecondFactor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ask an account for no codes any more."""

    name: str


class UserInvite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An invitation to make an account oneself. quota_bytes: None for no limit; email: of whom the provider knows."""

    note: str = ""
    is_admin: bool = False
    quota_bytes: int | None = None
    days: int = 7
    email: str = ""


class UserRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether an account may administer the server."""

    name: str
    is_admin: bool


class UserOidc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who opens an account by the provider of the sign-in: the first with this address; is_end: nobody any more."""

    name: str
    email: str = ""
    is_end: bool = False


class UserQuota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A limit in bytes; None ends it."""

    name: str
    quota_bytes: int | None = None


class UserList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All accounts."""


class Gc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Collect garbage now. go_on: condemn as much as is found, past the brake."""

    dry_run: bool = False
    go_on: bool = False


class Fsck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Count everything again. deep: read every block; repair: put counters right."""

    deep: bool = False
    repair: bool = False


class TakeBackup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take a backup into a folder of this machine, named from its root. no_encryption: without a passphrase."""

    folder: str
    passphrase: str | None = None
    no_encryption: bool = False

    def __repr__(self) -> str:
        return f"TakeBackup({self.folder!r})"


class Stats(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the store holds."""


class RewindAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of an account as it was at a time, Unix ms. dry_run: only tell; seen_seq: only if nothing changed since."""

    name: str
    to_ms: int
    dry_run: bool = False
    seen_seq: int | None = None


class SearchRebuild(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make the index of names anew, and read the documents that are not in the index of texts."""


class Asked(msgspec.Struct, frozen=True):
    """One line to the socket."""

    command: str
    args: dict[str, object]


class Admin:
    """The commands, over one database. changed: called after one that takes a right away.

    store, workers: for the commands about what is stored; without them those are Unavailable. folders: of the store
    itself, where no backup may be put. secrets_key: gives what seals secrets in the database, hex, for a backup.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        changed: Callable[[], None],
        store: BlockStore | None = None,
        workers: Workers | None = None,
        folders: Sequence[str] = (),
        secrets_key: Callable[[], str] = lambda: "",
    ) -> None:
        self._db = db
        self._clock = clock
        self._changed = changed
        self._store = store
        self._workers = workers
        self._folders = folders
        self._secrets_key = secrets_key
        self._commands: dict[str, tuple[type[msgspec.Struct], Callable[..., Awaitable[object]]]] = {
            "user.add": (UserAdd, self._add),
            "user.list": (UserList, self._list),
            "user.disable": (UserDisable, self._disable),
            "user.passwd": (UserPasswd, self._passwd),
            "user.second-factor": (UserSecondFactor, self._second_factor),
            "user.invite": (UserInvite, self._invite),
            "user.role": (UserRole, self._role),
            "user.quota": (UserQuota, self._quota),
            "user.oidc": (UserOidc, self._oidc),
            "gc": (Gc, self._gc),
            "fsck": (Fsck, self._fsck),
            "stats": (Stats, self._stats),
            "backup": (TakeBackup, self._backup),
            "rewind": (RewindAccount, self._rewind),
            "audit": (AuditAsked, self._audit),
            "audit.verify": (AuditVerifyAsked, self._verify_audit),
            "search.rebuild": (SearchRebuild, self._search_rebuild),
        }

    async def run(self, command: str, args: Args, progress: Progress | None = None) -> object:
        """Do one command; return its result as plain data. progress: told what a long one does, and how far it is.

        Raises: MessageInvalid and what the command raises.
        """
        known = self._commands.get(command)
        if known is None:
            raise MessageInvalid("There is no such command.", reason=command)
        shape, work = known
        try:
            asked = msgspec.convert(dict(args), shape)
        except msgspec.ValidationError as error:
            raise MessageInvalid("The command's arguments are wrong.", reason=str(error)) from error
        result = await (work(asked, progress or _silent) if command in LONG else work(asked))
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
        await disable_user(self._db, self._clock, asked.name, is_disabled=asked.is_disabled)
        self._changed()
        return {}

    async def _passwd(self, asked: UserPasswd) -> object:
        await set_password(self._db, self._clock, asked.name, asked.password, keep_devices=asked.keep_devices)
        self._changed()
        return {}

    async def _second_factor(self, asked: UserSecondFactor) -> object:
        await reset_second_factor(self._db, self._clock, asked.name)
        return {}

    async def _invite(self, asked: UserInvite) -> object:
        token, made = await invite(
            self._db,
            self._clock,
            None,
            note=asked.note,
            is_admin=asked.is_admin,
            quota_bytes=asked.quota_bytes,
            days=asked.days,
            email=asked.email,
        )
        return {"token": token, "id": made.invitation_id.hex(), "ends_ms": made.ends_ms}

    async def _role(self, asked: UserRole) -> object:
        account = await account_id_of(self._db, asked.name)
        await change_account(self._db, self._clock, None, account, Change(is_admin=asked.is_admin))
        self._changed()
        return {}

    async def _quota(self, asked: UserQuota) -> object:
        await set_quota(self._db, self._clock, asked.name, asked.quota_bytes)
        return {}

    async def _oidc(self, asked: UserOidc) -> object:
        if asked.is_end:
            await unlink_all(self._db, self._clock, asked.name)
            self._changed()
        else:
            await expect(self._db, self._clock, asked.name, asked.email)
        return {}

    async def _gc(self, asked: Gc, progress: Progress) -> object:
        progress("collecting", 0)
        store, _ = self._stored()
        counts = await garbage.run(self._db, store, self._clock, dry_run=asked.dry_run, allow_large=asked.go_on)
        return {**dataclasses.asdict(counts), "brake": msgspec.to_builtins(await read_brake(self._db))}

    async def _fsck(self, asked: Fsck, progress: Progress) -> object:
        store, workers = self._stored()
        counts = await recount.run(
            self._db, store, self._clock, workers, repair=asked.repair, deep=asked.deep, progress=progress
        )
        told = {name: value for name, value in dataclasses.asdict(counts).items() if name not in ("found", "repaired")}
        found, repaired = dict(counts.found), dict(counts.repaired)
        return {**told, "found": found, "repaired": repaired, "is_clean": counts.is_clean, "kinds": recount.KINDS}

    async def _backup(self, asked: TakeBackup, progress: Progress) -> object:
        store, workers = self._stored()
        if not os.path.isabs(asked.folder):
            raise SettingInvalid("The folder is named from the root.", setting="DEST", reason=asked.folder)
        await workers.run(lambda: _refuse_own(asked.folder, self._folders))
        if (asked.passphrase is None) != asked.no_encryption:
            raise SettingInvalid(
                "A backup is encrypted, or --no-encryption is said.", setting="passphrase", reason="say one of both"
            )
        secret = Secret(asked.passphrase)
        key = await workers.run(self._secrets_key)
        counts = await taking.run(
            self._db, store, self._clock, workers, asked.folder, secret, secrets_key=key, progress=progress
        )
        event = Event(Action.BACKED_UP, self._clock.now_ms(), subject=asked.folder)
        await record(self._db, STORE_CHAIN, event)
        return dataclasses.asdict(counts)

    async def _rewind(self, asked: RewindAccount, progress: Progress) -> object:
        _, workers = self._stored()
        principal = await acting_for(self._db, asked.name)
        ns = principal.root_ns
        seq = await place_at(self._db, principal, ns, asked.to_ms)
        shown = await preview(self._db, workers, principal, ns, ROOT_NODE, seq, limit=LINES_TOLD_MAX)
        lines = [(line.does, line.path_now, line.path_then) for line in shown.lines]
        told = {"to_ms": shown.to_ms, "to_seq": seq, "counts": shown.counts, "lines": lines}
        if asked.dry_run:
            return {**told, "head_seq": shown.head_seq}
        done = await rewind(self._db, self._clock, workers, principal, ns, ROOT_NODE, seq, seen_seq=asked.seen_seq)
        while not done.is_finished:
            progress("changes", done.head_seq)
            done = await rewind(self._db, self._clock, workers, principal, ns, ROOT_NODE, seq)
        return {**told, "head_seq": done.head_seq, "id": done.record.rewind_id.hex()}

    async def _audit(self, asked: AuditAsked) -> object:
        return await shown_audit(self._db, asked)

    async def _verify_audit(self, asked: AuditVerifyAsked) -> object:
        return await verified_audit(self._db, asked)

    async def _search_rebuild(self, asked: SearchRebuild, progress: Progress) -> object:
        store, workers = self._stored()
        progress("indexing", 0)
        names = await naming.make_anew(self._db)
        progress("reading documents", 0)
        blocks = BlockService(store, self._db, self._clock, workers)
        return {"names": names, "documents": await texts.read_all(Reading(self._db, blocks, Extractor(), workers))}

    async def _stats(self, asked: Stats) -> object:
        return await figures(self._db)

    def _stored(self) -> tuple[BlockStore, Workers]:
        if self._store is None or self._workers is None:
            raise Unavailable("The block store is not open here.", where="blocks", reason="closed")
        return self._store, self._workers


async def run_admin(settings: Settings, command: str, args: Args, progress: Progress | None = None) -> object:
    """Do one command through the running service, or on the store itself when none runs; return plain data.

    command: `user.add|list|disable|passwd|quota`, `gc`, `fsck`, `stats`, `backup`, `rewind`, `search.rebuild`, or one
    of `stopped`; args: the fields of its struct. progress: as `Admin.run`.
    Raises: the command's faults, AlreadyRunning (a service that starts or stops just now), Unavailable, SettingInvalid
    (a store that is out of service).
    """
    if command in STOPPED:
        return await run_stopped(settings, command, args, progress or _silent)
    with socket_path(settings.admin_socket) as path, contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        async with asyncio.timeout(ASK_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_BYTES_MAX)
        return await _ask(reader, writer, command, args, progress or _silent)
    with data_lock(settings.data):
        clock = MachineClock()
        db = await open_database(settings.database_url, clock)
        try:
            if command not in LOOKING:
                await require_in_service(db)
            async with _opened_store(settings, clock, command) as (store, workers):
                key = functools.partial(sealing_key, settings)
                admin = Admin(db, clock, lambda: None, store, workers, own_folders(settings), key)
                return await admin.run(command, args, progress)
        finally:
            await db.close()


def _refuse_own(folder: str, own: Sequence[str]) -> None:
    for one in own:
        if f"{os.path.realpath(folder)}/".startswith(f"{os.path.realpath(one)}/"):
            raise SettingInvalid(
                "A backup beside what it backs up is lost with it.",
                setting="DEST",
                reason=f"it is inside {one}; name a folder elsewhere, best on another disk",
            )


def own_folders(settings: Settings) -> tuple[str, ...]:
    """Return the folders that hold the store, as far as it is on this machine's disks."""
    is_local = settings.blocks_url.startswith("file://")
    return (settings.data, settings.blocks_folder) if is_local else (settings.data,)


@contextlib.asynccontextmanager
async def _opened_store(
    settings: Settings, clock: Clock, command: str
) -> AsyncIterator[tuple[BlockStore | None, Workers | None]]:
    """Open the blocks for a command that needs them."""
    if command not in LONG:
        yield None, None
        return
    workers = ThreadWorkers()
    try:
        async with opened_blocks(settings, clock) as store:
            yield store, workers
    finally:
        workers.close()


@contextlib.asynccontextmanager
async def answering(socket: str, admin: Admin) -> AsyncIterator[None]:
    """Answer on the socket while the block runs; a long command that is not done then is cancelled."""
    working: set[asyncio.Task[object]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            working.add(task)
            task.add_done_callback(working.discard)
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                line = await reader.readline()
            async with asyncio.timeout(WORK_TIMEOUT_S if _is_long(line) else ASK_TIMEOUT_S):
                writer.write(await _answer(admin, line, writer))
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
        for task in working:
            task.cancel()
        if working:
            await asyncio.wait(working)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket)


def _decoded(line: bytes) -> Asked:
    try:
        return msgspec.json.decode(line, type=Asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageInvalid("This is no command.", reason=str(error)) from error


def _is_long(line: bytes) -> bool:
    with contextlib.suppress(MessageInvalid):
        return _decoded(line).command in LONG
    return False


async def _answer(admin: Admin, line: bytes, writer: asyncio.StreamWriter) -> bytes:
    try:
        asked = _decoded(line)
        work = _telling if asked.command in LONG else _running
        told: dict[str, object] = {"result": await work(admin, asked, writer)}
    except Fault as fault:
        fields = {name: str(value) for name, value in fault.fields.items()}
        told = {"error": {"code": fault.code, "message": fault.message, "fields": fields}}
    return msgspec.json.encode(told) + b"\n"


async def _running(admin: Admin, asked: Asked, writer: asyncio.StreamWriter) -> object:
    return await admin.run(asked.command, asked.args)


async def _telling(admin: Admin, asked: Asked, writer: asyncio.StreamWriter) -> object:
    """Do a long command, telling every two seconds how far it is. It stops when nobody listens any more."""
    reached: tuple[str, int] = ("", 0)

    def note(what: str, done: int) -> None:
        nonlocal reached
        reached = (what, done)

    async def outcome() -> object:
        try:
            return await admin.run(asked.command, asked.args, note)
        except Fault as fault:
            return fault

    gone: ConnectionError | None = None
    async with asyncio.TaskGroup() as group:
        work = group.create_task(outcome())
        while not (await asyncio.wait({work}, timeout=TELL_EVERY_S))[0]:
            try:
                writer.write(msgspec.json.encode({"progress": reached}) + b"\n")
                await writer.drain()
            except ConnectionError as error:
                gone = error
                work.cancel()
                break
    if gone is not None:
        raise gone
    result = work.result()
    if isinstance(result, Fault):
        raise result
    return result


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str, args: Args, progress: Progress
) -> object:
    try:
        writer.write(msgspec.json.encode(Asked(command, dict(args))) + b"\n")
        told: dict[str, Any] = {"progress": ("", 0)}
        while "progress" in told:
            progress(*told["progress"])
            async with asyncio.timeout(ASK_TIMEOUT_S):
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
