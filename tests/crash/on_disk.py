"""Scenarios of the applier on a real disk: each of its small plans, alone, and what a start finds afterwards.

Invariant checked: no byte is lost, none that is nowhere else is hidden, no name holds half a file, staging is empty,
a second start finds nothing to do, and what was reported as applied stands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from satchel.core.errors import Fault
from satchel.core.xattrs import pack_xattrs
from satchel.device.applier import Applier
from satchel.device.disk import LocalDisk
from satchel.device.disk_trash import _trashed_at
from satchel.device.drive import drive
from satchel.device.ports import DiskPath
from satchel.device.tasks import Applied, ApplyTask, LateItem, LateSeen, LateTask, PurgeTask, SetAttrs, TrashUnit
from tests.crash.scenario import DONE, Scenario, Tell, Work
from tests.support import disk_scenarios
from tests.support.disk_scenarios import NEW, NID, OTHER, SYNCED, UNSYNCED, stat_of
from tests.support.disk_users import RealUser
from tests.support.still_clock import StillClock

Tree = dict[bytes, bytes | None]
LATE = b"written after it was swapped out"
WHOLE = {SYNCED, OTHER, NEW, UNSYNCED, LATE, b"target", b"old target"}


def linked(folder: Path) -> tuple[LocalDisk, RealUser]:
    """Return a new linked folder below `folder`, and its user."""
    root = os.fsencode(folder / "root")
    os.mkdir(root)
    LocalDisk.initialise(root)
    return LocalDisk(root, free_bytes_min=0), RealUser(root)


def reopened(folder: Path) -> tuple[LocalDisk, RealUser]:
    """Return the linked folder as the next start finds it."""
    root = os.fsencode(folder / "root")
    return LocalDisk(root, free_bytes_min=0), RealUser(root)


def recovered(folder: Path, required: set[bytes]) -> tuple[list[str], Tree]:
    """Start again. Result: what is wrong whatever the work was, and the tree."""
    disk, user = reopened(folder)
    wrong: list[str] = []
    try:
        disk_scenarios.recover(disk)
    except Fault as fault:
        wrong.append(f"recovery raised {fault.code}")
    if again := disk_scenarios.recover(disk):
        wrong.append(f"a second start still finds {again}")
    if lost := required - user.everything():
        wrong.append(f"lost: {sorted(lost)}")
    tree = user.tree()
    if half := {path: data for path, data in tree.items() if data is not None and data not in WHOLE}:
        wrong.append(f"half a file: {half}")
    if UNSYNCED in required and UNSYNCED not in tree.values():
        wrong.append("a file that is nowhere else is out of sight")
    if left := drive(disk.list_staged()):
        wrong.append(f"staging holds {[one.name for one in left]}")
    return wrong, tree


def is_between(tree: Tree, before: Tree, after: Tree) -> bool:
    """True when all in `tree` stands where it stood before, where it belongs after, or beside it as a named copy."""
    return all(path in before or path in after or b"recovered" in path or b"copy" in path for path in tree)


def _of_applier(plan: disk_scenarios.Scenario) -> Scenario:
    def begin(folder: Path) -> Work:
        disk, user = linked(folder)
        plan.setup(user)
        task = plan.build(disk)

        def work(tell: Tell) -> None:
            (result,) = disk_scenarios.apply(disk, task)
            if isinstance(result, Applied):
                tell(DONE)

        return work

    def check(folder: Path, told: Sequence[str]) -> list[str]:
        # The plan's own setup once more, beside, says what was there before.
        beside = RealUser(os.fsencode(folder / "before"))
        os.mkdir(beside.root)
        plan.setup(beside)
        before = beside.tree()
        required = {data for path, data in before.items() if data is not None and plan.name != "replace symlink"}
        wrong, tree = recovered(folder, required)
        if not is_between(tree, before, plan.done):
            wrong.append(f"neither before nor after: {tree}")
        if DONE in told and tree != plan.done:
            wrong.append(f"what was applied does not stand: {tree}")
        if DONE in told and plan.name == "set bit" and not stat_of(reopened(folder)[0], b"file").is_executable:
            wrong.append("the bit that was set is not set")
        return wrong

    return Scenario(f"device: {plan.name}", begin, check)


# -- the late looks, the purge, the start itself ----------------------------------------------------------------------


def _late_setup(folder: Path, *, is_folder: bool) -> tuple[LocalDisk, LateItem]:
    disk, user = linked(folder)
    if is_folder:
        user.make_folder(b"unit")
        user.write_file(b"unit/known", SYNCED)
        task = disk_scenarios.unit(disk, b"unit", b"known")
    else:
        user.write_file(b"file", SYNCED)
        task = TrashUnit(NID, DiskPath(b"file"), {b"": stat_of(disk, b"file")})
    (result,) = disk_scenarios.apply(disk, task)
    assert isinstance(result, Applied)
    place = os.path.join(user.root, b".satchel", b"trash", result.trashed.encode(), *([b"added"] if is_folder else []))
    with open(place, "wb") as late:
        late.write(LATE)
    return disk, LateItem(result.trashed, task.path, task.members, b"", 0)


def _late(*, is_folder: bool) -> Scenario:
    def begin(folder: Path) -> Work:
        disk, item = _late_setup(folder, is_folder=is_folder)

        def work(tell: Tell) -> None:
            (result,) = drive(Applier(disk, StillClock()).look_late(LateTask((item,)))).results
            if isinstance(result, LateSeen) and result.paths:
                tell(DONE)

        return work

    def check(folder: Path, told: Sequence[str]) -> list[str]:
        wrong, tree = recovered(folder, {LATE})
        if DONE in told and LATE not in tree.values():
            wrong.append(f"what was brought back is not there: {tree}")
        return wrong

    return Scenario(f"device: late look at a {'folder' if is_folder else 'file'}", begin, check)


def _purge_begin(folder: Path) -> Work:
    disk, user = linked(folder)
    user.make_folder(b"unit")
    user.write_file(b"unit/known", SYNCED)
    user.write_file(b"file", SYNCED)
    user.write_file(b"kept", UNSYNCED)
    disk_scenarios.apply(disk, disk_scenarios.unit(disk, b"unit", b"known"))
    disk_scenarios.apply(disk, TrashUnit(NID, DiskPath(b"file"), {b"": stat_of(disk, b"file")}))

    def work(tell: Tell) -> None:
        if drive(Applier(disk, StillClock()).purge(PurgeTask(2**62))).fault is None:
            tell(DONE)

    return work


def _purge_check(folder: Path, told: Sequence[str]) -> list[str]:
    wrong, tree = recovered(folder, {UNSYNCED})
    if tree != {b"kept": UNSYNCED}:
        wrong.append(f"the purge touched the linked folder: {tree}")
    # Nobody promised that a purge outlasts a power cut: what came back is purged once more.
    drive(reopened(folder)[0].purge_trash(2**62))
    if left := [name for name in os.listdir(folder / "root/.satchel/trash") if _trashed_at(name) is not None]:
        wrong.append(f"purged, and still there: {left}")
    return wrong


def _start_begin(folder: Path) -> Work:
    """What a crash may leave in staging: a download, an exchanged known file, an edit, a unit on its way out."""
    disk, user = linked(folder)
    user.make_folder(b"unit")
    user.write_file(b"unit/edit", UNSYNCED)
    user.write_file(b"file", SYNCED)
    user.write_file(b"other", OTHER)
    drive(disk.set_aside(DiskPath(b"unit"), "t-1.unit"))
    for at, (path, name) in enumerate(((b"file", "x-1.file"), (b"other", "x-2.other"))):
        download = disk_scenarios.downloaded(disk, path, None)
        drive(disk.rename_staged(download.staged, name))
        drive(disk.exchange_staged(name, DiskPath(path)))
        assert at < 2
    disk_scenarios.downloaded(disk, b"never", None)
    fresh, _ = reopened(folder)

    def work(tell: Tell) -> None:
        disk_scenarios.recover(fresh)
        tell(DONE)

    return work


def _start_check(folder: Path, told: Sequence[str]) -> list[str]:
    left = drive(reopened(folder)[0].list_staged()) if DONE in told else []
    wrong, tree = recovered(folder, {UNSYNCED, SYNCED, OTHER, NEW})
    if tree != {b"unit": None, b"unit/edit": UNSYNCED, b"file": NEW, b"other": NEW}:
        wrong.append(f"the start did not put things back: {tree}")
    if left:
        wrong.append(f"the start was over, and staging holds {[one.name for one in left]}")
    return wrong


def _unit_start_begin(folder: Path) -> Work:
    """A unit alone on its way out: what goes back is all that the start does."""
    disk, user = linked(folder)
    user.make_folder(b"unit")
    user.write_file(b"unit/edit", UNSYNCED)
    drive(disk.set_aside(DiskPath(b"unit"), "t-1.unit"))
    fresh, _ = reopened(folder)

    def work(tell: Tell) -> None:
        disk_scenarios.recover(fresh)
        tell(DONE)

    return work


def _unit_start_check(folder: Path, told: Sequence[str]) -> list[str]:
    left = drive(reopened(folder)[0].list_staged()) if DONE in told else []
    wrong, tree = recovered(folder, {UNSYNCED})
    if tree != {b"unit": None, b"unit/edit": UNSYNCED}:
        wrong.append(f"the start did not put the unit back: {tree}")
    if left:
        wrong.append(f"the start was over, and staging holds {[one.name for one in left]}")
    return wrong


def _link_begin(folder: Path) -> Work:
    root = os.fsencode(folder / "root")
    os.mkdir(root)
    RealUser(root).write_file(b"file", UNSYNCED)

    def work(tell: Tell) -> None:
        LocalDisk.initialise(root)
        tell(DONE)

    return work


def _link_check(folder: Path, told: Sequence[str]) -> list[str]:
    wrong: list[str] = []
    if DONE in told:
        try:
            drive(reopened(folder)[0].check_root())
        except Fault as fault:
            wrong.append(f"a linked folder is none: {fault.code}")
    LocalDisk.initialise(os.fsencode(folder / "root"))
    again, tree = recovered(folder, {UNSYNCED})
    if tree != {b"file": UNSYNCED}:
        wrong.append(f"linking touched the folder: {tree}")
    return wrong + again


def _batch(name: str, *plans: Callable[[LocalDisk, RealUser], object], after: Tree) -> Scenario:
    """Several tasks applied as one batch: each touched folder is fsynced once, at the end."""

    def begin(folder: Path) -> Work:
        disk, user = linked(folder)
        tasks = [plan(disk, user) for plan in plans]

        def work(tell: Tell) -> None:
            results = drive(Applier(disk, StillClock()).apply(ApplyTask(1, tuple(tasks)))).results  # type: ignore[arg-type]
            if all(isinstance(result, Applied) for result in results):
                tell(DONE)

        return work

    def check(folder: Path, told: Sequence[str]) -> list[str]:
        wrong, tree = recovered(folder, {SYNCED})
        if DONE in told and tree != after:
            wrong.append(f"what was applied does not stand: {tree}")
        return wrong

    return Scenario(name, begin, check)


def _replaced(disk: LocalDisk, user: RealUser) -> object:
    user.write_file(b"a", SYNCED)
    return disk_scenarios.new_file(b"a", stat_of(disk, b"a"))


def _moved(disk: LocalDisk, user: RealUser) -> object:
    user.make_folder(b"from")
    user.make_folder(b"to")
    user.write_file(b"from/b", OTHER)
    return disk_scenarios.MovePaths((disk_scenarios.move(disk, b"from/b", b"to/b"),))


def _placed(disk: LocalDisk, user: RealUser) -> object:
    user.make_folder(b"new")
    return disk_scenarios.new_file(b"new/c")


RED, BLUE = pack_xattrs({b"mark": b"red"}), pack_xattrs({b"mark": b"blue"})


def _xattrs_begin(folder: Path) -> Work:
    linked(folder)
    disk = LocalDisk(os.fsencode(folder / "root"), free_bytes_min=0, has_xattrs=True)
    RealUser(os.fsencode(folder / "root")).write_file(b"file", SYNCED)
    if stat_of(disk, b"file").xattrs is not None:
        # The volume of the power cuts has none; there the bit alone is set.
        drive(disk.set_xattrs(DiskPath(b"file"), RED, b""))
    task = SetAttrs(NID, DiskPath(b"file"), True, stat_of(disk, b"file"), BLUE)

    def work(tell: Tell) -> None:
        (result,) = disk_scenarios.apply(disk, task)
        if isinstance(result, Applied):
            tell(DONE)

    return work


def _xattrs_check(folder: Path, told: Sequence[str]) -> list[str]:
    wrong, tree = recovered(folder, {SYNCED})
    seen = stat_of(LocalDisk(os.fsencode(folder / "root"), free_bytes_min=0, has_xattrs=True), b"file")
    if tree != {b"file": SYNCED} or seen.xattrs not in (RED, BLUE, None):
        wrong.append(f"neither before nor after: {tree}, {seen.xattrs!r}")
    if DONE in told and not (seen.xattrs in (BLUE, None) and seen.is_executable):
        wrong.append(f"what was applied does not stand: {seen}")
    return wrong


SCENARIOS = (
    *(_of_applier(plan) for plan in disk_scenarios.SCENARIOS),
    _late(is_folder=False),
    _late(is_folder=True),
    Scenario("device: set extended attributes", _xattrs_begin, _xattrs_check),
    Scenario("device: purge", _purge_begin, _purge_check),
    Scenario("device: recover at a start", _start_begin, _start_check),
    Scenario("device: recover a unit at a start", _unit_start_begin, _unit_start_check),
    Scenario("device: make a folder a linked one", _link_begin, _link_check),
    _batch(
        "device: a batch",
        _replaced,
        _moved,
        _placed,
        after={b"a": NEW, b"from": None, b"to": None, b"to/b": OTHER, b"new": None, b"new/c": NEW},
    ),
)
