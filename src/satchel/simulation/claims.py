"""What must hold at the end of every run. Invariant: each claim has a name, and says of what it saw.

Quiet: all devices of a namespace, and the service, hold equal trees; no content is lost, none is nobody's, no folder
holds a name twice. Alone: what one user then does alone comes out on every device exactly so, with nothing more.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection

from msgspec.structs import replace

from satchel.core.entries import Action, Entry, Kind
from satchel.core.hashing import EMPTY_CONTENT, block_hash, content_hash
from satchel.core.ids import NamespaceId, NodeId
from satchel.device.drive import drive
from satchel.simulation.broken import Broken
from satchel.simulation.core_remote import path_of, snapshot_of
from satchel.simulation.fake_user import FakeUser, shown
from satchel.simulation.sharing import Sharings
from satchel.simulation.users import Users
from satchel.simulation.world import SimDevice, World

Whole = dict[bytes, tuple[bytes | None, bool, bool, bytes]]
"""Path -> (content, target, or None of a folder; the executable bit; whether it is a symlink; extended attributes)."""


TOLD_BYTES = 24
"""So much of a content is told: its number stands first."""

FORGETTING = ("index_lost", "power_cut", "torn_writes", "device_restored", "service_restored")
"""By these a device, or the service, may know less than it did."""


def check_quiet(world: World, users: Users) -> None:
    """Raises: Broken."""
    alive: set[bytes] = set()
    for mates in by_namespace(world):
        mates.sort(key=lambda mate: not mate.disk.has_xattrs)
        first, served = whole(mates[0].user), _served(mates[0], is_deep=world.has_mounts)
        for mate in mates[1:]:
            tree = first if mate.disk.has_xattrs else _unmarked(first)
            _equal("equal trees", tree, whole(mate.user))
        is_marking = mates[0].disk.has_xattrs
        _equal("the service has the same tree", first, served if is_marking else _unmarked(served))
        if found := twins(first):
            raise Broken("no folder holds a name twice", found)
        alive |= {data for data, _, is_symlink, _ in first.values() if data is not None and not is_symlink}
    if world.has_mounts:
        # A link that ends for good looks at nothing any more: what a program writes later to a file that the link had
        # put into the trash stays there.
        alive |= users.late_written & {data for device in world.devices for data in device.user.trashed()}
    if lost := users.written - users.given_up - alive - {b""}:
        raise Broken("nothing is lost", [data[:TOLD_BYTES] for data in sorted(lost)[:4]])
    if strange := alive - users.written - {b""}:
        raise Broken("nothing is nobody's", [data[:TOLD_BYTES] for data in sorted(strange)[:4]])


def by_namespace(world: World) -> list[list[SimDevice]]:
    """Return the devices, those of one namespace together."""
    found: dict[bytes, list[SimDevice]] = {}
    for device in world.devices:
        found.setdefault(device.ns, []).append(device)
    return list(found.values())


def whole(user: FakeUser) -> Whole:
    """Return all that a user sees."""
    return {path: (shown(one), one.is_executable, one.kind is Kind.SYMLINK, one.xattrs) for path, one in user.found()}


def _unmarked(tree: Whole) -> Whole:
    """Return the tree as a device has it that syncs no extended attributes."""
    return {path: (*found[:3], b"") for path, found in tree.items()}


def check_alone(before: list[Whole], after: list[Whole]) -> None:
    """One user acted alone, between two times of rest. Raises: Broken unless his own tree is as he left it."""
    for left, found in zip(before, after, strict=True):
        _equal("what one does alone comes out so", left, found)


def last_seq(device: SimDevice) -> int:
    """Return the newest seq of the device's namespace."""
    return max((entry.seq for entry in snapshot_of(device.core, device.ns)), default=0)


def check_moves(device: SimDevice, seq: int, names: Collection[str]) -> None:
    """Since that seq the device's user only moved folders, which have these names. Raises: Broken when anything else
    was sent, by whichever device."""
    mine = device.core.device_id
    sent = drive(device.core.sent(device.ns, seq))
    found = [(kind, name) for kind, name, by in sent if by != mine or kind != Action.MOVE or name not in names]
    if found:
        raise Broken("only what is done is sent", found[:6])


def check_gentle(world: World) -> None:
    """Nobody deleted, moved or replaced anything, so nothing was deleted, whatever broke. Raises: Broken."""
    for mates in by_namespace(world):
        shared = drive(mates[0].core.rights()) if world.has_mounts else {mates[0].ns: True}
        for ns in shared:
            deleted = drive(mates[0].core.deletions(ns, world.heads.get(ns, 0)))
            if deleted:
                raise Broken("what nobody deletes stays", deleted[:4])


def _equal(claim: str, one: Whole, other: Whole) -> None:
    if one != other:
        raise Broken(claim, sorted(((k, *v) for k, v in one.items() ^ other.items()), key=str)[:6])


def twins(tree: Whole) -> tuple[bytes, bytes] | None:
    """Return two paths whose names are one for a folder, None when there are none."""
    seen: dict[tuple[bytes, str], bytes] = {}
    for path in tree:
        folder, _, name = path.rpartition(b"/")
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.decode()).casefold())
        if (twin := seen.setdefault((folder, text), path)) != path:
            return twin, path
    return None


def check_shared(world: World, users: Users, sharings: Sharings, *, is_gentle: bool) -> None:
    """Whose part is over got nothing of what others wrote since, and keeps nothing that he made no own. Raises: Broken.

    is_gentle: nobody took anything out of a shared folder but by copies. A device that has forgotten that a folder was
    a shared one keeps it as its user's own.
    """
    is_gentle = is_gentle and not any(world.faults.fired[kind] for kind in FORGETTING)
    has_part = {account for account, _ in sharings.parts()}
    for device in world.devices:
        account = device.core.principal.account_id
        ended = [count for (who, _), count in sharings.ended.items() if who == account]
        if account in has_part or not ended:
            continue
        for data in device.user.everything() - {b""}:
            whose, before = users.written_by.get(data, (device.ns, 0))
            if whose != device.ns and before >= max(ended):
                raise Broken("whose part is over gets nothing more", (device.number, data[:40]))
        known = sharings.known.get(device.who, set()) if is_gentle else set()
        for path, seen in device.user.tree().items():
            if seen and seen in known - users.copied and users.written_by.get(seen, (device.ns, 0))[0] != device.ns:
                raise Broken("what is over leaves the disk", (device.number, path))


def _served(device: SimDevice, *, is_deep: bool) -> Whole:
    """Return the service's tree as a new device would get it. is_deep: with the shared folders that stand in it.

    A node id is one node in each namespace: what a device began to make in a folder while it was made a shared one, and
    took out of it, it may make outside under the id that is known inside.
    """
    entries = {entry.node_id: entry for entry in snapshot_of(device.core, device.ns)}
    tree: Whole = {}
    for mount in [entry for entry in entries.values() if entry.kind == Kind.MOUNT] if is_deep else ():
        entries[mount.node_id] = replace(mount, kind=int(Kind.FOLDER))
        inside = {entry.node_id: entry for entry in snapshot_of(device.core, NamespaceId(mount.content))}
        at = path_of(entries, mount)
        tree |= {at + b"/" + path: found for path, found in _as_tree(device, inside).items()}
    return tree | _as_tree(device, entries)


def _as_tree(device: SimDevice, entries: dict[NodeId, Entry]) -> Whole:
    known: dict[bytes, bytes] = {bytes(EMPTY_CONTENT): b""}
    for data in device.user.tree().values():
        if data is not None:
            known[bytes(content_hash((block_hash(data),)))] = data
    tree: Whole = {}
    for entry in entries.values():
        path = path_of(entries, entry)
        xattrs = entry.xattrs or b""
        match entry.kind:
            case Kind.FOLDER:
                tree[path] = (None, False, False, xattrs)
            case Kind.SYMLINK:
                tree[path] = (entry.content, False, True, xattrs)
            case _:
                tree[path] = (known.get(bytes(entry.content), entry.content), entry.is_executable, False, xattrs)
    return tree
