"""Kills the daemons and the server at random moments of random work, and checks that nothing acknowledged is lost.

python -m tests.e2e.kill_run --kills 100 --seed 4711

Each device works in a folder of its own, so there is never a true conflict: any conflicted copy is a false one. After
every few kills all must be equal, exactly what the workers wrote, and every content that was ever settled must still be
had from the server.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.workload import Worker, torn_files
from tests.support.devices import Device, device, wait_until_equal
from tests.support.seeded_runs import main, tell
from tests.support.server import RunningServer, Session, running_server
from tests.support.trees import tree_of

KILLS_PER_SETTLE = 5
STEPS_PER_BURST = 12
SETTLE_S_MAX = 180.0
DOWNLOADS_CHECKED = 40


@dataclass(slots=True)
class Settled:
    """What was committed once: every content hash that a node ever had, by node id."""

    contents: dict[str, set[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Run:
    """One run: the three processes, their workers, and what must never be lost."""

    server: RunningServer
    devices: tuple[Device, Device]
    workers: tuple[Worker, Worker]
    session: Session
    chance: random.Random
    settled: Settled = field(default_factory=Settled)
    kills: dict[str, int] = field(default_factory=dict)

    def kill_once(self) -> None:
        """Work, kill one of the three in the middle of it, work on without it, start it again."""
        self._work()
        time.sleep(self.chance.random() * 0.6)
        self._work()
        victim = self.chance.choice((self.server, *self.devices))
        name = victim.name if isinstance(victim, Device) else "server"
        victim.kill()
        tell(f"{time.time():.3f} killed {name}")
        self.kills[name] = self.kills.get(name, 0) + 1
        self._check_whole()
        self._work()
        victim.start()

    def _work(self) -> None:
        for worker in self.workers:
            worker.work(self.chance.randrange(1, STEPS_PER_BURST))

    def _check_whole(self) -> None:
        torn = [path for one in self.devices for path in torn_files(one.folder)]
        assert torn == [], f"half a file under a final name: {torn}"

    def settle(self) -> None:
        """Wait until all is equal, and check it against what the workers wrote."""
        wait_until_equal(self.devices, SETTLE_S_MAX)
        for worker in self.workers:
            for one in self.devices:
                found = worker.found(one.folder / worker.folder.name)
                wrong = {
                    path for path in found.keys() | worker.files.keys() if found.get(path) != worker.files.get(path)
                }
                assert not wrong, f"{one.name}: {worker.folder.name} is not what was written: {sorted(wrong)[:10]}"
        copies = [path for one in self.devices for path in tree_of(one.folder) if b"conflict" in path]
        assert copies == [], f"conflicted copies without a conflict: {copies}"
        self._remember()

    def _remember(self) -> None:
        """Note every node and content that the server holds now."""
        waiting = ["/"]
        while waiting:
            folder = waiting.pop()
            for item in self._listed(folder):
                path = f"{folder.rstrip('/')}/{item['name']}"
                if item["kind"] == "folder":
                    waiting.append(path)
                elif item["kind"] == "file":
                    self.settled.contents.setdefault(item["id"], set()).add(item["content_hash"])

    def _listed(self, folder: str) -> list[dict[str, str]]:
        items, after = [], ""
        while True:
            page = self.session.ask("GET", "/api/v1/files", path=folder, after=after).json()
            items += page["items"]
            after = page["after"]
            if not after:
                return items

    def check_nothing_lost(self) -> int:
        """Check that every settled content is still a version that can be had; return how many there are."""
        told = []
        for node, contents in sorted(self.settled.contents.items()):
            answer = self.session.ask("GET", "/api/v1/versions", id=node)
            assert answer.status == 200, (node, answer.body)
            versions = {version["content_hash"]: version["rev"] for version in answer.json()["versions"]}
            missing = contents - versions.keys()
            assert not missing, f"contents that were settled are gone: {node} {missing}"
            told += [(node, versions[content]) for content in sorted(contents)]
        for node, rev in self.chance.sample(told, min(len(told), DOWNLOADS_CHECKED)):
            answer = self.session.ask("GET", "/api/v1/content", id=node, rev=rev)
            assert answer.status == 200, (node, rev, answer.body)
        return len(told)


def run(folder: Path, kills: int, seed: int) -> str:
    """Do one run below `folder`; return a line of what was done. Raises: AssertionError for what must not be."""
    chance = random.Random(seed)
    with running_server(folder) as server:
        server.arguments = ("--listen", f"127.0.0.1:{server.port}")
        user = server.add_user("ann")
        with device(folder, "laptop", user) as laptop, device(folder, "desk", user) as desk:
            workers = tuple(_worker(one, chance) for one in (laptop, desk))
            one = Run(server, (laptop, desk), workers, user.sign_in("checker"), chance)
            began = time.monotonic()
            for number in range(1, kills + 1):
                one.kill_once()
                if number % KILLS_PER_SETTLE == 0 or number == kills:
                    one.settle()
                    tell(f"{number} kills, {sum(worker.count for worker in workers)} changes, all equal")
            kept = one.check_nothing_lost()
            took_s = time.monotonic() - began
    return f"seed {seed}: {one.kills} killed, {kept} settled contents all there, nothing torn, {took_s:.0f} s"


def _worker(one: Device, chance: random.Random) -> Worker:
    folder = one.folder / f"work of {one.name}"
    spool = one.home / "spool"
    for each in (folder, spool):
        each.mkdir()
    return Worker(folder, spool, random.Random(chance.random()))


if __name__ == "__main__":
    sys.exit(main("tests.e2e.kill_run", __doc__ or "", "kills", 100, run))
