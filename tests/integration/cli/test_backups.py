"""`satchel admin backup|backups|verify-backup|restore|migrate-store`, as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from satchel.cli import exit_codes
from satchel.cli.main import main
from satchel.server.adapters.machine import MachineClock, ThreadWorkers
from satchel.server.admin import Admin, answering, own_folders, run_admin
from satchel.server.settings import load_settings
from tests.support.backups import fill, flip, opened_world, play

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with files in it."""
    monkeypatch.delenv("SATCHEL_BACKUP_PASSPHRASE", raising=False)
    (tmp_path / "passphrase").write_text(f"{PASSPHRASE}\n")

    async def scene() -> None:
        async with opened_world(tmp_path / "data") as world:
            await fill(world, 1)

    play(scene())
    return tmp_path / "data"


def test_backup_list_verify_and_restore(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backup, secret = str(tmp_path / "backup"), ("--passphrase-file", str(tmp_path / "passphrase"))
    assert main(["admin", "backup", backup, *secret, "--data", str(data)]) == exit_codes.OK
    told = capsys.readouterr().out
    assert "copied now" in told and "encrypted  " in told and " yes" in told and PASSPHRASE not in told
    assert main(["--json", "admin", "backups", backup, *secret]) == exit_codes.OK
    (listed,) = json.loads(capsys.readouterr().out)["backups"]
    assert (listed["versions"], listed["is_whole"]) == (4, True)
    assert main(["admin", "verify-backup", backup, *secret]) == exit_codes.OK
    assert "whole" in capsys.readouterr().out
    restored = ("--data", str(tmp_path / "restored"))
    assert main(["admin", "restore", backup, *secret, "--at", "2h ago", *restored]) == exit_codes.SETTING
    assert main(["admin", "restore", backup, *secret, *restored]) == exit_codes.OK
    assert "all in order" in capsys.readouterr().out
    assert main(["admin", "restore", backup, *secret, *restored]) == exit_codes.SETTING
    assert "not empty" in capsys.readouterr().err
    assert main(["admin", "user", "list", *restored]) == exit_codes.OK
    (path,) = (tmp_path / "backup" / "metadata").iterdir()
    flip(path, 200)
    assert main(["admin", "backups", backup, "--verify", *secret]) == exit_codes.DAMAGED
    assert "does not open" in capsys.readouterr().out


def test_a_passphrase_is_asked_for_where_it_can_be(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--data", str(data))
    assert main(["admin", "backup", str(tmp_path / "one"), *where]) == exit_codes.SETTING
    assert "--no-encryption" in capsys.readouterr().err
    monkeypatch.setenv("SATCHEL_BACKUP_PASSPHRASE", "short")
    assert main(["admin", "backup", str(tmp_path / "one"), *where]) == exit_codes.SETTING
    monkeypatch.setenv("SATCHEL_BACKUP_PASSPHRASE", PASSPHRASE)
    assert main(["admin", "backup", str(tmp_path / "one"), *where]) == exit_codes.OK
    monkeypatch.setenv("SATCHEL_BACKUP_PASSPHRASE", "another passphrase")
    capsys.readouterr()
    assert main(["admin", "backup", str(tmp_path / "one"), *where]) == exit_codes.SETTING
    assert "The passphrase is wrong" in capsys.readouterr().err
    assert main(["admin", "backup", str(tmp_path / "open"), "--no-encryption", *where]) == exit_codes.OK
    assert main(["admin", "backups", str(tmp_path / "open"), "--no-encryption"]) == exit_codes.OK
    for inside in (data / "backup", data, data / "blocks" / "x"):
        assert main(["admin", "backup", str(inside), "--no-encryption", *where]) == exit_codes.SETTING
    assert "best on another disk" in capsys.readouterr().err


def test_a_damaged_store_ends_with_its_own_code(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = next(path for path in (data / "blocks").rglob("*") if path.is_file())
    flip(pack, 100)
    where = ("--data", str(data))
    assert main(["admin", "backup", str(tmp_path / "b"), "--no-encryption", *where]) == exit_codes.DAMAGED
    shown = capsys.readouterr()
    assert "lacks 1 blocks" in shown.err and "Damaged in the store" in shown.out
    target = ("--data", str(tmp_path / "restored"))
    assert main(["admin", "restore", str(tmp_path / "b"), "--no-encryption", *target]) == exit_codes.DAMAGED
    assert "--partial" in capsys.readouterr().err
    assert main(["admin", "user", "list", *target]) == exit_codes.SETTING
    assert "admin restore" in capsys.readouterr().err
    assert (
        main(["admin", "restore", str(tmp_path / "b"), "--no-encryption", "--partial", *target]) == exit_codes.DAMAGED
    )
    assert main(["admin", "user", "list", *target]) == exit_codes.OK


def test_a_store_moves_and_says_what_to_change(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    urls = (
        *("--database-url", f"sqlite:///{tmp_path}/new/metadata.db"),
        *("--blocks-url", f"file://{tmp_path}/new/blocks"),
    )
    where = ("--data", str(data))
    assert main(["admin", "migrate-store", *urls[:2], *where]) == exit_codes.SETTING
    assert main(["admin", "migrate-store", *urls, *where]) == exit_codes.OK
    told = capsys.readouterr().out
    assert f"SATCHEL_DATABASE_URL=sqlite:///{tmp_path}/new/metadata.db" in told
    assert f"SATCHEL_BLOCKS_URL=file://{tmp_path}/new/blocks" in told and "SECRETS_KEY" not in told
    # In a process of its own: a server takes over the logs of the one it runs in.
    command = [sys.executable, "-m", "satchel.cli.main", "serve", "--listen", "127.0.0.1:0", *where]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == exit_codes.SETTING and "--undo" in ran.stderr
    assert main(["admin", "migrate-store", "--undo", *where]) == exit_codes.OK
    assert main(["admin", "user", "list", *where]) == exit_codes.OK
    assert main(["admin", "user", "list", "--data", str(tmp_path / "new")]) == exit_codes.OK


def test_the_key_that_seals_secrets_comes_back_with_a_backup_and_is_never_shown(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key, other = "5a" * 32, "6b" * 32
    (data / "secrets.key").write_text(f"{key}\n")
    backup, secret = str(tmp_path / "backup"), ("--passphrase-file", str(tmp_path / "passphrase"))
    assert main(["admin", "backup", backup, *secret, "--data", str(data)]) == exit_codes.OK
    assert main(["--json", "admin", "backups", backup, *secret]) == exit_codes.OK
    assert main(["admin", "restore", backup, *secret, "--data", str(tmp_path / "empty")]) == exit_codes.OK
    told = capsys.readouterr()
    assert "key of secrets" in told.out and key not in told.out + told.err
    kept = tmp_path / "empty" / "secrets.key"
    assert kept.read_text().strip() == key and kept.stat().st_mode & 0o077 == 0
    # A server that had been started there for a moment has made a key of its own.
    (tmp_path / "tried").mkdir()
    (tmp_path / "tried" / "secrets.key").write_text(other)
    assert main(["admin", "restore", backup, *secret, "--data", str(tmp_path / "tried")]) == exit_codes.OK
    assert (tmp_path / "tried" / "secrets.key").read_text().strip() == key
    assert (tmp_path / "tried" / "secrets.key.earlier").read_text() == other
    capsys.readouterr()
    monkeypatch.setenv("SATCHEL_SECRETS_KEY", other)
    assert main(["admin", "restore", backup, *secret, "--data", str(tmp_path / "set")]) == exit_codes.OK
    told = capsys.readouterr()
    assert f'SATCHEL_SECRETS_KEY="$(cat {tmp_path}/set/secrets.key)"' in told.err and key not in told.out + told.err
    monkeypatch.setenv("SATCHEL_SECRETS_KEY", key)
    assert main(["admin", "restore", backup, *secret, "--data", str(tmp_path / "same")]) == exit_codes.OK
    assert not (tmp_path / "same" / "secrets.key").exists()


def test_a_backup_that_anybody_can_read_holds_no_key(data: Path, tmp_path: Path) -> None:
    key = "5a" * 32
    (data / "secrets.key").write_text(f"{key}\n")
    backup = tmp_path / "open"
    assert main(["admin", "backup", str(backup), "--no-encryption", "--data", str(data)]) == exit_codes.OK
    assert not any(key.encode() in path.read_bytes() for path in backup.rglob("*") if path.is_file())
    target = tmp_path / "restored"
    assert main(["admin", "restore", str(backup), "--no-encryption", "--data", str(target)]) == exit_codes.OK
    assert not (target / "secrets.key").exists()


def test_a_running_server_takes_the_backup_and_is_not_restored_into(data: Path, tmp_path: Path) -> None:
    settings = load_settings({"data": str(data)})

    async def scene() -> None:
        told: list[tuple[str, int]] = []
        async with opened_world(data) as world:
            admin = Admin(world.db, MachineClock(), lambda: None, world.store, ThreadWorkers(), own_folders(settings))
            async with answering(settings.admin_socket, admin):
                args = {"folder": str(tmp_path / "backup"), "passphrase": PASSPHRASE}
                made = await run_admin(settings, "backup", args, lambda what, done: told.append((what, done)))
                assert isinstance(made, dict) and (made["damaged"], made["versions"]) == (0, 4)
                again = await run_admin(settings, "backup", args)
                assert isinstance(again, dict) and again["copied_blocks"] == 0

    play(scene())
