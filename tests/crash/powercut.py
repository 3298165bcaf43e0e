"""Cuts the power around each fsync of each scenario, and looks at what the next start makes of what is left.

    python -m tests.crash.powercut [--minutes 10] [--only NAME] [--seeds 5] [--sites] [--fresh]

Each scenario runs once on a file system that writes down every change. Before and after each fsync, and at the end,
images are made of what a disk may then hold: strictly what was fsynced, and random parts of the rest, every second of
them with writes torn at 512 bytes. On each image the next start runs and the scenario's claim is checked.
`--sites` leaves out one place in our code that calls fsync after the other: each must make a scenario fail.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash import sites
from tests.crash.catalogue import SCENARIOS
from tests.crash.fuse import Mount, mounted
from tests.crash.ledger import Ledger
from tests.crash.scenario import Scenario
from tests.crash.tracing import RUN_S_MAX, apart
from tests.crash.volume import Event, Image, Synced, image_after

WORLD, LEFT = "world", "left"

NOTHING_RESTS_ON = {
    "blocks_local.py:_probe": "asks whether the disk works; nothing of it is kept",
    "sqlite.py:_create": "SQLite makes the folder durable itself with its first log",
}
"""Places that may be left out, with the reason."""


class NotRun(Exception):
    """The scenario did not run to its end, so there is nothing to cut."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """base: the world before the work. told: what the work said and how long the journal was then. sites: its own."""

    base: Image
    top: int
    journal: list[Event]
    told: list[tuple[int, str]]
    sites: dict[str, int]


def record(scenario: Scenario, mount: Mount) -> Recorded:
    """Run the scenario undisturbed on the mount. Raises: NotRun."""
    folder = Path(mount.path) / WORLD
    folder.mkdir()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        ours.close()
        _be_child(scenario, folder, theirs)
    theirs.close()
    told: list[tuple[int, str]] = []
    try:
        with ours:
            ours.settimeout(RUN_S_MAX)
            if (said := ours.recv(4096)) != b"ready":
                raise NotRun(said.decode(errors="replace") or "the child died")
            base = mount.settle(WORLD)
            ours.send(b"go")
            while not (said := ours.recv(65_536)).startswith(b"end "):
                if not said:
                    raise NotRun("the child died")
                told.append((mount.position(), said.decode()))
                ours.send(b"go on")
            journal = mount.journal()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        mount.drop(WORLD)
    if said != b"end ":
        pairs = (one.rpartition("=") for one in said[4:].decode().split("|"))
        return Recorded(base, next(iter(base)), journal, told, {site: int(count) for site, _, count in pairs})
    return Recorded(base, next(iter(base)), journal, told, {})


def _be_child(scenario: Scenario, folder: Path, line: socket.socket) -> None:
    gc.disable()

    def tell(what: str) -> None:
        line.send(what.encode())
        line.recv(16)

    try:
        try:
            work = scenario.begin(folder)
            sites.seen.clear()
            tell("ready")
            work(tell)
        except BaseException as error:
            line.send(f"raised {type(error).__name__}: {error}".encode())
            raise
        line.send(("end " + "|".join(f"{site}={count}" for site, count in sites.seen.items())).encode())
        time.sleep(RUN_S_MAX)
    finally:
        os._exit(0)


def cuts(journal: Sequence[Event]) -> list[int]:
    """Return how much of the journal had happened, for each moment worth a cut."""
    around = {at + more for at, event in enumerate(journal) if isinstance(event, Synced) for more in (0, 1)}
    return sorted(around | {0, len(journal)})


def images(recorded: Recorded, seeds: int) -> Iterator[tuple[str, Image, list[str]]]:
    """Yield (name, image, what had been told) for each cut and each way, those that are alike once."""
    known: set[int] = set()
    for at in cuts(recorded.journal):
        told = [what for position, what in recorded.told if position <= at]
        for seed in (None, *range(seeds)):
            image = image_after(recorded.base, recorded.journal[:at], None if seed is None else at * 100 + seed)
            fingerprint = hash((tuple(sorted(image.items())), tuple(told)))
            if fingerprint not in known:
                known.add(fingerprint)
                yield f"{at}|{'strict' if seed is None else f'{seed}'}", image, told


def look(scenario: Scenario, mount: Mount, recorded: Recorded, image: Image, told: list[str]) -> list[str]:
    """Start on an image and check the claim. Result: what is wrong."""
    mount.hang(LEFT, image, recorded.top)
    folder = Path(mount.path) / LEFT
    try:
        return apart(lambda: scenario.check(folder, told))
    finally:
        mount.drop(LEFT)


def cut_all(chosen: Sequence[Scenario], ledger: Ledger, mount: Mount, *, seeds: int, until_s: float) -> bool:
    """Cut each scenario's power everywhere. Result: False when the time ended first."""
    for scenario in chosen:
        if ledger.is_complete(scenario.name):
            continue
        try:
            recorded = record(scenario, mount)
        except NotRun as failed:
            ledger.add(f"{scenario.name}|undisturbed", "failed", [str(failed)])
            _say(f"FAILED {scenario.name}: {failed}")
            continue
        for way, image, told in images(recorded, seeds):
            name = f"{scenario.name}|{way}"
            if ledger.has(name):
                continue
            if time.monotonic() > until_s:
                return False
            wrong = look(scenario, mount, recorded, image, told)
            ledger.add(name, "failed" if wrong else "held", wrong)
            if wrong:
                _say(f"FAILED {name} (told {told})\n  " + "\n  ".join(wrong))
        ledger.complete(scenario.name, sum(isinstance(event, Synced) for event in recorded.journal))
        _say(ledger.line_of(scenario.name, "fsyncs"))
    return True


# -- leaving out one place --------------------------------------------------------------------------------------------


def sites_of(chosen: Sequence[Scenario], mount: Mount) -> dict[str, list[Scenario]]:
    """Return which scenarios come by each place of our code that calls fsync."""
    found: dict[str, list[Scenario]] = {}
    for scenario in chosen:
        with contextlib.suppress(NotRun):
            for site in record(scenario, mount).sites:
                found.setdefault(site, []).append(scenario)
    return found


def first_failure(site: str, among: Sequence[Scenario], mount: Mount, seeds: int) -> str:
    """Leave the place out. Result: the first scenario that fails then, and how; empty when none does."""
    sites.left_out.add(site)
    try:
        for scenario in among:
            recorded = record(scenario, mount)
            for way, image, told in images(recorded, seeds):
                if wrong := look(scenario, mount, recorded, image, told):
                    return f"{scenario.name}|{way}: {wrong[0][:90]}"
    finally:
        sites.left_out.discard(site)
    return ""


def leave_out_each(chosen: Sequence[Scenario], mount: Mount, seeds: int) -> bool:
    """Print the table of places. Result: True when each of them is missed by a scenario."""
    is_each = True
    for site, among in sorted(sites_of(chosen, mount).items()):
        if site in NOTHING_RESTS_ON:
            _say(f"{site:66} nothing rests on it: {NOTHING_RESTS_ON[site]}")
            continue
        failure = first_failure(site, among, mount, seeds)
        is_each = is_each and bool(failure)
        _say(f"{site:66} {failure or f'NOT MISSED by any of {len(among)} scenarios'}")
    return is_each


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run what is asked for; 0 when nothing failed and nothing is left to do."""
    parser = argparse.ArgumentParser(description="cuts the power around each fsync of each scenario")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--seeds", type=int, default=5, help="random images at each cut, beside the strict one")
    parser.add_argument("--sites", action="store_true", help="leave out one fsync of our code after the other")
    parser.add_argument("--fresh", action="store_true", help="begin a new ledger")
    parser.add_argument("--ledger", type=Path, default=Path("build/powercut.jsonl"))
    asked = parser.parse_args()
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        sys.exit("This mounts a file system of its own: it needs root and /dev/fuse.")
    chosen = [one for one in SCENARIOS if asked.only in one.name]
    started_s = time.monotonic()
    gc.collect()
    gc.freeze()
    with mounted() as mount:
        if asked.sites:
            return 0 if leave_out_each(chosen, mount, asked.seeds) else 1
        ledger = Ledger(asked.ledger, is_fresh=asked.fresh)
        is_over = cut_all(chosen, ledger, mount, seeds=asked.seeds, until_s=started_s + 60 * asked.minutes)
    _say(ledger.total({each.name for each in chosen}) + f" in {time.monotonic() - started_s:.0f} s")
    if not is_over:
        _say("The time is over; the same command goes on from here.")
    return 1 if ledger.failed() or not is_over else 0


if __name__ == "__main__":
    sys.exit(main())
