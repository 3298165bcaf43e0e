"""Truly damaged index files are set aside; whole ones are left alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from satchel.core.errors import IndexDamaged, StorageFailed
from satchel.core.ids import Nid, NodeId
from satchel.device.index.beside import viewing
from satchel.device.index.damage import (
    CHECK_EVERY_MS,
    CHECKED_NAME,
    CLOSED_NAME,
    DAMAGED_NAME,
    FILE_NAME,
    NOTICE,
    NOTICE_MS,
    SUSPECT_NAME,
    closed,
    notice,
    ready,
    suspecting,
)
from satchel.device.index.store import Index
from tests.support.still_clock import StillClock

ROWS = 3_000
PAGE = 4_096


def header(raw: bytearray) -> None:
    raw[:100] = b"\x55" * 100


def middle(raw: bytearray) -> None:
    at = len(raw) // 2 // PAGE * PAGE
    raw[at : at + 8 * PAGE] = bytes(range(256)) * (8 * PAGE // 256)


def truncated(raw: bytearray) -> None:
    del raw[len(raw) // 3 :]


def emptied(raw: bytearray) -> None:
    raw.clear()


def foreign(raw: bytearray) -> None:
    raw[:] = b"this is no database at all\n" * 1_000


DAMAGES = [header, middle, truncated, emptied, foreign]


def filled(folder: Path) -> Path:
    """Make an index with rows and return its file."""
    path = folder / FILE_NAME
    index = Index(str(path))
    with index.transaction():
        index.put("run", 7)
        for number in range(ROWS):
            index.add(NodeId(number.to_bytes(16, "big")))
    index.close()
    return path


def damage(path: Path, how: Callable[[bytearray], None]) -> bytes:
    raw = bytearray(path.read_bytes())
    how(raw)
    path.write_bytes(raw)
    return bytes(raw)


def count(path: Path) -> int:
    connection = apsw.Connection(str(path))
    (rows,) = next(iter(connection.execute("SELECT COUNT(*) FROM nodes")))
    connection.close()
    return int(rows)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_index_is_set_aside_and_a_new_one_takes_its_place(
    tmp_path: Path, how: Callable[[bytearray], None]
) -> None:
    raw = damage(filled(tmp_path), how)
    clock = StillClock()
    assert not ready(tmp_path, clock)
    assert (tmp_path / DAMAGED_NAME).read_bytes() == raw
    assert count(tmp_path / FILE_NAME) == 0
    assert ready(tmp_path, clock)
    index = Index(str(tmp_path / FILE_NAME))
    run = index.get("run")
    assert isinstance(run, int) and run > 1_000_000
    assert notice(index, clock.now_ns() // 1_000_000) == NOTICE
    assert notice(index, clock.now_ns() // 1_000_000 + NOTICE_MS) == ""
    index.close()


def looked_at(folder: Path, clock: StillClock) -> bool:
    """Make the index ready. Result: whether all of it was read for that."""
    before = clock.now_ns()
    clock.wall_ns += 1_000_000
    assert ready(folder, clock)
    return (folder / CHECKED_NAME).stat().st_mtime_ns > before


def test_what_was_closed_whole_is_read_again_after_a_week_a_change_or_a_new_start_of_the_machine(
    tmp_path: Path,
) -> None:
    path, clock = filled(tmp_path), StillClock()
    assert looked_at(tmp_path, clock), "the first time"
    closed(tmp_path, clock)
    assert not looked_at(tmp_path, clock)
    assert looked_at(tmp_path, clock), "it was opened, and nobody said that it was closed"
    closed(tmp_path, clock)
    clock.boots += 1
    assert looked_at(tmp_path, clock), "the machine was started anew"
    closed(tmp_path, clock)
    clock.wall_ns += CHECK_EVERY_MS * 1_000_000
    assert looked_at(tmp_path, clock), "a week went by"
    closed(tmp_path, clock)
    raw = damage(path, middle)
    assert not ready(tmp_path, clock), "it was changed"
    assert (tmp_path / DAMAGED_NAME).read_bytes() == raw


def test_a_copy_put_back_is_read_whatever_was_said_of_the_one_before(tmp_path: Path) -> None:
    path, clock = filled(tmp_path), StillClock()
    assert looked_at(tmp_path, clock)
    closed(tmp_path, clock)
    stat = path.stat()
    raw = bytearray(path.read_bytes())
    middle(raw)
    path.unlink()
    path.write_bytes(raw)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not ready(tmp_path, clock)


def test_an_index_with_a_log_was_not_closed(tmp_path: Path) -> None:
    filled(tmp_path)
    clock = StillClock()
    index = Index(str(tmp_path / FILE_NAME))
    with index.transaction():
        index.add(NodeId(b"n" * 16))
    assert looked_at(tmp_path, clock)
    closed(tmp_path, clock)
    assert not (tmp_path / CLOSED_NAME).exists()
    index.close()


def test_a_whole_index_is_left_as_it_is(tmp_path: Path) -> None:
    assert ready(tmp_path, StillClock())
    path = filled(tmp_path)
    before = path.read_bytes()
    assert ready(tmp_path, StillClock())
    assert path.read_bytes() == before
    index = Index(str(path))
    assert notice(index, StillClock().now_ns() // 1_000_000) == ""
    index.close()


def test_what_only_the_log_holds_is_not_lost_by_the_look(tmp_path: Path) -> None:
    index = Index(str(tmp_path / FILE_NAME))
    with index.transaction():
        index.add(NodeId(b"n" * 16))
    image = {part.name: part.read_bytes() for part in tmp_path.iterdir()}
    index.close()
    for name, raw in image.items():
        (tmp_path / name).write_bytes(raw)
    assert ready(tmp_path, StillClock())
    assert count(tmp_path / FILE_NAME) == 1


def test_a_log_of_the_damaged_index_does_not_come_into_the_new_one(tmp_path: Path) -> None:
    index = Index(str(tmp_path / FILE_NAME))
    with index.transaction():
        index.add(NodeId(b"n" * 16))
    image = {part.name: part.read_bytes() for part in tmp_path.iterdir()}
    index.close()
    for name, raw in image.items():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / SUSPECT_NAME).touch()
    assert not ready(tmp_path, StillClock())
    assert count(tmp_path / FILE_NAME) == 0
    assert not (tmp_path / SUSPECT_NAME).exists()


def test_only_the_last_damaged_index_is_kept(tmp_path: Path) -> None:
    for how in (header, foreign):
        raw = damage(filled(tmp_path), how)
        assert not ready(tmp_path, StillClock())
    assert (tmp_path / DAMAGED_NAME).read_bytes() == raw
    assert sorted(path.name for path in tmp_path.iterdir()) == [DAMAGED_NAME, FILE_NAME]


def test_damage_that_shows_only_at_work_is_set_aside_at_the_next_opening(tmp_path: Path) -> None:
    path = filled(tmp_path)
    index = Index(str(path))
    damage(path, middle)
    # What was read already would be believed for as long as it is at hand.
    index.connection.execute("PRAGMA shrink_memory")
    with pytest.raises(IndexDamaged), suspecting(tmp_path), index.transaction():
        index.connection.execute("SELECT COUNT(*), MAX(node_id) FROM nodes NOT INDEXED").fetchall()
    index.close()
    assert not ready(tmp_path, StillClock())


def test_a_fault_of_a_task_group_tells_damage_too_and_others_do_not(tmp_path: Path) -> None:
    with pytest.raises(IndexDamaged), suspecting(tmp_path):
        raise ExceptionGroup("work", [ValueError(), apsw.CorruptError("malformed")])
    (tmp_path / SUSPECT_NAME).unlink()
    with pytest.raises(ValueError), suspecting(tmp_path):
        raise ValueError
    assert not (tmp_path / SUSPECT_NAME).exists()


def test_an_index_that_cannot_be_read_now_is_not_taken_for_damaged(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StorageFailed):
        ready(tmp_path, StillClock())
    assert (tmp_path / FILE_NAME).is_dir()


@pytest.mark.parametrize("how", [header, middle, truncated])
def test_a_command_that_reads_a_damaged_index_says_so(tmp_path: Path, how: Callable[[bytearray], None]) -> None:
    damage(filled(tmp_path), how)
    with pytest.raises(IndexDamaged), viewing(tmp_path) as view:
        for nid in range(1, ROWS + 1):
            view.row(Nid(nid))
