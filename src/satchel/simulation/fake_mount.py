"""The disk of a shared folder that stands in a linked one: `device.disk_mount` over a fake volume.

Invariant: as there, nothing of ours is in it, staging is its own, the trash is that of the disk around, and it is known
by inode and birth time. The folder that was opened is held on to, wherever it stands, until the root is looked at.
"""

from __future__ import annotations

from satchel.core.errors import Fault, NotFound, RootMissing
from satchel.core.ids import NamespaceId
from satchel.device.disk_mount import identity_of
from satchel.device.ports import DiskPath, Volume
from satchel.simulation.fake_disk import FakeDisk
from satchel.simulation.fake_volume import Inode


class FakeMountedDisk(FakeDisk):
    """path: where it stands in `outer`. Raises: RootMissing when no folder is there."""

    def __init__(self, outer: FakeDisk, path: DiskPath, ns: NamespaceId) -> None:
        super().__init__(outer.clock, pause=outer.pause, has_xattrs=outer.has_xattrs)
        self.before_call = self._before
        self.take_after(outer)
        self._outer = outer
        self._path = path
        self._staging = self.volume.staging_of(ns)
        self._folder = self._look()

    @property
    def root(self) -> Inode:
        if self._folder.links <= 0:
            # Linux refuses every name in a folder that was deleted.
            raise NotFound("The folder was deleted.", path="fake")
        return self._folder

    @property
    def staging(self) -> Inode:
        return self._staging

    def _before(self, name: str, args: tuple[object, ...]) -> Fault | None:
        """Tell the machine of a call, with the path as its user knows it."""
        before = self._outer.before_call
        if args and isinstance(args[0], bytes) and args[0]:
            args = (self._path + b"/" + args[0], *args[1:])
        return None if before is None else before(name, args)

    def _look(self) -> Inode:
        try:
            return self.volume.folder(self._outer.root, self._path)
        except Fault as fault:
            raise RootMissing("The linked folder is not there.", path="fake", reason="ENOENT") from fault

    def volume_now(self) -> Volume:
        self._folder = self._look()
        return Volume(identity_of(self._folder.number, self._folder.birth_ns), b"fake-volume")
