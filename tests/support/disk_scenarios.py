"""Small plans for the applier, each with the folder it is for: the matter of its tests by enumeration.

Invariant: `UNSYNCED` contents are nowhere but on this disk; a run, whatever happens to it, may not hide them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from satchel.core.hashing import block_hash, content_hash
from satchel.core.ids import ContentHash, Nid
from satchel.device.applier import Applier
from satchel.device.drive import drive
from satchel.device.ports import DiskPath, FileSystem, Stat
from satchel.device.tasks import (
    ApplyTask,
    DiskResult,
    DiskTask,
    MovePath,
    MovePaths,
    PlaceFile,
    PlaceFolder,
    PlaceSymlink,
    SetAttrs,
    TrashUnit,
)
from tests.support.disk_users import User
from tests.support.still_clock import StillClock

MTIME_NS = 1_600_000_000_123_456_789
NID = Nid(7)
SYNCED = b"synced with the service"
OTHER = b"another synced file"
NEW = b"the new version from the service"
UNSYNCED = b"an edit that no one else has"


@dataclass(frozen=True, slots=True)
class Scenario:
    """setup: what the user had. build: the task, from the disk as it then is. paths: where others may interfere."""

    name: str
    setup: Callable[[User], None]
    build: Callable[[FileSystem], DiskTask]
    paths: tuple[bytes, ...]
    done: dict[bytes, bytes | None]
    """The tree after an undisturbed run."""


def stat_of(disk: FileSystem, path: bytes) -> Stat:
    """Return the stat of what is there."""
    found = drive(disk.stat(DiskPath(path)))
    assert found is not None
    return found


def new_file(path: bytes, expected: Stat | None = None, keep_as: bytes | None = None) -> PlaceFile:
    """Return a task that writes and places `NEW`."""
    return PlaceFile(NID, DiskPath(path), "", NEW, MTIME_NS, False, expected, keep_as)


def downloaded(disk: FileSystem, path: bytes, expected: Stat | None) -> PlaceFile:
    """Return a task that places `NEW` as the transfer left it in staging."""
    file = drive(disk.stage())
    drive(file.write(NEW))
    drive(file.finish(mtime_ns=MTIME_NS, is_executable=True))
    return PlaceFile(NID, DiskPath(path), file.name, None, MTIME_NS, True, expected)


def move(disk: FileSystem, source: bytes, target: bytes, home: Stat | None = None) -> MovePath:
    """Return one move of what stands at `source` now. home: the folder of the target."""
    return MovePath(NID, DiskPath(source), DiskPath(target), stat_of(disk, source), home)


def unit(disk: FileSystem, path: bytes, *members: bytes) -> TrashUnit:
    """Return a task that trashes `path`, in which only `members` are expected."""
    expected = {member: stat_of(disk, path + b"/" + member) for member in members}
    return TrashUnit(NID, DiskPath(path), {b"": stat_of(disk, path), **expected})


def _file(user: User) -> None:
    user.write_file(b"file", SYNCED)


def _edited_file(user: User) -> None:
    user.write_file(b"file", UNSYNCED)


def _link(user: User) -> None:
    user.make_symlink(b"link", b"old target")


def _three(user: User) -> None:
    user.make_folder(b"folder")
    user.write_file(b"folder/a", SYNCED)
    user.write_file(b"b", OTHER)
    user.write_file(b"c", UNSYNCED)


def _unit(user: User) -> None:
    user.make_folder(b"unit")
    user.make_folder(b"unit/sub")
    user.write_file(b"unit/sub/known", SYNCED)
    user.write_file(b"unit/other", OTHER)


def _unit_with_edit(user: User) -> None:
    _unit(user)
    user.write_file(b"unit/sub/edit", UNSYNCED)


def _nested(user: User) -> None:
    user.make_folder(b"outer")
    user.make_folder(b"outer/inner")
    user.write_file(b"outer/inner/deep", UNSYNCED)
    user.write_file(b"outer/high", SYNCED)


def _nothing(user: User) -> None:
    user.make_folder(b"folder")


SCENARIOS = (
    Scenario("new file", _nothing, lambda disk: new_file(b"folder/file"), (b"folder/file", b"folder"),
             {b"folder": None, b"folder/file": NEW}),
    Scenario("new download", _nothing, lambda disk: downloaded(disk, b"folder/file", None), (b"folder/file",),
             {b"folder": None, b"folder/file": NEW}),
    Scenario("new folder", _nothing, lambda disk: PlaceFolder(NID, DiskPath(b"folder/made")), (b"folder/made",),
             {b"folder": None, b"folder/made": None}),
    Scenario("new symlink", _nothing, lambda disk: PlaceSymlink(NID, DiskPath(b"folder/link"), b"target", None),
             (b"folder/link",), {b"folder": None, b"folder/link": b"target"}),
    Scenario("replace", _file, lambda disk: new_file(b"file", stat_of(disk, b"file")), (b"file",), {b"file": NEW}),
    Scenario("replace by download", _file, lambda disk: downloaded(disk, b"file", stat_of(disk, b"file")), (b"file",),
             {b"file": NEW}),
    Scenario("replace and keep", _edited_file, lambda disk: new_file(b"file", stat_of(disk, b"file"), b"file (copy)"),
             (b"file", b"file (copy)"), {b"file": NEW, b"file (copy)": UNSYNCED}),
    Scenario("replace symlink", _link,
             lambda disk: PlaceSymlink(NID, DiskPath(b"link"), b"target", stat_of(disk, b"link")), (b"link",),
             {b"link": b"target"}),
    Scenario("move", _three, lambda disk: MovePaths((move(disk, b"c", b"folder/d"),)), (b"c", b"folder/d"),
             {b"b": OTHER, b"folder": None, b"folder/a": SYNCED, b"folder/d": UNSYNCED}),
    Scenario("move folder", _three, lambda disk: MovePaths((move(disk, b"folder", b"renamed"),)),
             (b"folder/a", b"renamed"), {b"b": OTHER, b"c": UNSYNCED, b"renamed": None, b"renamed/a": SYNCED}),
    Scenario("swap", _three,
             lambda disk: MovePaths((move(disk, b"folder/a", b"c"), move(disk, b"c", b"folder/a"))),
             (b"folder/a", b"c"), {b"b": OTHER, b"c": SYNCED, b"folder": None, b"folder/a": UNSYNCED}),
    Scenario("cycle", _three,
             lambda disk: MovePaths((move(disk, b"folder/a", b"b"), move(disk, b"b", b"c"),
                                     move(disk, b"c", b"folder/a"))),
             (b"folder/a", b"b", b"c"), {b"b": SYNCED, b"c": OTHER, b"folder": None, b"folder/a": UNSYNCED}),
    Scenario("chain", _three,
             lambda disk: MovePaths((move(disk, b"folder/a", b"b"), move(disk, b"b", b"c"), move(disk, b"c", b"d"))),
             (b"folder/a", b"b", b"c", b"d"), {b"b": SYNCED, b"c": OTHER, b"d": UNSYNCED, b"folder": None}),
    Scenario("inner becomes outer", _nested,
             lambda disk: MovePaths((move(disk, b"outer/inner", b"outer"), move(disk, b"outer", b"outer/inner"))),
             (b"outer", b"outer/high"),
             {b"outer": None, b"outer/deep": UNSYNCED, b"outer/inner": None, b"outer/inner/high": SYNCED}),
    Scenario("trash file", _file, lambda disk: TrashUnit(NID, DiskPath(b"file"), {b"": stat_of(disk, b"file")}),
             (b"file",), {}),
    Scenario("trash unit", _unit, lambda disk: unit(disk, b"unit", b"sub", b"sub/known", b"other"),
             (b"unit/sub/known", b"unit/sub/added", b"unit"), {}),
    Scenario("trash unit with an edit", _unit_with_edit,
             lambda disk: unit(disk, b"unit", b"sub", b"sub/known", b"other"), (b"unit/other", b"unit/sub/edit"),
             {b"unit": None, b"unit/sub": None, b"unit/sub/edit": UNSYNCED}),
    Scenario("set bit", _file, lambda disk: SetAttrs(NID, DiskPath(b"file"), True, stat_of(disk, b"file")), (b"file",),
             {b"file": SYNCED}),
)  # fmt: skip


def apply(disk: FileSystem, *tasks: DiskTask) -> tuple[DiskResult, ...]:
    """Apply the tasks as one batch."""
    return drive(Applier(disk, StillClock()).apply(ApplyTask(1, tasks))).results


def is_known(content: ContentHash) -> bool:
    """True for what the service holds: all but `UNSYNCED` and what a test writes."""
    return content in {content_hash([block_hash(one)]) for one in (SYNCED, OTHER, NEW)}


def recover(disk: FileSystem) -> list[DiskPath]:
    """Empty staging as the next start does."""
    return drive(Applier(disk, StillClock(seed=9)).recover(is_known))
