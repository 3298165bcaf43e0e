"""Damage in a backup, keys and folders that do not fit: each is found or refused, and nothing wrong is restored."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from satchel.core.errors import (
    BlockDamaged,
    SettingInvalid,
    StorageFailed,
    VersionUnsupported,
)
from satchel.server.upkeep.backup.bundles import block_files
from satchel.server.upkeep.backup.marks import RESTORE, marks
from satchel.server.upkeep.backup.repository import Secret, open_repository
from tests.support.backups import (
    OPEN,
    SECRET,
    check,
    check_restored,
    files_of,
    fill,
    flip,
    opened_world,
    play,
    restore,
    take,
)


@pytest.mark.parametrize("secret", [SECRET, OPEN], ids=["encrypted", "open"])
def test_every_flipped_cut_or_added_byte_is_found(tmp_path: Path, secret: Secret) -> None:
    random_ = random.Random(4711)

    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old, 2)
            await take(old, tmp_path / "backup", secret=secret)
            await fill(old, 1)
            await take(old, tmp_path / "backup", secret=secret)
            files = files_of(tmp_path / "backup")
            assert {path.parts[-2] for path in files if path.suffix != ".names"} >= {"backups", "metadata"}
            assert (await check(old, tmp_path / "backup", secret=secret)).is_clean
            for path in files:
                size = path.stat().st_size
                for at in {0, 3, 20, 37, 40, size - 1, *(random_.randrange(size) for _ in range(4))}:
                    repair = flip(path, min(at, size - 1))
                    found = await check(old, tmp_path / "backup", secret=secret)
                    assert not found.is_clean, (path, at)
                    repair()
                data = path.read_bytes()
                for changed in (data[:-1], data + b"\0", data[: size // 2], b""):
                    path.write_bytes(changed)
                    assert not (await check(old, tmp_path / "backup", secret=secret)).is_clean, (path, len(changed))
                path.write_bytes(data)
            assert (await check(old, tmp_path / "backup", secret=secret)).is_clean

    play(scene())


def test_a_block_that_is_not_what_it_is_called_is_found_and_not_restored(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old, opened_world(tmp_path / "new") as new:
            await fill(old, 1)
            await take(old, tmp_path / "backup")
            # Sealed as it should be, by a machine whose memory was wrong.
            repository = open_repository(str(tmp_path / "backup"), SECRET, old.clock)
            (name,) = block_files(repository)
            parts = [part for part in repository.parts(name) if part is not None]
            with repository.writing(name) as sealer:
                for part in [parts[0][:-1] + bytes([parts[0][-1] ^ 1]), *parts[1:]]:
                    sealer.write(part)
            looked = await check(old, tmp_path / "backup")
            assert [one.missing for one in looked.backups] == [1]
            with pytest.raises(BlockDamaged, match="lacks 1 blocks"):
                await restore(new, tmp_path / "backup")

    play(scene())


def test_files_that_changed_places_are_found(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old)
            await take(old, tmp_path / "backup")
            await fill(old, 1)
            await take(old, tmp_path / "backup")
            for kind in ("backups", "metadata", "blocks"):
                one, other = [path for path in files_of(tmp_path / "backup" / kind) if path.suffix != ".names"][:2]
                ours, theirs = one.read_bytes(), other.read_bytes()
                one.write_bytes(theirs)
                other.write_bytes(ours)
                assert not (await check(old, tmp_path / "backup")).is_clean
                one.write_bytes(ours)
                other.write_bytes(theirs)
            assert (await check(old, tmp_path / "backup")).is_clean

    play(scene())


def test_a_lost_file_of_blocks_is_made_good_by_the_next_backup(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old)
            await take(old, tmp_path / "backup")
            blocks = [path for path in files_of(tmp_path / "backup" / "blocks") if path.suffix != ".names"]
            assert len(blocks) > 2
            os.unlink(f"{blocks[0]}.names")
            blocks[1].unlink()
            blocks[2].write_bytes(blocks[2].read_bytes()[:-40])
            assert not (await check(old, tmp_path / "backup", deep=False)).is_clean
            counts = await take(old, tmp_path / "backup")
            assert 0 < counts.copied_blocks < counts.blocks
            async with opened_world(tmp_path / "new") as new:
                await restore(new, tmp_path / "backup")
                await check_restored(old, new)

    play(scene())


def test_keys_and_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old, 1)
            await take(old, tmp_path / "closed")
            await take(old, tmp_path / "open", secret=OPEN)
            wrong = Secret("five words that somebody guesses", SECRET.cost)
            with pytest.raises(SettingInvalid, match="The passphrase is wrong"):
                await take(old, tmp_path / "closed", secret=wrong)
            with pytest.raises(SettingInvalid, match="is encrypted"):
                await check(old, tmp_path / "closed", secret=OPEN)
            with pytest.raises(SettingInvalid, match="not encrypted"):
                await take(old, tmp_path / "open")
            with pytest.raises(SettingInvalid, match="No backups"):
                await check(old, tmp_path / "nothing")
            (tmp_path / "full").mkdir()
            (tmp_path / "full" / "letter.txt").write_text("mine")
            with pytest.raises(SettingInvalid, match="folder of its own"):
                await take(old, tmp_path / "full")
            # One of the two key files is enough, and the next backup writes the other one anew.
            (tmp_path / "closed" / "keys.json").write_text("{}")
            assert not (await check(old, tmp_path / "closed")).is_clean
            await take(old, tmp_path / "closed")
            assert (await check(old, tmp_path / "closed")).is_clean
            for name in ("keys.json", "keys-copy.json"):
                (tmp_path / "closed" / name).unlink()
            with pytest.raises(StorageFailed, match="key files"):
                await take(old, tmp_path / "closed")
            assert b"memory_kib" in (tmp_path / "open" / "keys.json").read_bytes()

    play(scene())


def test_nothing_of_people_is_readable_in_an_encrypted_backup(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            owner = await old.owner()
            text = b"a letter that nobody else is to read, in words that are easily found again " * 3
            await old.save(owner, None, text)
            await take(old, tmp_path / "closed")
            ((name,),) = await old.rows("SELECT name FROM accounts")
            stored = [path.read_bytes() for path in files_of(tmp_path / "closed")]
            assert not any(text[:30] in data or name.encode() in data for data in stored)
            assert all(
                path.stat().st_mode & 0o077 == 0 for path in [tmp_path / "closed", *files_of(tmp_path / "closed")]
            )

    play(scene())


def test_a_backup_of_another_schema_is_refused_with_its_version(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old, opened_world(tmp_path / "new") as new:
            await fill(old, 1)
            await take(old, tmp_path / "backup")
            await new.execute("INSERT INTO schema_migrations VALUES (9999, 'later', $1, 0)", b"x")
            with pytest.raises(VersionUnsupported, match="restore it with that one"):
                await restore(new, tmp_path / "backup")
            assert RESTORE not in await marks(new.db)

    play(scene())
