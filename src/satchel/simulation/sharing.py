"""What people ask the service about shared folders, in the middle of all.

Invariant: a request is served whole or not at all, and what is refused is refused quietly: the script draws whatever
there is. Nobody's network lies between: the web app is where people do this.
"""

from __future__ import annotations

from collections.abc import Callable

from satchel.core.access import Role
from satchel.core.entries import Kind
from satchel.core.errors import Fault
from satchel.core.ids import AccountId, NamespaceId
from satchel.device.drive import drive
from satchel.server.accounts.members import Member, members_txn
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection
from satchel.server.sharing import people
from satchel.server.sharing.conversion import share_folder
from satchel.simulation.core_remote import snapshot_of
from satchel.simulation.script import Sharing
from satchel.simulation.world import World

SHARED_MAX = 3


class Sharings:
    """ended: for each account and namespace, how many contents had been written when its part ended last. known: what
    each device had at that moment, if all of it was in sync; else nothing."""

    def __init__(self, world: World, written: Callable[[], int]) -> None:
        self._world = world
        self._written = written
        self.ended: dict[tuple[AccountId, NamespaceId], int] = {}
        self.known: dict[int, set[bytes]] = {}
        self._looked_s = -1.0

    def do(self, step: Sharing) -> None:
        """Ask, if the service answers."""
        world = self._world
        if not world.service.answers:
            return
        before = self.parts()
        seen = self._seen()
        try:
            self._ask(step, before)
        except Fault as fault:
            world.trace(f"asked {step.kind}: {fault.code}")
        after = self.parts()
        for part in before.keys() - after.keys():
            self.ended[part] = self._written()
        for part in after:
            self.ended.pop(part, None)
        for part, member in before.items():
            if part not in after or after[part].mount_node != member.mount_node:
                mine = [one.who for one in world.devices if one.core.principal.account_id == member.account_id]
                self.known.update({who: seen.get(who, set()) for who in mine})
        self._looked_s = world.scheduler.now_s
        self._tell()

    def _seen(self) -> dict[int, set[bytes]]:
        """Return what stands on each device that is in sync with all shared folders, or was a moment ago."""
        if self._looked_s == self._world.scheduler.now_s:
            return self.known
        settled = [one for one in self._world.devices if one.daemon and one.daemon.is_settled(self._world.heads)]
        return {one.who: {data for data in one.user.tree().values() if data} for one in settled}

    def parts(self) -> dict[tuple[AccountId, NamespaceId], Member]:
        """Return all parts that were accepted."""
        return {(each.account_id, each.ns): each for each in self._members() if each.is_accepted}

    def _members(self) -> list[Member]:
        async def read_txn(conn: Connection) -> list[Member]:
            rows = await conn.fetch("SELECT ns FROM namespaces WHERE kind = 'shared' ORDER BY ns")
            return [member for row in rows for member in await members_txn(conn, NamespaceId(row[0]))]

        return drive(self._world.service.db.read(read_txn))

    def _ask(self, step: Sharing, parts: dict[tuple[AccountId, NamespaceId], Member]) -> None:
        service = self._world.service
        db, clock = service.db, service.clock
        who = {core.principal.account_id: core.principal for core in self._world.accounts}
        members = self._members()
        if step.kind == "share":
            if len({member.ns for member in members}) < SHARED_MAX:
                self._share(step)
            return
        is_asked = _CHOOSES[step.kind]
        found = [member for member in members if is_asked(member)]
        if not found:
            return
        member = found[int(step.pick * len(found))]
        owner = next(each.account_id for each in members if each.ns == member.ns and each.role == Role.OWNER)
        self._world.trace(f"asks {step.kind} {member.ns[-2:].hex()}")
        self._world.faults.fired[f"shared_{step.kind}"] += 1
        me, ns = member.account_id, member.ns
        match step.kind:
            case "accept":
                drive(people.accept(db, clock, who[me], ns))
            case "leave":
                drive(people.leave(db, clock, who[me], ns))
            case "remove":
                drive(people.remove(db, clock, who[owner], ns, me))
            case "view" | "edit":
                role = Role.VIEWER if step.kind == "view" else Role.EDITOR
                drive(people.change_role(db, clock, who[owner], ns, me, role))
            case "again":
                if step.into < 0.5:
                    drive(people.leave(db, clock, who[me], ns))
                else:
                    drive(people.remove(db, clock, who[owner], ns, me))
                drive(people.invite(db, clock, who[owner], ns, [(who[me].account_name, member.role)]))
                drive(people.accept(db, clock, who[me], ns))
            case _:
                drive(people.stop(db, clock, who[owner], ns))

    def _share(self, step: Sharing) -> None:
        """Share a folder of somebody, or one that is shared already, with everybody else."""
        world = self._world
        core = world.accounts[int(step.into * len(world.accounts))]
        entries = snapshot_of(core, core.principal.root_ns)
        folders = [entry for entry in entries if entry.kind in (Kind.FOLDER, Kind.MOUNT)]
        if not folders:
            return
        entry = folders[int(step.pick * len(folders))]
        me: Principal = core.principal
        world.trace(f"asks share {entry.name!r}")
        world.faults.fired["shared_share"] += 1
        service = world.service
        ns = drive(share_folder(service.db, service.clock, me, me.root_ns, entry.node_id))
        others = [one.principal.account_name for one in world.accounts if one is not core]
        drive(people.invite(service.db, service.clock, me, ns, [(name, Role.EDITOR) for name in others]))

    def _tell(self) -> None:
        """All streams look, and everybody at rest has what there is now."""
        world = self._world
        for core in world.accounts:
            for head in drive(core.namespaces()).namespaces:
                if head.head_seq > world.heads.get(head.ns, 0):
                    world.heads[head.ns] = head.head_seq
                    world.tell_streams(head.ns)


def _is_other(member: Member) -> bool:
    return member.is_accepted and member.role != Role.OWNER


_CHOOSES: dict[str, Callable[[Member], bool]] = {
    "accept": lambda member: not member.is_accepted,
    "leave": _is_other,
    "again": _is_other,
    "remove": lambda member: member.role != Role.OWNER,
    "view": lambda member: member.role == Role.EDITOR,
    "edit": lambda member: member.role == Role.VIEWER,
    "stop": lambda member: member.role == Role.OWNER,
}
