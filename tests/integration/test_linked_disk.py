"""The real disk where the contract cannot reach: other threads and programs, lost roots, faults of the kernel, and the
volumes that lack the newer calls. Every wait is bounded by a count of tries."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import FileUnreadable, NotFound, RootMissing, StorageFailed, StorageFull
from satchel.device import disk_calls, disk_root
from satchel.device.applier import Applier
from satchel.device.clock import MachineClock
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.ports import ROOT_PATH, DiskPath
from satchel.device.tasks import Applied, ApplyTask, Changed, DiskResult, DiskTask, Failed, PlaceFile
from tests.support.disk_scenarios import MTIME_NS, NEW, NID, SCENARIOS, SYNCED, Scenario, new_file, stat_of
from tests.support.disk_users import RealUser

TRIES = 300


@pytest.fixture
def root() -> Iterator[bytes]:
    folder = tempfile.mkdtemp(prefix="satchel-", dir="/dev/shm")
    path = os.fsencode(folder) + b"/root"
    os.mkdir(path)
    LocalDisk.initialise(path)
    yield path
    shutil.rmtree(folder)


@pytest.fixture
def disk(root: bytes) -> LocalDisk:
    return LocalDisk(root, free_bytes_min=0)


def apply(disk: LocalDisk, *tasks: DiskTask) -> tuple[DiskResult, ...]:
    return drive(Applier(disk, MachineClock()).apply(ApplyTask(1, tasks))).results


# -- the root ---------------------------------------------------------------------------------------------------------


def test_linking_again_keeps_the_marker(root: bytes, disk: LocalDisk) -> None:
    before = drive(disk.check_root())
    LocalDisk.initialise(root)
    assert drive(LocalDisk(root).check_root()) == before


def test_two_roots_have_two_markers(root: bytes, disk: LocalDisk) -> None:
    os.mkdir(root + b"-other")
    LocalDisk.initialise(root + b"-other")
    assert drive(LocalDisk(root + b"-other").check_root()).marker != drive(disk.check_root()).marker


def test_the_state_folder_is_the_owners_alone(root: bytes) -> None:
    for name in (b"", b"/staging", b"/trash"):
        assert stat.S_IMODE(os.stat(root + b"/.satchel" + name).st_mode) == 0o700


def test_a_missing_root_is_told_as_such_and_comes_back(root: bytes, disk: LocalDisk) -> None:
    before = drive(disk.check_root())
    os.rename(root, root + b"-unmounted")
    with pytest.raises(RootMissing):
        drive(disk.check_root())
    with pytest.raises(RootMissing):
        drive(disk.list_folder(ROOT_PATH))
    os.mkdir(root)
    with pytest.raises(RootMissing):
        drive(disk.check_root())
    os.rmdir(root)
    os.rename(root + b"-unmounted", root)
    assert drive(disk.check_root()) == before
    assert drive(disk.list_folder(ROOT_PATH)) == []


@pytest.mark.parametrize(
    "text", [b"", b"satchel-root 1\nnothex\n", b"satchel-root 2\n" + b"00" * 16, b"satchel-root 1\nab\n"]
)
def test_a_file_that_is_no_marker_is_none(root: bytes, disk: LocalDisk, text: bytes) -> None:
    Path(os.fsdecode(root + b"/.satchel/marker")).write_bytes(text)
    with pytest.raises(RootMissing):
        drive(disk.check_root())


def test_a_state_folder_that_is_a_symlink_is_not_entered(root: bytes, disk: LocalDisk) -> None:
    os.rename(root + b"/.satchel", root + b"-state")
    os.symlink(root + b"-state", root + b"/.satchel")
    with pytest.raises(RootMissing):
        drive(disk.check_root())


def test_handles_are_given_back(root: bytes) -> None:
    def opened() -> int:
        """Count the handles below this root: those of other tests' disks close when they are collected, at any time."""
        found = 0
        for handle in os.listdir("/proc/self/fd"):
            # The listing's own handle is closed by now.
            with contextlib.suppress(FileNotFoundError):
                found += os.readlink(f"/proc/self/fd/{handle}").startswith(os.fsdecode(root))
        return found

    disk = LocalDisk(root, free_bytes_min=0)
    drive(disk.check_root())
    before = opened()
    for number in range(20):
        apply(disk, new_file(b"file %d" % number), new_file(b"gone/file"), new_file(b".satchel/file"))
        drive(disk.check_root())
        with pytest.raises(NotFound):
            drive(disk.open_file(DiskPath(b"gone")))
    assert opened() == before
    del disk
    # A caught fault holds the frames it came through, and they the disk, until it is collected.
    gc.collect()
    assert opened() == 0 < before


def test_special_files_have_no_kind_and_are_not_opened(root: bytes, disk: LocalDisk) -> None:
    os.mkfifo(root + b"/pipe")
    (listed,) = drive(disk.list_folder(ROOT_PATH))
    assert listed.stat.kind is None
    assert stat_of(disk, b"pipe").kind is None
    with pytest.raises(FileUnreadable):
        drive(disk.open_file(DiskPath(b"pipe")))


# -- faults of the kernel ---------------------------------------------------------------------------------------------


def test_a_failed_fsync_is_never_tried_again(root: bytes, disk: LocalDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[int] = []

    def broken(handle: int) -> None:
        failed.append(os.fstat(handle).st_ino)
        raise OSError(errno.EIO, "the disk failed")

    RealUser(root).write_file(b"file", SYNCED)
    expected = stat_of(disk, b"file")
    monkeypatch.setattr(os, "fsync", broken)
    (result,) = apply(disk, new_file(b"file", expected))
    assert isinstance(result, Failed) and isinstance(result.fault, StorageFailed)
    assert len(failed) == 1
    assert RealUser(root).tree() == {b"file": SYNCED}
    assert drive(disk.list_staged()) == []


def test_a_staged_file_whose_fsync_failed_is_dropped(disk: LocalDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int) -> None:
        raise OSError(errno.EIO, "the disk failed")

    file = drive(disk.stage())
    drive(file.write(NEW))
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageFailed):
        drive(file.finish(mtime_ns=MTIME_NS, is_executable=False))
    assert drive(disk.list_staged()) == []


def test_below_the_floor_nothing_is_staged(root: bytes) -> None:
    disk = LocalDisk(root, free_bytes_min=1 << 60)
    with pytest.raises(StorageFull):
        drive(disk.stage())
    assert drive(disk.list_staged()) == []


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, StorageFailed),
        (errno.EROFS, StorageFailed),
        (errno.EACCES, FileUnreadable),
    ],
)
def test_an_error_of_the_disk_has_one_fault(number: int, fault: type[Exception]) -> None:
    with pytest.raises(fault), disk_calls.translating(b"file"):
        raise OSError(number, os.strerror(number))


def test_an_error_while_reading_is_the_files_own() -> None:
    with pytest.raises(FileUnreadable), disk_calls.translating(b"file", is_reading=True):
        raise OSError(errno.EIO, "unreadable sector")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one.name for one in SCENARIOS])
def test_without_exchange_and_no_replace_the_same_is_done(
    root: bytes, disk: LocalDisk, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network volume that answers EINVAL to every flag of renameat2."""

    def refused(source_folder: int, source: bytes, target_folder: int, target: bytes, flags: int) -> None:
        raise OSError(errno.EINVAL, "flags", source)

    user = RealUser(root)
    scenario.setup(user)
    task = scenario.build(disk)
    before = user.everything()
    monkeypatch.setattr(disk_calls, "rename", refused)
    (result,) = apply(disk, task)
    assert isinstance(result, Applied)
    assert user.tree() == scenario.done
    assert before <= user.everything()
    assert drive(disk.list_staged()) == []


def test_without_no_replace_a_taken_name_stays_taken(
    root: bytes, disk: LocalDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source_folder: int, source: bytes, target_folder: int, target: bytes, flags: int) -> None:
        raise OSError(errno.EINVAL, "flags", source)

    user = RealUser(root)
    user.write_file(b"file", SYNCED)
    user.make_folder(b"folder")
    monkeypatch.setattr(disk_calls, "rename", refused)
    results = apply(disk, new_file(b"file"), new_file(b"folder"))
    assert [type(one) for one in results] == [Changed, Changed]
    assert user.tree() == {b"file": SYNCED, b"folder": None}


# -- permissions ------------------------------------------------------------------------------------------------------


def test_a_private_file_stays_private_when_it_is_replaced(root: bytes, disk: LocalDisk) -> None:
    RealUser(root).write_file(b"file", SYNCED)
    os.chmod(root + b"/file", 0o600)
    (result,) = apply(disk, PlaceFile(NID, DiskPath(b"file"), "", NEW, MTIME_NS, True, stat_of(disk, b"file")))
    assert isinstance(result, Applied)
    assert stat.S_IMODE(os.stat(root + b"/file").st_mode) == 0o700
    assert result.stats[0] == stat_of(disk, b"file")


def test_new_files_have_the_ordinary_permissions(root: bytes, disk: LocalDisk) -> None:
    apply(disk, new_file(b"plain"), PlaceFile(NID, DiskPath(b"program"), "", NEW, MTIME_NS, True, None))
    plain, program = (stat.S_IMODE(os.stat(root + b"/" + name).st_mode) for name in (b"plain", b"program"))
    assert plain & 0o777 == plain & 0o644 and plain & 0o600 == 0o600
    assert program == plain | (plain & 0o444) >> 2


# -- other programs at the same time ----------------------------------------------------------------------------------


def test_a_folder_swapped_for_a_symlink_leads_nothing_outside(root: bytes, disk: LocalDisk) -> None:
    """An attacker with the user's rights exchanges a folder and a symlink to the outside, as fast as he can."""
    outside = root + b"-outside"
    os.mkdir(outside)
    Path(os.fsdecode(outside + b"/file")).write_bytes(b"not yours")
    RealUser(root).make_folder(b"folder")
    os.symlink(outside, root + b"/evil")
    stop = threading.Event()

    def swap() -> None:
        at = os.open(root, os.O_RDONLY)
        while not stop.is_set():
            disk_calls.rename(at, b"folder", at, b"evil", disk_calls.RENAME_EXCHANGE)
        os.close(at)

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        placed = refused = 0
        for number in range(TRIES):
            for tried in (disk, LocalDisk(root, free_bytes_min=0, is_openat2_used=False)):
                (result,) = apply(tried, new_file(b"folder/%d-%d" % (number, id(tried))))
                placed += isinstance(result, Applied)
                refused += not isinstance(result, Applied)
    finally:
        stop.set()
        attacker.join(timeout=30)
    assert placed + refused == 2 * TRIES
    assert os.listdir(outside) == [b"file"]
    assert Path(os.fsdecode(outside + b"/file")).read_bytes() == b"not yours"


def test_a_writer_in_the_gap_never_loses_a_saved_state(root: bytes, disk: LocalDisk) -> None:
    """A program saves new states of one file, by rename, while it is replaced again and again.

    Each state is the only copy of what it holds, so each must be found: at its place, kept beside it, or in the trash.
    """
    user = RealUser(root)
    user.write_file(b"file", b"state 0")
    states: list[bytes] = []
    stop = threading.Event()

    def save() -> None:
        number = 0
        while not stop.is_set() and number < 5_000:
            number += 1
            state = b"state %d" % number
            draft = root + b"-draft"
            with open(draft, "wb") as file:
                file.write(state)
            # Exchanged, so that what this program replaces is known to it and is not lost by its own act.
            at = os.open(os.path.dirname(root), os.O_RDONLY)
            disk_calls.rename(at, b"root-draft", at, b"root/file", disk_calls.RENAME_EXCHANGE)
            os.close(at)
            replaced = Path(os.fsdecode(draft)).read_bytes()
            states.append(state)
            if replaced in states:
                states.remove(replaced)

    writer = threading.Thread(target=save)
    writer.start()
    outcomes: list[type[object]] = []
    try:
        for number in range(TRIES):
            expected = stat_of(disk, b"file")
            content = b"from the service %d" % number
            task = PlaceFile(NID, DiskPath(b"file"), "", content, MTIME_NS, False, expected)
            (result,) = apply(disk, task)
            outcomes.append(type(result))
            assert isinstance(result, Applied | Changed)
    finally:
        stop.set()
        writer.join(timeout=30)
    assert not writer.is_alive()
    assert set(states) <= user.everything()
    assert drive(disk.list_staged()) == []


def test_several_threads_apply_batches_at_once(root: bytes, disk: LocalDisk) -> None:
    def batch(number: int) -> tuple[DiskResult, ...]:
        return apply(disk, *(new_file(b"%d-%d" % (number, each)) for each in range(50)))

    with ThreadPoolExecutor(4) as pool:
        results = [result for batch_results in pool.map(batch, range(8)) for result in batch_results]
    assert all(isinstance(result, Applied) for result in results)
    assert set(RealUser(root).tree().values()) == {NEW}
    assert len(RealUser(root).tree()) == 400
    assert drive(disk.list_staged()) == []


def test_a_late_writer_writes_into_the_trash_and_not_into_the_new_file(root: bytes, disk: LocalDisk) -> None:
    user = RealUser(root)
    user.write_file(b"file", SYNCED)
    writer = user.open_late(b"file")
    (result,) = apply(disk, new_file(b"file", stat_of(disk, b"file")))
    assert isinstance(result, Applied)
    writer.write(b"late")
    writer.close()
    assert user.tree() == {b"file": NEW}
    assert b"late" in user.everything()


# -- identity ---------------------------------------------------------------------------------------------------------


def test_the_volumes_identity_survives_a_new_handle(root: bytes) -> None:
    volumes = {drive(LocalDisk(root).check_root()) for _ in range(3)}
    assert len(volumes) == 1


def test_a_folder_of_another_volume_is_foreign(root: bytes, disk: LocalDisk) -> None:
    assert disk_calls.listed_stat(os.stat("/proc"), os.stat(root).st_dev).kind is None
    assert disk_calls.listed_stat(os.stat(root), os.stat(root).st_dev).kind == Kind.FOLDER


def test_a_note_is_read_back_also_where_symlinks_cannot_be_made(root: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EPERM, "no symlinks here")

    folder = os.open(root + b"/.satchel/staging", os.O_RDONLY)
    monkeypatch.setattr(os, "symlink", refused)
    disk_root.write_note(folder, b"t-1.unit", b"some/folder")
    assert disk_root.read_note(folder, b"t-1.unit") == b"some/folder"
    disk_root.drop_note(folder, b"t-1.unit")
    assert disk_root.read_note(folder, b"t-1.unit") is None
    os.close(folder)
