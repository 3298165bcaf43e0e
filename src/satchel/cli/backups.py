"""`satchel admin backup|backups|verify-backup|restore|migrate-store`. Invariant: a passphrase comes from a file, the
environment or a prompt, never from the arguments; what is lost is said in numbers, and decides the exit code.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from satchel.cli import output
from satchel.cli.administering import Config, Data, administer, server_settings
from satchel.cli.settings import backup_passphrase
from satchel.core.errors import BlockDamaged, Fault, SettingInvalid

PASSPHRASE_CHARS_MIN = 12
PASSPHRASE_BYTES_MAX = 4_096
HASHES_SHOWN_MAX = 10

PassphraseFile = Annotated[
    str | None, typer.Option("--passphrase-file", help="File whose first line is the passphrase.")
]
NoEncryption = Annotated[bool, typer.Option("--no-encryption", help="Store the backup readable for everybody.")]
Source = Annotated[str, typer.Argument(help="The folder that holds the backups.")]
Partial = Annotated[bool, typer.Option("--partial", help="End it although blocks are missing.")]


def register(admin: typer.Typer) -> None:
    """Add the commands of this file."""
    # The whole program may be put together more than once in a process.
    if not any(command.callback is backup for command in admin.registered_commands):
        for command in (backup, backups, restore):
            admin.command()(command)
        admin.command("verify-backup")(verify_backup)
        admin.command("migrate-store")(migrate_store)


def backup(
    dest: Annotated[str, typer.Argument(help="A folder for backups, best on another disk; made when missing.")],
    passphrase_file: PassphraseFile = None,
    no_encryption: NoEncryption = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Back everything up, beside a running server or without one; only new blocks are copied."""
    folder = os.path.abspath(dest)
    passphrase = _passphrase(passphrase_file, no_encryption=no_encryption, is_new=not _has_keys(folder))
    arguments: dict[str, object] = {"folder": folder, "passphrase": passphrase, "no_encryption": no_encryption}
    told = _told(administer(server_settings({"data": data}, config), "backup", arguments))
    output.give(told, text="" if output.mode.quiet else lambda: _backup_text(told))
    if damaged := _number(told, "damaged"):
        raise BlockDamaged(
            f"The backup is there, but lacks {damaged:,} blocks that the store cannot read.", damaged=damaged
        )


def backups(
    dest: Source,
    verify: Annotated[bool, typer.Option("--verify", help="Read everything, as verify-backup does.")] = False,
    passphrase_file: PassphraseFile = None,
    no_encryption: NoEncryption = False,
) -> None:
    """List the backups of a folder."""
    _look(dest, passphrase_file, no_encryption=no_encryption, deep=verify)


def verify_backup(
    dest: Source,
    passphrase_file: PassphraseFile = None,
    no_encryption: NoEncryption = False,
) -> None:
    """Read all backups of a folder and say what is wrong with them."""
    _look(dest, passphrase_file, no_encryption=no_encryption, deep=True)


def restore(
    src: Source,
    at: Annotated[str, typer.Option("--at", help="The newest not after: 2026-11-22 14:30, or 2d ago.")] = "",
    partial: Partial = False,
    passphrase_file: PassphraseFile = None,
    no_encryption: NoEncryption = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Restore a backup into an empty store, with the server stopped; run again, it goes on."""
    from satchel.cli.times import parse_time_ms

    passphrase = _passphrase(passphrase_file, no_encryption=no_encryption, is_new=False)
    arguments: dict[str, object] = {
        "folder": os.path.abspath(src),
        "passphrase": passphrase,
        "at_ms": parse_time_ms(at) if at else None,
        "partial": partial,
    }
    told = _told(administer(server_settings({"data": data}, config), "restore", arguments))
    output.give(told, text="" if output.mode.quiet else lambda: _restore_text(told))
    if not told["is_clean"]:
        raise Fault("The restored store is not in order; run 'satchel admin fsck' and see what was found.")
    if lost := _number(told, "lost_blocks"):
        versions = _number(told, "lost_versions")
        raise BlockDamaged(f"{lost:,} blocks are missing, which {versions:,} versions name.", lost=lost)


def migrate_store(
    database_url: Annotated[str, typer.Option("--database-url", help="The new database, empty.")] = "",
    blocks_url: Annotated[str, typer.Option("--blocks-url", help="The new place of blocks, empty.")] = "",
    partial: Partial = False,
    undo: Annotated[bool, typer.Option("--undo", help="Use the old store again after all.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Copy the store into another one, with the server stopped; run again, it goes on."""
    settings = server_settings({"data": data}, config)
    if undo:
        told = _told(administer(settings, "migrate.undo", {}))
        text = f"This store may be served again. Do not serve {told['target']} any more: the two would drift apart."
        output.give(told, text="" if output.mode.quiet else text)
        return
    if not (database_url and blocks_url):
        raise SettingInvalid(
            "A store is a database and a place of blocks.",
            setting="database_url" if blocks_url else "blocks_url",
            reason="name both, --database-url and --blocks-url",
        )
    arguments: dict[str, object] = {"database_url": database_url, "blocks_url": blocks_url, "partial": partial}
    told = _told(administer(settings, "migrate", arguments))
    output.give(told, text="" if output.mode.quiet else lambda: _move_text(told))
    if damaged := _number(told, "damaged"):
        raise BlockDamaged(f"{damaged:,} blocks could not be read from the old store.", damaged=damaged)


def _look(dest: str, passphrase_file: str | None, *, no_encryption: bool, deep: bool) -> None:
    passphrase = _passphrase(passphrase_file, no_encryption=no_encryption, is_new=False)
    arguments: dict[str, object] = {"folder": os.path.abspath(dest), "passphrase": passphrase, "deep": deep}
    told = _told(administer(server_settings({}), "backups", arguments))
    output.give(told, text=lambda: _backups_text(told, deep=deep))
    if not told["is_clean"]:
        raise BlockDamaged("Not all is whole in this folder; see above.", folder=dest)


def _passphrase(file: str | None, *, no_encryption: bool, is_new: bool) -> str | None:
    """Return the passphrase, None where encryption is refused. Raises: SettingInvalid."""
    if no_encryption:
        if file:
            raise SettingInvalid("A passphrase and --no-encryption.", setting="passphrase", reason="say one of both")
        return None
    if file:
        passphrase = _first_line(file)
    elif not (passphrase := backup_passphrase()):
        passphrase = _asked(is_new=is_new)
    if not passphrase or len(passphrase.encode()) > PASSPHRASE_BYTES_MAX:
        raise SettingInvalid("The passphrase is empty or too long.", setting="passphrase", reason="1 to 4,096 bytes")
    if is_new and len(passphrase) < PASSPHRASE_CHARS_MIN:
        raise SettingInvalid(
            "The passphrase is short enough to be guessed by trying.",
            setting="passphrase",
            reason=f"at least {PASSPHRASE_CHARS_MIN} characters; five random words are good",
        )
    return passphrase


def _asked(*, is_new: bool) -> str:
    if not sys.stdin.isatty():
        raise SettingInvalid(
            "No passphrase, and no terminal to ask for it on.",
            setting="passphrase",
            reason="name it with --passphrase-file or SATCHEL_BACKUP_PASSPHRASE, or say --no-encryption",
        )
    if is_new:
        output.note("Choose a passphrase for this backup. Without it nothing can be restored: keep it elsewhere.")
    passphrase = output.read_password(from_stdin=False, prompt="Passphrase: ")
    if is_new and output.read_password(from_stdin=False, prompt="Once more: ") != passphrase:
        raise Fault("The two passphrases differ; nothing was done.")
    return passphrase


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline(PASSPHRASE_BYTES_MAX + 2).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingInvalid("The passphrase file cannot be read.", setting="passphrase", reason=str(error)) from error


def _has_keys(folder: str) -> bool:
    from satchel.server.upkeep.backup.repository import is_repository

    return is_repository(folder)


def _told(told: object) -> Mapping[str, object]:
    assert isinstance(told, dict)
    return told


def _number(told: Mapping[str, object], name: str) -> int:
    return int(str(told[name]))


def _size(told: Mapping[str, object], name: str) -> str:
    return output.size_text(_number(told, name))


def _backup_text(told: Mapping[str, object]) -> str:
    rows = [
        ("taken", output.time_text(_number(told, "created_ms"))),
        ("files", f"{_number(told, 'files'):,}"),
        ("versions", f"{_number(told, 'versions'):,}"),
        ("blocks", f"{_number(told, 'blocks'):,} ({_size(told, 'stored_bytes')})"),
        ("copied now", f"{_number(told, 'copied_blocks'):,} ({_size(told, 'copied_bytes')})"),
        ("encrypted", "yes" if told["encrypted"] else "no"),
    ]
    hashes = told["damaged_hashes"]
    assert isinstance(hashes, list)
    lines = [f"Damaged in the store: {name}" for name in hashes[:HASHES_SHOWN_MAX]]
    return "\n".join([output.table(("BACKUP", ""), rows, right=(1,)), *lines])


def _backups_text(told: Mapping[str, object], *, deep: bool) -> str:
    found, problems = told["backups"], told["problems"]
    assert isinstance(found, list) and isinstance(problems, list)
    rows = [
        (
            output.time_text(one["created_ms"]),
            f"{one['files']:,}",
            f"{one['versions']:,}",
            output.size_text(one["stored_bytes"]),
            "whole" if one["is_whole"] else one["problem"] or f"{one['missing']:,} blocks missing",
        )
        for one in found
    ]
    lines = [output.table(("TAKEN", "FILES", "VERSIONS", "BYTES", ""), rows, right=(1, 2, 3)) or "No backup yet."]
    lines += [f"{one['file']}: {one['what']}" for one in problems]
    if deep:
        lines.append(f"Read {_number(told, 'blocks'):,} blocks ({_size(told, 'stored_bytes')}).")
    return "\n".join(lines)


_KEY_TEXT = {"none": "not in this backup", "kept": "as it was", "written": "restored", "to be set": "see below"}


def _key_line(told: Mapping[str, object]) -> str:
    """Return the setting as a shell takes it: the key itself is not for a screen."""
    return f'SATCHEL_SECRETS_KEY="$(cat {shlex.quote(str(told["secrets_file"]))})"'


def _restore_text(told: Mapping[str, object]) -> str:
    found = told["found"]
    assert isinstance(found, dict)
    rows = [
        ("taken", output.time_text(_number(told, "created_ms"))),
        ("files", f"{_number(told, 'files'):,}"),
        ("versions", f"{_number(told, 'versions'):,}"),
        ("blocks", f"{_number(told, 'blocks'):,}"),
        ("key of secrets", _KEY_TEXT[str(told["secrets_key"])]),
        ("recount", "all in order" if told["is_clean"] else ", ".join(f"{kind}: {n}" for kind, n in found.items())),
    ]
    if told["secrets_key"] == "to be set":
        output.note(f"Codes of second factors need this setting: {_key_line(told)}")
    end = "Start the server now. Devices merge both sides; nothing is deleted on them."
    return output.table(("RESTORED", ""), rows, right=(1,)) + "\n" + end


def _move_text(told: Mapping[str, object]) -> str:
    rows = told["rows"]
    assert isinstance(rows, dict)
    return "\n".join(
        [
            f"Moved and compared: {sum(rows.values()):,} rows, {_number(told, 'blocks'):,} blocks"
            f" ({_size(told, 'stored_bytes')}).",
            "Change the settings, then start the server (passwords and options of the URLs as you gave them):",
            f"  SATCHEL_DATABASE_URL={told['database_url']}",
            f"  SATCHEL_BLOCKS_URL={told['blocks_url']}",
            *([f"  {_key_line(told)}"] if told["secrets_file"] else []),
            "The old store is as it was, but is not served any more. To go back: satchel admin migrate-store --undo",
        ]
    )
