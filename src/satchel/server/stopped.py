"""What is done with a store while its service is stopped: restoring into it, moving it; and looking at backups.

Invariant: whoever fills or moves a store holds its data folder, as a service would. Source: docs/design/010.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import msgspec
import structlog

from satchel.core.errors import MessageInvalid, SettingInvalid
from satchel.server.accounts.audit import STORE_CHAIN, Action, Event, record
from satchel.server.adapters.machine import MachineClock, ThreadWorkers
from satchel.server.adapters.sealer import FILE
from satchel.server.db.opening import open_database
from satchel.server.folder import data_lock
from satchel.server.ports import Clock
from satchel.server.settings import BLOCKS_SCHEMES, Settings
from satchel.server.stores import KeyPlaced, opened_blocks, place_sealing_key, sealing_key
from satchel.server.upkeep.backup import checking, moving, restoring
from satchel.server.upkeep.backup.moving import Half
from satchel.server.upkeep.backup.repository import Secret

_log = structlog.get_logger("admin")

Progress = Callable[[str, int], None]


class Restore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fill the store from a backup. passphrase: None for a backup without encryption; at_ms: None for the newest."""

    folder: str
    passphrase: str | None = None
    at_ms: int | None = None
    partial: bool = False


class Backups(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Look at the backups of a folder; deep: read everything."""

    folder: str
    passphrase: str | None = None
    deep: bool = False


class Migrate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Move the store into another, empty one. partial: although blocks cannot be read."""

    database_url: str
    blocks_url: str
    partial: bool = False


class MigrateUndo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Let a store that was moved be used again."""


async def run_stopped(
    settings: Settings, command: str, args: Mapping[str, object], progress: Progress
) -> dict[str, Any]:
    """Do one of COMMANDS; return its result as plain data.

    Raises: AlreadyRunning while a service holds the data folder, MessageInvalid, and what the command raises.
    """
    shape, work = _COMMANDS[command]
    try:
        asked = msgspec.convert(dict(args), shape)
    except msgspec.ValidationError as error:
        raise MessageInvalid("The command's arguments are wrong.", reason=str(error)) from error
    result = await work(settings, asked, progress)
    _log.info("admin.done", command=command)
    return result


async def _restore(settings: Settings, asked: Restore, progress: Progress) -> dict[str, Any]:
    placed: list[KeyPlaced] = []
    with data_lock(settings.data):
        async with _workers() as workers, _opened(settings, MachineClock()) as half:
            counts = await restoring.run(
                half.db,
                half.store,
                MachineClock(),
                workers,
                asked.folder,
                Secret(asked.passphrase),
                at_ms=asked.at_ms,
                is_partial=asked.partial,
                place_key=lambda key: placed.append(place_sealing_key(settings, key)),
                progress=progress,
            )
            event = Event(Action.RESTORED, MachineClock().now_ms(), subject=counts.backup_id)
            await record(half.db, STORE_CHAIN, event)
    return {**dataclasses.asdict(counts), "secrets_key": placed[-1], "secrets_file": _key_file(settings)}


async def _backups(settings: Settings, asked: Backups, progress: Progress) -> dict[str, Any]:
    async with _workers() as workers:
        counts = await checking.run(
            MachineClock(), workers, asked.folder, Secret(asked.passphrase), deep=asked.deep, progress=progress
        )
    told = [
        {
            **msgspec.to_builtins(msgspec.structs.replace(one.backup, secrets_key="")),
            "missing": one.missing,
            "problem": one.problem,
            "is_whole": one.is_whole,
        }
        for one in counts.backups
    ]
    return {
        "encrypted": counts.encrypted,
        "backups": told,
        "files": counts.files,
        "blocks": counts.blocks,
        "stored_bytes": counts.stored_bytes,
        "problems": [{"file": name, "what": what} for name, what in counts.problems],
        "is_clean": counts.is_clean,
    }


async def _migrate(settings: Settings, asked: Migrate, progress: Progress) -> dict[str, Any]:
    target = _target(settings, asked)
    clock = MachineClock()
    with data_lock(settings.data):
        # A key that cannot be read is told before anything is moved.
        key = _key_file(settings) if sealing_key(settings) and not sealing_key(target) else ""
        async with _workers() as workers, _opened(settings, clock) as old, _opened(target, clock) as new:
            counts = await moving.run(
                old,
                new,
                clock,
                workers,
                is_partial=asked.partial,
                progress=progress,
            )
    urls = {"database_url": without_password(target.database_url), "blocks_url": without_password(target.blocks_url)}
    return {**dataclasses.asdict(counts), **urls, "secrets_file": key}


async def _undo(settings: Settings, asked: MigrateUndo, progress: Progress) -> dict[str, Any]:
    with data_lock(settings.data):
        db = await open_database(settings.database_url, MachineClock())
        try:
            return {"target": await moving.undo(db)}
        finally:
            await db.close()


def _key_file(settings: Settings) -> str:
    return os.path.join(os.path.abspath(settings.data), FILE)


def _target(settings: Settings, asked: Migrate) -> Settings:
    """Return the settings of the store that is moved into. Raises: SettingInvalid."""
    if not asked.blocks_url.startswith(BLOCKS_SCHEMES):
        known = ", ".join(BLOCKS_SCHEMES)
        raise SettingInvalid("A URL that names no known store.", setting="blocks_url", reason=f"known: {known}")
    for name in ("database_url", "blocks_url"):
        if getattr(asked, name) == getattr(settings, name):
            raise SettingInvalid("The store would be moved into itself.", setting=name, reason="name another place")
    if asked.database_url.startswith("sqlite:///"):
        path = os.path.abspath(asked.database_url.removeprefix("sqlite:///"))
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        except OSError as error:
            raise SettingInvalid(
                "The folder of the new database cannot be made.", setting="database_url", reason=str(error)
            ) from error
    return dataclasses.replace(settings, database_url=asked.database_url, blocks_url=asked.blocks_url)


def _place(settings: Settings) -> str:
    """Return what tells a store from any other, options of its URLs and all, but no password."""
    text = ""
    for url in (settings.database_url, settings.blocks_url):
        options = sorted(pair for pair in parse_qsl(urlsplit(url).query) if pair[0] != "password")
        text += f"{without_password(url)} {options}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def without_password(url: str) -> str:
    """Return a store's URL for people: without its password and its options."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    plain = urlunsplit((parts.scheme, f"{user.partition(':')[0]}{at}{host}", parts.path, "", ""))
    # An empty host is left out of file:///… otherwise.
    return plain if parts.netloc else f"{parts.scheme}://{parts.path}"


@contextlib.asynccontextmanager
async def _opened(settings: Settings, clock: Clock) -> AsyncIterator[Half]:
    db = await open_database(settings.database_url, clock)
    try:
        async with opened_blocks(settings, clock) as store:
            name = f"{without_password(settings.database_url)} and {without_password(settings.blocks_url)}"
            yield Half(db, store, name, _place(settings))
    finally:
        await db.close()


@contextlib.asynccontextmanager
async def _workers() -> AsyncIterator[ThreadWorkers]:
    workers = ThreadWorkers()
    try:
        yield workers
    finally:
        workers.close()


_COMMANDS: dict[str, tuple[type[msgspec.Struct], Callable[..., Awaitable[dict[str, Any]]]]] = {
    "restore": (Restore, _restore),
    "backups": (Backups, _backups),
    "migrate": (Migrate, _migrate),
    "migrate.undo": (MigrateUndo, _undo),
}
COMMANDS = frozenset(_COMMANDS)
