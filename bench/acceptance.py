"""The full-size acceptance run: `python -m bench.acceptance`. Two devices, one server, all real processes.

10,000 files in 500 folders, 1 GiB of random bytes with four edits, 5,000 deletions, a conflict, and what each cost in
seconds, requests and bytes. It fails on what is not equal, never on a time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.devices import Device, device, wait_until_equal
from tests.support.server import RunningServer, Session, running_server

FOLDERS = 500
FILES = 10_000
LARGE_BYTES = 1024**3
PIECE_BYTES = 8 * 1024 * 1024
DELETED = 5_000
EQUAL_S_MAX = 1800.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What every step works with."""

    server: RunningServer
    admin: Session
    laptop: Device
    desk: Device


def main() -> int:
    """Run all steps; print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", help="folder to work in, such as one on tmpfs; 8 GiB are needed")
    parser.add_argument("--part", type=int, default=1, help="do 1/PART of the sizes")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="satchel-acceptance-", dir=given.work))
    try:
        _run(folder, given.part)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _run(folder: Path, part: int) -> None:
    with running_server(folder) as server:
        admin = server.add_user("root", is_admin=True).sign_in("checker")
        user = server.add_user("ann")
        with device(folder, "laptop", user) as laptop, device(folder, "desk", user) as desk:
            setup = Setup(server, admin, laptop, desk)
            _many_files(setup, part)
            _large_file(setup, part)
            _deletions(setup, part)
            _conflict(setup)


def _many_files(setup: Setup, part: int) -> None:
    here = setup.laptop.folder / "many"

    def write() -> None:
        spool = setup.laptop.home / "many"
        for number in range(FILES // part):
            folder = spool / f"folder {number % (FOLDERS // part or 1)}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"file {number}.txt").write_bytes(os.urandom(100 + 24 * (number % 1000)))
        spool.rename(here)

    _step(setup, f"{FILES // part} files in {FOLDERS // part} folders", write)
    _step(setup, "their folder renamed", lambda: here.rename(here.with_name("renamed")))


def _large_file(setup: Setup, part: int) -> None:
    here = setup.laptop.folder / "large.bin"
    size = LARGE_BYTES // part

    def write() -> None:
        with open(setup.laptop.home / "large.bin", "wb") as file:
            for _ in range(size // PIECE_BYTES):
                file.write(os.urandom(PIECE_BYTES))
        (setup.laptop.home / "large.bin").rename(here)

    _step(setup, f"{size >> 20} MiB of random bytes", write)
    _step(setup, "1 byte inserted at its head", lambda: _rewritten(here, b"x"))
    _step(setup, "64 KiB overwritten in its middle", lambda: _overwritten(here, size // 2, os.urandom(65_536)))
    _step(setup, "1 MiB appended", lambda: _overwritten(here, here.stat().st_size, os.urandom(1024**2)))
    _step(setup, "moved to another folder", lambda: _moved(here, setup.laptop.folder / "elsewhere"))
    here = setup.laptop.folder / "elsewhere" / here.name
    _step(setup, "copied", lambda: _copied(here))


def _deletions(setup: Setup, part: int) -> None:
    count = DELETED // part
    here = setup.laptop.folder / "doomed"

    def write() -> None:
        spool = setup.laptop.home / "doomed"
        spool.mkdir()
        for number in range(count):
            (spool / str(number)).write_text(str(number))
        spool.rename(here)

    _step(setup, f"{count} files to be deleted", write)
    shutil.rmtree(here)
    held = setup.laptop.wait_in_sync(EQUAL_S_MAX)
    if count > max(200, FILES // part // 5):
        assert held.state == "attention", held
        assert setup.laptop.cli("status").code == 11
        assert len(list((setup.desk.folder / "doomed").iterdir())) == count

    def allow() -> None:
        for one in (setup.laptop, setup.desk):
            one.wait_in_sync(EQUAL_S_MAX)
            assert one.cli("held", "allow").code == 0

    _step(setup, "their deletion, held and then allowed", allow)
    assert not (setup.desk.folder / "doomed").exists()


def _conflict(setup: Setup) -> None:
    (setup.laptop.folder / "plan.txt").write_text("base")
    wait_until_equal([setup.laptop, setup.desk], EQUAL_S_MAX)
    setup.desk.stop()
    (setup.desk.folder / "plan.txt").write_text("the desk's")
    (setup.laptop.folder / "plan.txt").write_text("the laptop's")
    setup.laptop.wait_in_sync(EQUAL_S_MAX)
    _step(setup, "an edit of one file on both, offline", setup.desk.start)
    plans = sorted(path.read_text() for path in setup.laptop.folder.glob("plan*.txt"))
    assert plans == ["the desk's", "the laptop's"], plans


def _step(setup: Setup, what: str, work: Callable[[], object]) -> None:
    """Do the work, wait until both are equal, and tell what it cost."""
    before = _counted(setup)
    work()
    began = time.monotonic()
    wait_until_equal([setup.laptop, setup.desk], EQUAL_S_MAX)
    took_s = time.monotonic() - began
    after = _counted(setup)
    up, down, requests = (late - early for early, late in zip(before, after, strict=True))
    print(
        f"{what:45} {took_s:7.1f} s  {up / 1e6:9.2f} MB up {down / 1e6:9.2f} MB down {requests:6} requests", flush=True
    )


def _counted(setup: Setup) -> tuple[int, int, int]:
    told = setup.server.counters(setup.admin)
    requests = sum(count for route, count in told["satchel_requests_total"].items() if "/sync/v1/" in route)
    return told["satchel_blocks_received_bytes_total"], told["satchel_blocks_given_bytes_total"], requests


def _rewritten(path: Path, head: bytes) -> None:
    beside = path.with_name(".large.new.swp")
    with open(path, "rb") as old, open(beside, "wb") as new:
        new.write(head)
        shutil.copyfileobj(old, new, PIECE_BYTES)
    os.replace(beside, path)


def _overwritten(path: Path, at: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def _moved(path: Path, folder: Path) -> None:
    folder.mkdir()
    path.rename(folder / path.name)


def _copied(path: Path) -> None:
    beside = path.with_name(".copy.swp")
    shutil.copyfile(path, beside)
    beside.rename(path.with_name("copy.bin"))


if __name__ == "__main__":
    sys.exit(main())
