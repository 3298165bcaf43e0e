"""Sparse files on a real disk: equal bytes, and holes where zeros stand for long."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from satchel.core.errors import FileChanging
from satchel.core.limits import KIB, MIB
from satchel.device.disk import LocalDisk
from satchel.device.disk_files import HOLE_BYTES
from satchel.device.drive import drive
from satchel.device.ports import DiskPath, StagedFile

TARGET = DiskPath(b"target")


class FolderDisk(LocalDisk):
    """The disk of a new linked folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        LocalDisk.initialise(os.fsencode(folder))
        super().__init__(os.fsencode(folder), free_bytes_min=0)


@pytest.fixture
def disk(tmp_path: Path) -> FolderDisk:
    return FolderDisk(tmp_path / "root")


def placed(disk: FolderDisk, staged: StagedFile) -> Path:
    """Finish the staged file, put it at its place and return that."""
    drive(staged.finish(mtime_ns=1, is_executable=False))
    drive(disk.place_staged(staged.name, TARGET))
    return disk.folder / "target"


def written(disk: FolderDisk, *pieces: bytes) -> Path:
    staged = drive(disk.stage())
    for piece in pieces:
        drive(staged.write(piece))
    return placed(disk, staged)


def disk_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


def source(disk: FolderDisk, size: int, *islands: tuple[int, bytes]) -> Path:
    """Make a sparse file in the linked folder: the islands are its content, all else is holes."""
    path = disk.folder / "source"
    with path.open("wb") as file:
        file.truncate(size)
        for at, data in islands:
            file.seek(at)
            file.write(data)
    return path


def test_long_zeros_take_no_room_and_are_read_as_zeros(disk: FolderDisk) -> None:
    pieces = [b"head", bytes(8 * MIB), b"middle", bytes(8 * MIB), b"tail"]
    path = written(disk, *pieces)
    assert path.read_bytes() == b"".join(pieces)
    assert disk_bytes(path) < 1 * MIB


@pytest.mark.parametrize("size", [HOLE_BYTES, 4 * MIB, 4 * MIB + 1])
def test_a_file_of_nothing_but_zeros_has_its_length(disk: FolderDisk, size: int) -> None:
    path = written(disk, bytes(size))
    assert path.stat().st_size == size
    assert not any(path.read_bytes())
    assert disk_bytes(path) < HOLE_BYTES


def test_short_zeros_are_written_as_they_are(disk: FolderDisk) -> None:
    data = b"x" + bytes(HOLE_BYTES - 1)
    path = written(disk, data * 16)
    assert path.read_bytes() == data * 16
    assert disk_bytes(path) >= 16 * HOLE_BYTES


def test_a_hole_at_the_end_is_there_for_the_look_before_the_file_is_finished(disk: FolderDisk) -> None:
    staged = drive(disk.stage())
    drive(staged.write(b"head"))
    drive(staged.write(bytes(1 * MIB)))
    assert drive(staged.read(0, 2 * MIB)) == b"head" + bytes(1 * MIB)
    drive(staged.discard())


def test_any_pieces_with_zeros_anywhere_are_what_was_written(disk: FolderDisk) -> None:
    rng = random.Random(5)
    for _ in range(60):
        pieces = []
        for _ in range(rng.randrange(1, 8)):
            length = rng.choice([1, 4_095, HOLE_BYTES - 1, HOLE_BYTES, HOLE_BYTES + 1, 300_000])
            pieces.append(bytes(length) if rng.random() < 0.6 else rng.randbytes(length))
        path = written(disk, *pieces)
        assert path.read_bytes() == b"".join(pieces)
        path.unlink()


def test_a_range_of_a_sparse_file_is_copied_with_its_holes(disk: FolderDisk) -> None:
    path = source(disk, 32 * MIB, (0, b"begin"), (16 * MIB + 17, b"middle" * 1_000), (32 * MIB - 3, b"end"))
    file = drive(disk.open_file(DiskPath(b"source")))
    staged = drive(disk.stage())
    drive(staged.write(b"new head"))
    drive(staged.copy_from(file, 0, 32 * MIB))
    drive(staged.copy_from(file, 20 * MIB, 4 * MIB))
    drive(file.close())
    made = placed(disk, staged)
    assert made.read_bytes() == b"new head" + path.read_bytes() + bytes(4 * MIB)
    assert disk_bytes(made) < 1 * MIB


def test_a_range_past_the_end_of_a_sparse_file_is_no_hole(disk: FolderDisk) -> None:
    source(disk, 1 * MIB, (0, b"begin"))
    file = drive(disk.open_file(DiskPath(b"source")))
    staged = drive(disk.stage())
    with pytest.raises(FileChanging):
        drive(staged.copy_from(file, 512 * KIB, 1 * MIB))
    drive(file.close())
    drive(staged.discard())


def test_a_staged_file_that_is_opened_again_goes_on_behind_its_hole(disk: FolderDisk) -> None:
    staged = drive(disk.stage())
    drive(staged.write(b"head" + bytes(1 * MIB)))
    drive(staged.close())
    again = drive(disk.open_staged(staged.name))
    drive(again.write(b"tail"))
    assert placed(disk, again).read_bytes() == b"head" + bytes(1 * MIB) + b"tail"
