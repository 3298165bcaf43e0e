"""The full-size acceptance run: `python -m bench.acceptance`. Two devices, one server, all real processes.

10,000 files in 500 folders, 1 GiB of random bytes with four edits, 5,000 deletions, a conflict, and what each cost in
seconds (the comparing of all bytes on both devices among them), requests and bytes. It fails on what is not equal and
on a count above its limit, never on a time. The bytes come from a seed, so that the cuts, and with them the counts of
bytes, are the same in every run.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.devices import Device, device, wait_until_equal
from tests.support.server import RunningServer, Session, running_server

FOLDERS = 500
FILES = 10_000
LARGE_BYTES = 1024**3
PIECE_BYTES = 8 * 1024 * 1024
DELETED = 5_000
EQUAL_S_MAX = 1800.0
SEED = 4711
SYNC_ROUTES = "/sync/v1/"
UP_ROUTES = ("commit", "blocks/put")
"""What a sender asks; every other request of the device protocol serves a receiver."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a step may cost at most. bytes_each_way: bytes of blocks that the service takes, and those that it gives."""

    requests_up: int | None = None
    bytes_each_way: int | None = None


NO_LIMITS = Limits()
NO_CONTENT = Limits(bytes_each_way=64_000)


@dataclass(frozen=True, slots=True)
class Cost:
    """What the service counted in a step. requests: by route, without the protocol's prefix."""

    bytes_up: int
    bytes_down: int
    requests: Counter[str]

    def of(self, *, up: bool) -> Counter[str]:
        """Return the requests of one direction, by route."""
        return Counter({route: count for route, count in self.requests.items() if (route in UP_ROUTES) == up and count})

    def since(self, before: Cost) -> Cost:
        """Return what came on top of `before`."""
        more = Counter(self.requests)
        more.subtract(before.requests)
        return Cost(self.bytes_up - before.bytes_up, self.bytes_down - before.bytes_down, more)

    def missed(self, limits: Limits) -> list[str]:
        """Return a line for each limit that does not hold."""
        told = (
            ("requests up", self.of(up=True).total(), limits.requests_up),
            ("bytes up", self.bytes_up, limits.bytes_each_way),
            ("bytes down", self.bytes_down, limits.bytes_each_way),
        )
        return [
            f"{count:,} {what}, at most {most:,}" for what, count, most in told if most is not None and count > most
        ]


@dataclass(frozen=True, slots=True)
class Setup:
    """What every step works with."""

    server: RunningServer
    admin: Session
    laptop: Device
    desk: Device
    bytes_of: random.Random
    missed: list[str] = field(default_factory=list)


def main() -> int:
    """Run all steps; print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", help="folder to work in, such as one on tmpfs; 8 GiB are needed")
    parser.add_argument("--part", type=int, default=1, help="do 1/PART of the sizes")
    given = parser.parse_args()
    if given.work:
        os.makedirs(given.work, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="satchel-acceptance-", dir=given.work))
    try:
        missed = _run(folder, given.part)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for line in missed:
        print(f"ABOVE ITS LIMIT  {line}")
    print(
        "Not accepted."
        if missed
        else "Accepted: everything is equal on both devices, and every count is within its limit."
    )
    return 1 if missed else 0


def _run(folder: Path, part: int) -> list[str]:
    """Do every step; return a line for each limit that did not hold."""
    with running_server(folder) as server:
        admin = server.add_user("root", is_admin=True).sign_in("checker")
        user = server.add_user("ann")
        with device(folder, "laptop", user) as laptop, device(folder, "desk", user) as desk:
            setup = Setup(server, admin, laptop, desk, random.Random(SEED))
            _many_files(setup, part)
            _large_file(setup, part)
            _deletions(setup, part)
            _conflict(setup)
            return setup.missed


def _many_files(setup: Setup, part: int) -> None:
    here = setup.laptop.folder / "many"

    def write() -> None:
        spool = setup.laptop.home / "many"
        for number in range(FILES // part):
            folder = spool / f"folder {number % (FOLDERS // part or 1)}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"file {number}.txt").write_bytes(setup.bytes_of.randbytes(100 + 24 * (number % 1000)))
        spool.rename(here)

    _step(setup, f"{FILES // part} files in {FOLDERS // part} folders", write, Limits(requests_up=25))
    _step(setup, "their folder renamed", lambda: here.rename(here.with_name("renamed")), NO_CONTENT)


def _large_file(setup: Setup, part: int) -> None:
    here = setup.laptop.folder / "large.bin"
    size = LARGE_BYTES // part

    def write() -> None:
        with open(setup.laptop.home / "large.bin", "wb") as file:
            for _ in range(size // PIECE_BYTES):
                file.write(setup.bytes_of.randbytes(PIECE_BYTES))
        (setup.laptop.home / "large.bin").rename(here)

    _step(setup, f"{size >> 20} MiB of random bytes", write)
    edit, more = setup.bytes_of.randbytes(65_536), setup.bytes_of.randbytes(1024**2)
    few, some = Limits(bytes_each_way=3_000_000), Limits(bytes_each_way=4_000_000)
    _step(setup, "1 byte inserted at its head", lambda: _rewritten(here, b"x"), few)
    _step(setup, "64 KiB overwritten in its middle", lambda: _overwritten(here, size // 2, edit), few)
    _step(setup, "1 MiB appended", lambda: _overwritten(here, here.stat().st_size, more), some)
    _step(setup, "moved to another folder", lambda: _moved(here, setup.laptop.folder / "elsewhere"), NO_CONTENT)
    here = setup.laptop.folder / "elsewhere" / here.name
    _step(setup, "copied", lambda: _copied(here), NO_CONTENT)


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


def _step(setup: Setup, what: str, work: Callable[[], object], limits: Limits = NO_LIMITS) -> None:
    """Do the work, wait until both are equal, tell what it cost, and note which limits that does not keep."""
    before = _counted(setup)
    work()
    began = time.monotonic()
    wait_until_equal([setup.laptop, setup.desk], EQUAL_S_MAX)
    took_s = time.monotonic() - began
    cost = _counted(setup).since(before)
    print(f"{what:38} {took_s:6.1f} s  {cost.bytes_up / 1e6:8.2f} MB up {cost.bytes_down / 1e6:8.2f} MB down  ", end="")
    print(f"requests up {_routes(cost.of(up=True))}, down {_routes(cost.of(up=False))}", flush=True)
    setup.missed.extend(f"{what}: {line}" for line in cost.missed(limits))


def _routes(requests: Counter[str]) -> str:
    """Return the sum, and what it is made of."""
    parts = ", ".join(f"{route} {count}" for route, count in sorted(requests.items()))
    return f"{requests.total()} ({parts})" if parts else "0"


def _counted(setup: Setup) -> Cost:
    told = setup.server.counters(setup.admin)
    requests = Counter[str]()
    for name, count in told["satchel_requests_total"].items():
        _, _, route = name.partition(SYNC_ROUTES)
        if route:
            requests[route] += count
    return Cost(told["satchel_blocks_received_bytes_total"], told["satchel_blocks_given_bytes_total"], requests)


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
