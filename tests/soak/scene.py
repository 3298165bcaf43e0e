"""Three devices of two people at one service, each a process of its own, and what must hold when they are at rest."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from satchel.device.content_hashing import content_of
from satchel.device.control import Request
from satchel.device.status import DaemonStatus, LinkStatus
from tests.support.devices import Device, device, wait_for
from tests.support.server import RunningServer, running_server
from tests.support.trees import Node, differences, tree_of

OWN, TEAM = "own", "team"
REST_S_MAX = 240.0
LOOK_S = 0.25
QUIET_LOOKS = 3

Tree = dict[bytes, Node]


class Found(AssertionError):
    """A claim that does not hold."""


@dataclass(slots=True)
class Scene:
    """laptop and desk are of one person, who shares the folder `team` with the other, whose device is the phone.

    held: how often a person had to say that many deletions are meant. working: devices on which programs are at work.
    """

    server: RunningServer
    laptop: Device
    desk: Device
    phone: Device
    held: int = 0
    working: set[str] = field(default_factory=set)

    @property
    def devices(self) -> tuple[Device, ...]:
        return (self.laptop, self.desk, self.phone)

    def holders(self, top: str) -> tuple[Device, ...]:
        """Return the devices that have this folder."""
        return self.devices if top == TEAM else self.devices[:2]

    def idle(self) -> list[Device]:
        """Return the devices on which nobody is at work."""
        return [one for one in self.devices if one.name not in self.working]

    def rest(self) -> float:
        """Wait until nothing is left to do and all folders are equal; return the seconds it took. Raises: Found.

        It only asks for the state: whoever waits by `wait` has everything looked at, which hides what was not seen.
        """
        began_s = time.monotonic()
        calm, unequal, states = 0, ["not looked at"], ["unknown"]
        while calm < QUIET_LOOKS:
            if time.monotonic() - began_s > REST_S_MAX:
                raise Found(f"not at rest after {REST_S_MAX:.0f} s: {states}; {unequal[:6]}")
            time.sleep(LOOK_S)
            links = [(one, link) for one in self.devices for link in links_of(one)]
            states = [f"{one.name} {link.remote}: {link.state} {link.message}" for one, link in links]
            self._consent(links)
            unequal = self._unequal()
            calm = calm + 1 if not unequal and all(link.state == "in_sync" for _, link in links) else 0
        return time.monotonic() - began_s - QUIET_LOOKS * LOOK_S

    def _consent(self, links: list[tuple[Device, LinkStatus]]) -> None:
        """Say yes to many deletions: the programs meant them."""
        for one, link in links:
            if any(item.needs_consent for item in link.held_items):
                self.held += 1
                one.cli("held", "allow", link.local)

    def _unequal(self) -> list[str]:
        found: list[str] = []
        try:
            for top in (OWN, TEAM):
                first, *others = self.holders(top)
                for other in others:
                    unlike = differences(first.folder / top, other.folder / top, with_times=False)
                    found += [f"{first.name}/{other.name} {top}: {line}" for line in unlike]
        except OSError as error:
            found.append(f"{error.filename!r} went while it was compared")
        return found

    def require_left(self, left: dict[tuple[str, str], Tree]) -> None:
        """Check that what a program left stands everywhere, and that nobody was told of a conflict. Raises: Found."""
        for (top, name), wanted in left.items():
            for one in self.holders(top):
                place = one.folder / top / name
                there = tree_of(place, with_times=False) if place.is_dir() else {}
                wrong = [path for path in sorted(there.keys() | wanted.keys()) if there.get(path) != wanted.get(path)]
                told = [f"{path!r}: {wanted.get(path)} was left, {there.get(path)} is there" for path in wrong[:6]]
                if told:
                    raise Found(f"{one.name} {top}/{name}: {len(wrong)} are not what was left: {told}")

    def copies(self) -> set[bytes]:
        """Return the conflicted copies on any device."""
        return {path for one in self.devices for path in tree_of(one.folder) if b"conflicted copy" in path}

    def require_kept(self, contents: set[bytes]) -> None:
        """Check that each content stands on a disk or is a version at the service. Raises: Found."""
        standing = {content for one in self.devices for content in contents_below(one.folder)}
        missing = contents - standing
        with contextlib.closing(sqlite3.connect(self.server.data / "metadata.db", timeout=30)) as store:
            missing -= {bytes(row[0]) for row in store.execute("SELECT content FROM file_versions")}
        if missing:
            raise Found(f"{len(missing)} contents stand nowhere: {[content.hex() for content in sorted(missing)][:5]}")

    def require_whole_index(self) -> None:
        """Check that what each device holds of the disk and of the service is so: `verify`. Raises: Found."""
        for one in self.devices:
            ran = one.cli("verify", "--local")
            if ran.code:
                raise Found(f"{one.name}: {ran.out[-1_500:]} {ran.err[-500:]}")


def told(one: Device, *arguments: str) -> str:
    """Let a person run `satchel ARGUMENTS` there; return what it says. Raises: Found when it does not do so."""
    ran = one.cli(*arguments)
    if ran.code:
        raise Found(f"{one.name}: satchel {' '.join(arguments)}: {ran.code} {ran.out[-500:]} {ran.err[-500:]}")
    return ran.out


def links_of(one: Device) -> list[LinkStatus]:
    """Return how its folder stands, and each shared folder in it."""
    return one.control().ask(Request("status"), DaemonStatus).links


def contents_below(folder: Path) -> set[bytes]:
    """Return the content hashes of all files below, without Satchel's own folder; what goes meanwhile is left out."""
    found: set[bytes] = set()
    for path in folder.rglob("*"):
        if ".satchel" not in path.parts and path.is_file() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError), path.open("rb") as opened:
                found.add(content_of(opened))
    return found


@contextlib.contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Start a service and three devices with an empty `own` and `team`, until the block ends."""
    with running_server(folder) as server:
        server.arguments = ("--listen", f"127.0.0.1:{server.port}")
        ann, ben = server.add_user("ann"), server.add_user("ben")
        with (
            device(folder, "laptop", ann) as laptop,
            device(folder, "desk", ann) as desk,
            device(folder, "phone", ben) as phone,
        ):
            made = Scene(server, laptop, desk, phone)
            for top in (OWN, TEAM):
                (laptop.folder / top).mkdir()
            laptop.wait_in_sync()
            told(laptop, "share", "add", "satchel:/team", "--with", "ben:edit")
            told(phone, "share", "accept", "team")
            for one in made.devices:
                wait_for((one.folder / TEAM).is_dir, f"{one.name} has no team folder: {one.told()}")
            made.rest()
            yield made
