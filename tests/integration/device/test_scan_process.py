"""A scan in a process of its own: what it says, and what happens when it is lost, stopped or left alone."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from satchel.core.errors import RootMissing, Unavailable
from satchel.core.hashing import block_hash
from satchel.core.limits import INLINE_UP_BYTES_MAX, MIB
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.tasks import (
    LocalFact,
    Scanned,
    SeenChanged,
    SeenGone,
    SeenMoved,
    SeenNew,
    SeenUnknown,
)
from tests.support.scan_rig import FULL, ScanRig, facts_of, parts_of

ENDED_S_MAX = 20.0
MANY = 1_300
"""Files of 8 KiB: more parts than one, and more bytes than the line holds."""


@pytest.fixture
def rig(tmp_path: Path) -> ScanRig:
    return ScanRig(tmp_path)


def fill(root: Path) -> None:
    """Write one of each kind."""
    (root / "a/b").mkdir(parents=True)
    (root / "gone/below").mkdir(parents=True)
    for name in ("a/one", "a/b/two", "a/three", "gone/below/four", "swap-1", "swap-2", "saved", "leaves", "bit"):
        (root / name).write_text(name)
    (root / "empty").write_bytes(b"")
    (root / "long").write_bytes(os.urandom(9 * MIB))
    (root / "link").symlink_to("a/b")
    os.link(root / "a/one", root / "hard")
    os.mkfifo(root / "pipe")
    Path(os.fsdecode(os.fsencode(root) + b"/not-\xff-text")).write_text("?")
    (root / ".satchelignore").write_text("*.log\n")
    (root / "a/x.log").write_text("ignored")


def change(root: Path) -> None:
    """Do one of each deed."""
    (root / "a/three").write_text("edited in place")
    (root / "new").write_text("edited by renaming")
    (root / "new").rename(root / "saved")
    (root / "leaves").rename(root / "a/b/came")
    (root / "a").rename(root / "moved")
    (root / "gone/below/four").unlink()
    (root / "gone/below").rmdir()
    (root / "swap-1").rename(root / "between")
    (root / "swap-2").rename(root / "swap-1")
    (root / "between").rename(root / "swap-2")
    (root / "bit").chmod(0o755)
    (root / ".satchelignore").write_text("em*\n")
    (root / "long").open("ab").write(b"more")


def many(root: Path) -> None:
    (root / "many").mkdir()
    for at in range(MANY):
        (root / f"many/{at}").write_bytes(at.to_bytes(4, "big") * 2048)


def kinds(facts: list[LocalFact]) -> set[type]:
    return {type(fact) for fact in facts}


# -- the same as in the thread ----------------------------------------------------------------------------------------


def test_its_facts_are_those_of_the_thread_on_first_contact_and_after_each_kind_of_change(rig: ScanRig) -> None:
    fill(rig.root)
    apart = rig.apart()
    first = facts_of(apart)
    assert first == facts_of(rig.thread())
    rig.scan(*first, is_full=True)

    change(rig.root)
    second = facts_of(apart)
    assert second == facts_of(rig.thread())
    rig.scan(*second, is_full=True)

    assert apart.started == 2
    assert kinds(first + second) == {SeenNew, SeenChanged, SeenMoved, SeenGone, SeenUnknown}
    assert facts_of(apart) == facts_of(rig.thread())


def test_the_contents_of_short_files_come_along(rig: ScanRig) -> None:
    contents = [b"one", b"two" * 1000, os.urandom(INLINE_UP_BYTES_MAX)]
    for at, data in enumerate(contents):
        (rig.root / str(at)).write_bytes(data)
    (rig.root / "long").write_bytes(os.urandom(INLINE_UP_BYTES_MAX + 1))

    facts_of(rig.apart())

    assert [rig.short.take(block_hash(data)) for data in contents] == contents
    assert rig.short.take(block_hash((rig.root / "long").read_bytes())) is None


def test_another_volume_ends_it_as_it_ends_the_thread(rig: ScanRig) -> None:
    fill(rig.root)
    apart = rig.apart()
    facts_of(apart)
    other = rig.root.parent / "other"
    other.mkdir()
    LocalDisk.initialise(os.fsencode(other))
    (other / ".satchel/marker").replace(rig.root / ".satchel/marker")

    (part,) = parts_of(apart)

    assert isinstance(part.fault, RootMissing) and part.fault.fields["reason"] == "volume_changed"
    assert part.facts == () and apart.started == 2


def test_a_missing_root_ends_it_as_it_ends_the_thread(rig: ScanRig) -> None:
    many(rig.root)
    apart = rig.apart()
    parts: list[Scanned] = []

    def unmount(part: Scanned) -> None:
        parts.append(part)
        if len(parts) == 1:
            (rig.root / ".satchel").rename(rig.root / "elsewhere")

    drive(apart.scan(FULL, unmount))

    assert apart.started == 1
    assert isinstance(parts[-1].fault, RootMissing) and parts[-1].is_last


def test_a_small_folder_and_a_hint_are_looked_at_in_the_thread(rig: ScanRig) -> None:
    scanner = rig.apart()
    assert facts_of(scanner) == []
    (rig.root / "f").write_text("one")
    assert kinds(facts_of(scanner)) == {SeenNew}
    assert scanner.started == 1


def test_in_calm_all_is_looked_at_in_the_thread(rig: ScanRig) -> None:
    fill(rig.root)
    scanner = rig.apart()
    scanner.is_calm = True

    assert facts_of(scanner) == facts_of(rig.thread())
    assert scanner.started == 0


# -- when it is lost --------------------------------------------------------------------------------------------------


def has_ended(pid: int) -> bool:
    """Wait for a process to end, at most ENDED_S_MAX."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], ENDED_S_MAX)[0])
    finally:
        os.close(handle)


def test_killed_in_the_middle_it_misses_nothing(rig: ScanRig) -> None:
    many(rig.root)
    apart = rig.apart()
    pids: list[int] = []

    def kill(part: Scanned) -> None:
        if apart.pid is not None and not pids:
            pids.append(apart.pid)
            os.kill(apart.pid, signal.SIGKILL)

    rig.scan_and_fold(apart, kill)
    assert has_ended(pids[0])
    assert len(rig.local_paths()) < MANY and not rig.state.scanned_once
    rig.wait(10)
    rig.scan_and_fold(apart, kill)

    assert rig.local_paths() == rig.disk_paths() and len(rig.local_paths()) == MANY + 1
    assert rig.state.scanned_once and apart.started == 1 and len(pids) == 1


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(3)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import os, time; time.sleep(60)",
        "import os; os.write(0, bytes([255] * 4)); os.read(0, 1); os.read(0, 1)",
        "import os; os.write(0, bytes([0, 0, 0, 3]) + b'abc'); os.read(0, 100_000); os.read(0, 1)",
        "import os; os.write(0, bytes([0, 0, 1, 0]) + b'abc')",
        "import os; os.write(0, bytes([0, 0]))",
        "import os, satchel.device.scan_process.frames as f; os.write(0, f.framed(f.Failed(None, 'mistake')))",
    ],
    ids=["ends", "killed", "silent", "length", "shape", "cut", "head", "mistake"],
)
def test_one_that_says_nothing_sound_is_ended_and_the_thread_scans_at_once(rig: ScanRig, program: str) -> None:
    fill(rig.root)
    apart = rig.apart(program=program, silence_s=2.0)

    facts = facts_of(apart)

    assert facts == facts_of(rig.thread()) and facts
    assert apart.started == 1 and apart.pid is None
    assert facts_of(apart) == facts and apart.started == 1, "it is not tried again"


def test_one_that_cannot_be_started_is_replaced_by_the_thread(rig: ScanRig, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(rig.root)
    monkeypatch.setattr(sys, "executable", str(rig.root / "nothing"))
    apart = rig.apart()

    assert facts_of(apart) == facts_of(rig.thread())
    assert apart.started == 0


# -- when it is stopped -----------------------------------------------------------------------------------------------


def test_held_in_the_middle_it_ends_and_goes_on_only_when_told(rig: ScanRig) -> None:
    many(rig.root)
    apart = rig.apart()
    pids: list[int] = []

    def hold(part: Scanned) -> None:
        assert apart.pid is not None
        pids.append(apart.pid)
        apart.hold()

    with pytest.raises(Unavailable):
        drive(apart.scan(FULL, hold))
    assert has_ended(pids[0])
    with pytest.raises(Unavailable):
        drive(apart.scan(FULL, hold))
    apart.go_on()

    assert len(facts_of(apart)) == MANY + 1 and apart.started == 2


def test_whoever_takes_the_parts_may_fail_and_nothing_is_left(rig: ScanRig) -> None:
    many(rig.root)
    apart = rig.apart()
    pids: list[int] = []

    def refuse(part: Scanned) -> None:
        assert apart.pid is not None
        pids.append(apart.pid)
        raise Unavailable("The link is being stopped.", where="scan")

    with pytest.raises(Unavailable):
        drive(apart.scan(FULL, refuse))

    assert has_ended(pids[0]) and apart.pid is None


_DAEMON = """
import pathlib, sys, time
from satchel.device.drive import drive
from tests.support.scan_rig import FULL, ScanRig
rig = ScanRig(pathlib.Path(sys.argv[1]))
for at in range(1300):
    (rig.root / str(at)).write_bytes(at.to_bytes(4, "big") * 2048)
apart = rig.apart()

def stand_still(part):
    sys.stdout.write(f"{apart.pid}\\n")
    sys.stdout.flush()
    time.sleep(600)

drive(apart.scan(FULL, stand_still))
"""


def test_killed_the_daemon_takes_it_along(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _DAEMON, str(tmp_path)], stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        pid = int(daemon.stdout.readline())
        was_alive = not select.select([os.pidfd_open(pid)], [], [], 0)[0]
        daemon.kill()
        daemon.wait(ENDED_S_MAX)

    assert was_alive and has_ended(pid)
