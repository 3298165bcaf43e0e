"""The simulation's world for scripted cases: the test says who does what and when, and nothing happens by chance.

Invariant: no faults but those that the test makes (kills, outages, images put back); one seed fixes the order of what
runs at once. Random users and faults are `satchel.simulation.run`.
"""

from __future__ import annotations

from collections.abc import Mapping

from satchel.simulation import world as simulation
from satchel.simulation.script import Script
from satchel.simulation.world import SimClock, SimDevice


class World(simulation.World):
    """One service and some devices of one account, each with the whole tree linked.

    marking: on which devices extended attributes are synced, as a bit each.
    """

    def __init__(self, seed: int, devices: int, *, marking: int = 0) -> None:
        super().__init__(Script(seed, devices, 1, 0.0, frozenset(), (), marking=marking))
        self._seed = seed

    def settle_with(self, tree: Mapping[bytes, bytes | None]) -> None:
        """Let the first device's user make a tree (None: a folder, before what is in it), until all devices have it."""
        first = self.devices[0].user
        for path, data in tree.items():
            if data is None:
                first.make_folder(path)
            else:
                first.write_file(path, data)
        self.settle()

    @property
    def is_down(self) -> bool:
        """True while the service is out of reach."""
        return self.service.is_down

    @is_down.setter
    def is_down(self, is_down: bool) -> None:
        self.service.is_down = is_down

    def clone(self, device: SimDevice) -> SimDevice:
        """Copy a running device, disk, index and credentials, to another machine, and start it there."""
        number = len(self.devices) + 1
        clock = SimClock(self.scheduler, f"{self._seed}:machine:{number}")
        twin = SimDevice(self, number, device.ns, device.core, clock, who=device.who)
        twin.put_back(device.image())
        self.devices.append(twin)
        return twin

    def settle(self, *, limit_s: float = 4_000.0) -> None:
        """Let everybody look at everything, and rest."""
        for _ in range(2):
            self.look(1.0)
            told = [(one.number, one.engine.state.halted, held(one)) for one in self.devices if one.is_running]
            assert self.scheduler.run_until(self.is_settled, limit_s=limit_s), told

    def look(self, seconds: float) -> None:
        """Let everybody look at everything, and so much virtual time pass."""
        for device in self.devices:
            device.hint_all()
        self.scheduler.run_for(seconds)

    def trees(self) -> list[dict[bytes, bytes | None]]:
        return [device.user.tree() for device in self.devices]

    def tree(self) -> dict[bytes, bytes | None]:
        """Return the tree that all devices have."""
        tree, *others = self.trees()
        assert others == [tree] * len(others), sorted(tree.items() ^ others[0].items(), key=str)[:8]
        return tree


def held(device: SimDevice) -> dict[str, str]:
    """Return path -> code of everything that waits."""
    index = device.engine.state.index
    told = {index.reader.remote_path_of(nid): code for nid, code, _, _ in index.held()}
    return told | {"/" + path.decode(errors="replace"): code for path, code, _, _ in index.unread()}
