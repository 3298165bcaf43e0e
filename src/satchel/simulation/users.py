"""The users of all devices: do what the script says, and remember what must survive.

Invariant: a content that was written and that no user overwrote, deleted or gave away must stay somewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

from satchel.core.errors import NotFound
from satchel.core.hashing import block_hash, content_hash
from satchel.core.ids import NamespaceId
from satchel.core.xattrs import pack_xattrs
from satchel.device.drive import drive
from satchel.device.engine import excluding, guard
from satchel.simulation.core_remote import snapshot_of
from satchel.simulation.fake_user import FakeUser
from satchel.simulation.fake_volume import Inode
from satchel.simulation.script import NAMES, Act, Choice, Cross, Late, Mark, Over
from satchel.simulation.world import SimDevice, World

HANDLE_S_MAX = 500.0
"""How long a program holds a file open: the last look at a swapped-out file comes after 600 s."""

Tree = dict[bytes, bytes | None]
T = TypeVar("T")


class Users:
    """written: all contents that users wrote. given_up: those that their own user overwrote or deleted."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open: list[tuple[SimDevice, Inode, float]] = []
        self.written: set[bytes] = set()
        self.given_up: set[bytes] = set()
        self.written_by: dict[bytes, tuple[NamespaceId, int]] = {}
        """Whose each content is, by the root of the account, and how many had been written before."""
        self.copied: set[bytes] = set()
        """Of which somebody made a copy: it is the own of whoever did."""
        self.late_written: set[bytes] = set()
        """By programs that held a file open."""
        self._left_to_the_service: set[bytes] = set()
        """What stood in a shared folder that somebody deleted: it comes back from the service."""
        self._actor = world.devices[0]

    @property
    def actor(self) -> SimDevice:
        """Return whose user did something last."""
        return self._actor

    def act(self, act: Act) -> None:
        """One user action on one device; whoever finds nothing to act on, or its new name taken, makes a new file."""
        device = self._actor = self._world.devices[int(act.place * len(self._world.devices))]
        tree = device.user.tree()
        folders = [b"", *(path for path, data in tree.items() if data is None)]
        target = _join(picked(folders, act.into) or b"", act.name)
        self._world.trace(f"user {device.number} {act.kind} {target!r}")
        changed = self._do(act, device, tree, target)
        for path in changed or self._make_anew(act, device.user, tree, target):
            device.changed(path)

    def mark(self, mark: Mark) -> None:
        """Set extended attributes of a file or folder, on a device that syncs them."""
        device = self._world.devices[int(mark.place * len(self._world.devices))]
        path = picked([path for path in device.user.tree() if not device.user.is_symlink(path)], mark.pick)
        if path is None or not device.disk.has_xattrs:
            return
        self._world.trace(f"user {device.number} marks {path!r} {mark.value}")
        self._world.faults.fired["marked"] += 1
        device.user.set_xattrs(path, pack_xattrs({b"mark": mark.value.encode()} if mark.value else {}))
        device.changed(path)

    def _all_have(self, device: SimDevice, data: bytes) -> bool:
        """Tell whether everybody has the content. If not, an edit of the same file under way may take the copy along:
        equal contents at one name are one file.
        """
        mates = [mate for mate in self._world.devices if mate.ns == device.ns]
        return all(data in mate.user.tree().values() for mate in mates)

    def _do(self, act: Act, device: SimDevice, tree: Tree, target: bytes) -> list[bytes]:
        """Result: the paths at which something changed."""
        user = device.user
        source = picked(user.files() if act.kind in _ON_FILES else list(tree), act.pick)
        if source is None and act.kind not in _MAKING:
            return []
        if act.kind in _MAKING:
            return self._make(act, user, tree, target)
        assert source is not None
        match act.kind:
            case "edit" | "save" | "keep_time":
                self._overwrite(act, user, tree, source)
            case "bit":
                user.set_executable(source, act.into < 0.5)
            case "delete":
                self._delete(user, tree, source)
            case "replace":
                if target == source or tree.get(target, b"") is None or target not in tree:
                    return []
                self._give_up(tree, target)
                user.rename(source, target)
                return [source, target]
            case "copy":
                data = tree[source]
                if target in tree or data is None:
                    return []
                self.copied.add(data)
                if self._all_have(device, data):
                    self.given_up.discard(data)
                user.write_file(target, data)
                return [target]
            case _:
                return self._move(act, user, tree, source, target)
        return [source]

    def _make(self, act: Act, user: FakeUser, tree: Tree, target: bytes) -> list[bytes]:
        if target in tree:
            return []
        match act.kind:
            case "create":
                user.write_file(target, self.content(act.number, act.size))
            case "folder":
                user.make_folder(target)
            case _:
                user.make_symlink(target, b"to %d" % act.number)
        return [target]

    def _make_anew(self, act: Act, user: FakeUser, tree: Tree, target: bytes) -> list[bytes]:
        folder, _, name = target.rpartition(b"/")
        names = (_join(folder, one) for one in (name, *NAMES, *(name + b" %d" % number for number in range(len(tree)))))
        path = next(path for path in names if path not in tree)
        user.write_file(path, self.content(act.number, act.size))
        return [path]

    def _move(self, act: Act, user: FakeUser, tree: Tree, source: bytes, target: bytes) -> list[bytes]:
        other = picked(sorted(tree), act.into)
        match act.kind:
            case "rename" if target not in tree and not _is_in(target, source):
                user.rename(source, target)
                return [source, target]
            case "swap" if other is not None and not (_is_in(other, source) or _is_in(source, other)):
                user.rename(source, b"between")
                user.rename(other, source)
                user.rename(b"between", other)
                return [source, other]
            case "nest" if other is not None and tree[source] is None and tree[other] is None:
                inside = other + b"/" + act.name
                if not _is_in(other, source) and inside not in tree:
                    user.rename(source, inside)
                    return [source, inside]
            case "cycle" if other is not None and tree[source] is None and other != source and _is_in(other, source):
                # A folder and what was in it change places: one enters the other.
                if tree[other] is None and b"between" not in tree:
                    user.rename(other, b"between")
                    user.rename(source, b"between/" + act.name if not _has(tree, other, act.name) else b"between/in")
                    user.rename(b"between", source)
                    return [source, other]
        return []

    def cross(self, cross: Cross) -> None:
        """Two users move two folders into one another, neither knowing of the other."""
        device = self._world.devices[int(cross.place * len(self._world.devices))]
        mates = [one for one in self._world.devices if one.ns == device.ns and one is not device]
        if not mates:
            return
        mate = mates[int(cross.into * len(mates))]
        tree, other = device.user.tree(), mate.user.tree()
        folders = [path for path, data in tree.items() if data is None and path in other and other[path] is None]
        one, two = picked(folders, cross.pick), picked(folders, cross.into)
        if one is None or two is None or _is_in(one, two) or _is_in(two, one):
            return
        if _has(tree, two, cross.name) or _has(other, one, cross.name):
            return
        self._world.trace(f"users {device.number} and {mate.number} cross {one!r} and {two!r}")
        device.user.rename(one, _join(two, cross.name))
        mate.user.rename(two, _join(one, cross.name))
        for actor in (device, mate):
            actor.changed(one)
            actor.changed(two)

    def choose(self, choice: Choice) -> None:
        """One user leaves something out on one device, or takes that back; the daemon must run for it."""
        device = self._world.devices[int(choice.place * len(self._world.devices))]
        if not device.is_running:
            return
        left = sorted(excluding.paths_of(device.engine.state).values())
        path = picked(sorted(device.user.tree()) if choice.is_out else [each.encode() for each in left], choice.pick)
        if path is None:
            return
        self._world.trace(f"user {device.number} {'leaves out' if choice.is_out else 'takes back'} {path!r}")
        say = excluding.exclude if choice.is_out else excluding.include
        try:
            say(device.engine.state, (path.decode(),))
        except NotFound:
            # The device has not seen it yet.
            return
        self._world.faults.fired["left_out" if choice.is_out else "taken_back"] += 1
        device.tell(is_heard=True, is_full=False)

    def take_all_back(self) -> None:
        """Everybody wants everything on every device again."""
        for device in self._world.devices:
            state = device.engine.state
            excluding.include(state, sorted(set(excluding.paths_of(state).values())))

    def lose_what_is_only_on(self, machine: Sequence[SimDevice]) -> None:
        """The machine's disks are about to be what they were: what nobody else has yet is given up."""
        for device in machine:
            mates = [one for one in self._world.devices if one.ns == device.ns and one.number != device.number]
            elsewhere = {data for mate in mates for data in mate.user.tree().values() if data is not None}
            self.given_up |= device.user.everything() - elsewhere

    def lose_what_the_service_had(self) -> None:
        """The service is what it was: what it alone had since, because somebody deleted it, does not come back."""
        world = self._world
        on_disks = {data for device in world.devices for data in device.user.everything()}
        places = [(core, ns) for core in world.accounts for ns in drive(core.rights())]
        known = {entry.content for core, ns in places for entry in snapshot_of(core, ns)}
        gone = self._left_to_the_service - on_disks
        self.given_up |= {data for data in gone if content_hash((block_hash(data),)) not in known}

    def give_up(self, contents: Collection[bytes]) -> None:
        """Somebody takes these away on the service. contents: their hashes."""
        wanted = set(contents)
        self.given_up |= {data for data in self.written if content_hash((block_hash(data),)) in wanted}

    def content(self, number: int, size: int = 12) -> bytes:
        """Return bytes that nobody wrote before (but for the empty file), and remember that they must survive."""
        data = (b"content %d " % number).ljust(size, b".") if size else b""
        self.written.add(data)
        self.written_by.setdefault(data, (self._actor.ns, len(self.written_by)))
        return data

    def _overwrite(self, act: Act, user: FakeUser, tree: Tree, path: bytes) -> None:
        self._give_up(tree, path)
        size = act.size
        if act.kind == "keep_time":
            # As programs do that set the time back after a write: only the ctime tells.
            old = tree[path]
            assert old is not None
            data = self.content(act.number, len(old)) if len(old) > 11 else self.content(act.number, 12)
            mtime_ns = user.inode_at(path).mtime_ns
            user.write_file(path, data)
            user.inode_at(path).mtime_ns = mtime_ns
            user.inode_at(path).save()
            return
        (user.save_file if act.kind == "save" else user.write_file)(path, self.content(act.number, size))

    def _give_up(self, tree: Tree, path: bytes) -> None:
        data = tree[path]
        if data is not None:
            self.given_up.add(data)

    def _delete(self, user: FakeUser, tree: Tree, path: bytes) -> None:
        for below in tree:
            if _is_in(below, path):
                self._give_up(tree, below)
        user.delete(path)

    def save(self, device: SimDevice, path: bytes, number: int) -> None:
        """Write a new file, its folders made where they lack."""
        self._actor = device
        parts = path.split(b"/")
        for depth in range(1, len(parts)):
            folder = b"/".join(parts[:depth])
            if folder not in device.user.tree():
                device.user.make_folder(folder)
                device.changed(folder)
        device.user.write_file(path, self.content(number))
        device.changed(path)

    def rename(self, device: SimDevice, source: bytes, target: bytes) -> None:
        """Give what stands there another name."""
        self._actor = device
        device.user.rename(source, target)
        device.changed(source)
        device.changed(target)

    def delete(self, device: SimDevice, path: bytes) -> None:
        """Delete what stands there, with all in it."""
        self._actor = device
        self._delete(device.user, device.user.tree(), path)
        device.changed(path)

    def meddle(self, device: SimDevice, path: bytes, number: int) -> None:
        """Write to a file while it is read."""
        tree = device.user.tree()
        if tree.get(path) is None or device.user.is_symlink(path):
            return
        self._actor = device
        self._give_up(tree, path)
        device.user.write_file(path, self.content(number))
        device.changed(path)

    # -- shared folders -----------------------------------------------------------------------------------------------

    def over(self, over: Over) -> None:
        """Move something over the edge of a shared folder, or that folder itself; one of the linked folder's user."""
        holders = [one for one in self._world.devices if over.kind == "make" or self._shared_in(one, over)]
        device = picked(holders, over.place)
        if device is None:
            return
        self._actor = device
        tree = device.user.tree()
        if over.kind == "make" and over.name not in tree:
            device.user.make_folder(over.name)
            device.user.write_file(over.name + b"/first", self.content(over.number))
            device.changed(over.name)
            return
        mounts = [path for path in self._shared_in(device, over) if tree.get(path, b"") is None]
        mount = picked(mounts, over.into)
        if mount is None:
            return
        self._world.trace(f"user {device.number} {over.kind} {mount!r}")
        inside = [path for path in tree if path != mount and _is_in(path, mount)]
        outside = [path for path in tree if not any(_is_in(path, one) or _is_in(one, path) for one in mounts)]
        match over.kind:
            case "delete":
                self._delete_shared(device, tree, mount)
                device.changed(mount)
                return
            case "in":
                source, folders = picked(outside, over.pick), [mount, *(path for path in inside if tree[path] is None)]
            case "out":
                source, folders = picked(inside, over.pick), [b"", *(path for path in outside if tree[path] is None)]
            case "swap":
                self._swap_over(device, tree, picked(inside, over.pick), picked(outside, over.into))
                return
            case "nest":
                source, folders = mount, [path for path in outside if tree[path] is None]
            case _:
                source, folders = mount, [mount.rpartition(b"/")[0]]
        folder = picked(folders, over.pick)
        if source is None or folder is None or _has(tree, folder, over.name) or _is_in(folder, source):
            return
        self._world.faults.fired[f"over_{over.kind}"] += 1
        device.user.rename(source, _join(folder, over.name))
        device.changed(source)
        device.changed(_join(folder, over.name))

    def _shared_in(self, device: SimDevice, over: Over) -> list[bytes]:
        """Return which folders the user takes for shared ones: he may know it before his device does."""
        known = device.mounts()
        return known if over.kind == "delete" else sorted({*known, *device.becoming()})

    def _swap_over(self, device: SimDevice, tree: Tree, inside: bytes | None, outside: bytes | None) -> None:
        """Two things change places over the edge."""
        between = b"between"
        if inside is None or outside is None or between in tree:
            return
        self._world.faults.fired["over_swap"] += 1
        for source, target in ((inside, between), (outside, inside), (between, outside)):
            device.user.rename(source, target)
        device.changed(inside)
        device.changed(outside)

    def _delete_shared(self, device: SimDevice, tree: Tree, mount: bytes) -> None:
        """That deletes nothing of what the service has of it: it comes back. What was moved in it, or into it, since
        is no such thing: where it came from it is gone."""
        served = device.served(mount)
        for below in tree:
            data = tree[below]
            if not _is_in(below, mount) or data is None:
                continue
            is_served = served.get(below[len(mount) + 1 :]) == content_hash((block_hash(data),))
            (self._left_to_the_service if is_served else self.given_up).add(data)
        self._world.faults.fired["over_delete"] += 1
        device.user.delete(mount)

    # -- programs that hold files open --------------------------------------------------------------------------------

    def late(self, late: Late) -> None:
        """Open a file, or write to one opened before, whatever became of its name.

        Only in runs without faults: a crash between a swap and its record forgets the looks.
        """
        device = self._world.devices[int(late.place * len(self._world.devices))]
        tree = device.user.tree()
        if late.is_opening:
            path = picked([path for path in tree if tree[path] is not None], late.pick)
            if path is not None and not device.user.is_symlink(path):
                self._open.append((device, device.user.inode_at(path), self._world.scheduler.now_s))
            return
        if not self._open:
            return
        device, inode, opened_s = self._open.pop(int(late.pick * len(self._open)))
        is_old = self._world.scheduler.now_s > opened_s + HANDLE_S_MAX
        if is_old or not any(one is inode for one in device.disk.volume.everything()):
            return
        self._actor = device
        self.given_up.add(inode.data)
        data = self.content(-late.number)
        self.late_written.add(data)
        device.user.write_inode(inode, data)
        self._world.faults.fired["late_write"] += 1
        self._world.trace(f"late write on {inode.number}")


_ON_FILES = frozenset({"edit", "save", "bit", "replace", "copy", "keep_time"})
_MAKING = frozenset({"create", "folder", "link"})


def allow_deletions(world: World) -> bool:
    """Everybody allows the deletions that are held, on every device. False when none is."""
    held = [(device, engine.state) for device in world.devices for engine in device.engines if engine.state.held_back]
    for device, state in held:
        world.trace(f"user {device.number} allows {guard.allow_held(state)} deletions")
        world.faults.fired["deletions_allowed"] += 1
        device.tell(is_heard=True, is_full=False)
    return bool(held)


def picked(among: Sequence[T], share: float) -> T | None:
    """Return the one at that share of all, None when there are none."""
    return among[int(share * len(among))] if among else None


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _is_in(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")


def _has(tree: Tree, folder: bytes, name: bytes) -> bool:
    return _join(folder, name) in tree
