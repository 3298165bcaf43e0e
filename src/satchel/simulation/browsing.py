"""What people do on the service itself, as in a browser: it comes to the devices as another device's work does.

Invariant: what the service may lose by it is given up before it is asked, since its answer may be lost.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from satchel.core.entries import Entry, Kind
from satchel.core.errors import Fault
from satchel.core.ids import ROOT_NODE, NamespaceId, NodeId
from satchel.device.drive import drive
from satchel.simulation.core_remote import CoreRemote, snapshot_of
from satchel.simulation.script import Afar
from satchel.simulation.users import Users, picked
from satchel.simulation.world import SimDevice, World

REWIND_SEQS = 40
"""A rewind goes back by so many changes at most."""


class Browsers:
    """The people of all accounts, each at a browser."""

    def __init__(self, world: World, users: Users) -> None:
        self._world = world
        self._users = users
        self._deleted: dict[NamespaceId, list[NodeId]] = {}

    def do(self, step: Afar) -> None:
        """Ask, if the service answers. What is refused changes nothing."""
        world = self._world
        device = world.devices[int(step.place * len(world.devices))]
        if not world.service.answers:
            return
        entries = snapshot_of(device.core, device.ns)
        try:
            is_done = self._ask(step, device, entries)
        except Fault:
            is_done = False
        world.trace(f"browser {device.ns[-2:].hex()} {step.kind} {is_done}")
        world.faults.fired["from_afar"] += is_done
        world.tell_streams(device.ns)

    def _ask(self, step: Afar, device: SimDevice, entries: Sequence[Entry]) -> bool:
        core, ns = device.core, device.ns
        folders = [ROOT_NODE, *(entry.node_id for entry in entries if entry.kind == Kind.FOLDER)]
        into = picked(folders, step.into) or ROOT_NODE
        if step.kind == "back":
            node = picked(self._deleted.get(ns, []), step.pick)
            return node is not None and drive(core.bring_back(ns, node))
        if step.kind == "folder":
            return drive(core.make_folder(ns, into, step.name.decode()))
        if step.kind == "rewind":
            last = max((entry.seq for entry in entries), default=0)
            self._users.give_up([entry.content for entry in entries])
            return drive(core.rewind(ns, max(1, last - int(step.pick * REWIND_SEQS))))
        entry = picked(entries, step.pick)
        return entry is not None and self._change(step, core, ns, entry, into, entries)

    def _change(
        self, step: Afar, core: CoreRemote, ns: NamespaceId, entry: Entry, into: NodeId, entries: Sequence[Entry]
    ) -> bool:
        match step.kind:
            case "move":
                return drive(core.move(ns, [(entry, into, step.name.decode())]))
            case "rename":
                return drive(core.move(ns, [(entry, entry.parent_id, step.name.decode())]))
            case "swap":
                other = picked(entries, step.into) or entry
                places = [(entry, other.parent_id, other.name), (other, entry.parent_id, entry.name)]
                return other is not entry and drive(core.move(ns, places))
            case "delete":
                self._users.give_up([one.content for one in _unit(entries, entry.node_id)])
                self._deleted.setdefault(ns, []).append(entry.node_id)
                return drive(core.delete(ns, entry.node_id, max(one.seq for one in entries)))
            case "version" if entry.kind == Kind.FILE:
                self._users.give_up([entry.content])
                rev = picked(drive(core.versions(ns, entry.node_id)), step.into)
                return rev is not None and drive(core.bring_back_version(ns, entry.node_id, rev))
        return False


def _unit(entries: Collection[Entry], top: NodeId) -> list[Entry]:
    """Return the node and all below it."""
    inside, found = {top}, [entry for entry in entries if entry.node_id == top]
    while True:
        more = [entry for entry in entries if entry.parent_id in inside and entry.node_id not in inside]
        if not more:
            return found
        inside.update(entry.node_id for entry in more)
        found += more
