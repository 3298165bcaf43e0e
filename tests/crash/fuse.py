"""A file system in memory that writes down every change: the kernel's FUSE protocol, spoken without any library.

Invariant: one process, one request at a time, so that the journal is the order in which things happened. Folders of the
mount are independent worlds: a scenario runs in one, and each image of a power cut is hung up as another, with the
inode numbers that its files had. Needs root and /dev/fuse. Source: linux/fuse.h (protocol 7.31).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import stat as modes
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from tests.crash.volume import Event, Image, Made, Marked, Named, Node, Synced, Wrote, frozen, written

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<4Q2I")
_ATTR_HEAD = struct.Struct("<Q2I")
_SETATTR = struct.Struct("<2I6Q8I")
_INIT = struct.Struct("<4I2H2I2H8I")
_STATFS = struct.Struct("<5Q10I")
_OPEN = struct.Struct("<Q2I")
_IO = struct.Struct("<QQIIQII")
_DIRENT = struct.Struct("<QQII")
_BYTES_MAX = 128 * 1024
_NOREPLACE, _EXCHANGE = 1, 2
_MODE, _SIZE, _MTIME, _MTIME_NOW = 1, 8, 32, 256
_MNT_DETACH = 2
_SILENT = {2, 36, 42}
_libc = ctypes.CDLL(None, use_errno=True)


class Mount:
    """The mount as the driver sees it. path: where; its folders are the worlds."""

    def __init__(self, path: str, line: Connection) -> None:
        self.path = path
        self._line = line

    def _ask(self, *what: object) -> object:
        self._line.send(what)
        if not self._line.poll(60):
            raise TimeoutError("the file system does not answer")
        return self._line.recv()

    def settle(self, world: str) -> Image:
        """Call everything in the world durable and begin a new journal. Result: the world now."""
        return self._ask("settle", world.encode())  # type: ignore[return-value]

    def position(self) -> int:
        """Return how long the journal is."""
        return self._ask("position")  # type: ignore[return-value]

    def journal(self) -> list[Event]:
        """Return the journal since `settle`."""
        return self._ask("journal")  # type: ignore[return-value]

    def hang(self, world: str, image: Image, top: int) -> None:
        """Make an image a world."""
        self._ask("hang", world.encode(), image, top)

    def drop(self, world: str) -> None:
        """Forget a world."""
        self._ask("drop", world.encode())


@contextlib.contextmanager
def mounted() -> Iterator[Mount]:
    """Mount an empty file system until the block ends. Raises: OSError without root or /dev/fuse."""
    path = tempfile.mkdtemp(prefix="satchel-power-")
    ours, theirs = socket.socketpair()
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,default_permissions".encode()
    if _libc.mount(b"satchel-power", path.encode(), b"fuse", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "the file system cannot be mounted")
    child = os.fork()
    if child == 0:
        ours.close()
        try:
            _Server(fuse, Connection(theirs.detach())).run()
        except BaseException as error:
            sys.stderr.write(f"the file system ended: {error!r}\n")
        os._exit(0)
    os.close(fuse)
    theirs.close()
    try:
        yield Mount(path, Connection(ours.detach()))
    finally:
        _libc.umount2(path.encode(), _MNT_DETACH)
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.rmdir(path)


class _Failed(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Server:
    """Answers the kernel and the driver."""

    def __init__(self, fuse: int, line: Connection) -> None:
        self._fuse = fuse
        self._line = line
        now = time.time_ns()
        self._root = Node(1, 1, modes.S_IFDIR | 0o755, now, now)
        self._nodes = {1: self._root}
        self._next = 2
        self._journal: list[Event] = []
        self._calls: dict[int, Callable[[Node, bytes], bytes]] = {
            1: self._lookup, 3: lambda node, _: self._attributes(node), 4: self._set, 5: lambda node, _: node.target,
            6: self._symlink, 8: self._make_node, 9: self._make_folder, 10: self._unlink, 11: self._unlink,
            12: self._rename, 13: self._link, 14: lambda *_: _OPEN.pack(0, 0, 0), 15: self._read, 16: self._write,
            17: self._space, 18: lambda *_: b"", 20: self._sync, 25: lambda *_: b"", 26: self._init,
            27: lambda *_: _OPEN.pack(0, 0, 0), 28: self._list, 29: lambda *_: b"", 30: self._sync, 35: self._create,
            45: self._rename2,
        }  # fmt: skip

    def run(self) -> None:
        """Serve until the mount is gone or the driver ends."""
        while True:
            ready, _, _ = select.select([self._fuse, self._line], [], [])
            if self._line in ready:
                try:
                    asked = self._line.recv()
                except EOFError:
                    return
                self._line.send(self._told(*asked))
            if self._fuse in ready and not self._serve():
                return

    def _serve(self) -> bool:
        try:
            raw = os.read(self._fuse, _BYTES_MAX + 4096)
        except OSError as error:
            return error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN)
        _, code, unique, key, *_ = _IN.unpack_from(raw)
        if code in _SILENT:
            return True
        try:
            call = self._calls.get(code)
            if call is None:
                raise _Failed(errno.EOPNOTSUPP if code == 43 else errno.ENOSYS)
            answer, number = call(self._nodes[key or 1], raw[_IN.size :]), 0
        except _Failed as failed:
            answer, number = b"", failed.number
        with contextlib.suppress(FileNotFoundError):
            # Whoever asked may be dead by now.
            os.write(self._fuse, _OUT.pack(_OUT.size + len(answer), -number, unique) + answer)
        return True

    # -- the driver ---------------------------------------------------------------------------------------------------

    def _told(self, what: str, world: bytes = b"", image: Image | None = None, top: int = 0) -> object:
        match what:
            case "settle":
                self._journal = []
                return frozen(self._root.entries[world])
            case "position":
                return len(self._journal)
            case "journal":
                return self._journal
            case "hang":
                self._root.entries[world] = self._hung(image or {}, top)
            case "drop":
                self._root.entries.pop(world, None)
        return None

    def _hung(self, image: Image, top: int) -> Node:
        made: dict[int, Node] = {}

        def node_of(key: int) -> Node:
            if key not in made:
                kept = image[key]
                node = made[key] = Node(self._new_key(), kept.number, kept.mode, kept.mtime_ns, kept.ctime_ns)
                node.data, node.target = bytearray(kept.data), kept.target
                self._nodes[node.key] = node
                node.entries = {name: node_of(below) for name, below in kept.entries}
            return made[key]

        return node_of(top)

    def _new_key(self) -> int:
        key, self._next = self._next, self._next + 1
        return key

    # -- looking ------------------------------------------------------------------------------------------------------

    def _packed(self, node: Node) -> bytes:
        size = len(node.target or node.data)
        seconds, parts = zip(*(divmod(at, 10**9) for at in (node.mtime_ns, node.mtime_ns, node.ctime_ns)), strict=True)
        blocks = -(-size // 512)
        links = 2 if node.is_folder else 1
        return _ATTR.pack(node.number, size, blocks, *seconds, *parts, node.mode, links, 0, 0, 0, 4096, 0)

    def _entry(self, node: Node) -> bytes:
        return _ENTRY.pack(node.key, 0, 0, 0, 0, 0) + self._packed(node)

    def _attributes(self, node: Node) -> bytes:
        return _ATTR_HEAD.pack(0, 0, 0) + self._packed(node)

    def _lookup(self, folder: Node, raw: bytes) -> bytes:
        return self._entry(self._below(folder, raw.rstrip(b"\0")))

    @staticmethod
    def _below(folder: Node, name: bytes) -> Node:
        found = folder.entries.get(name)
        if found is None:
            raise _Failed(errno.ENOENT)
        return found

    def _read(self, node: Node, raw: bytes) -> bytes:
        _, offset, size, *_ = _IO.unpack_from(raw)
        return bytes(node.data[offset : offset + size])

    def _list(self, folder: Node, raw: bytes) -> bytes:
        _, offset, size, *_ = _IO.unpack_from(raw)
        answer = b""
        for at, (name, below) in enumerate(list(folder.entries.items())[offset:], offset + 1):
            one = _DIRENT.pack(below.number, at, len(name), below.mode >> 12) + name
            one = one.ljust(-(-len(one) // 8) * 8, b"\0")
            if len(answer) + len(one) > size:
                break
            answer += one
        return answer

    @staticmethod
    def _space(node: Node, raw: bytes) -> bytes:
        return _STATFS.pack(2**20, 2**20, 2**20, 2**20, 2**20, 4096, 255, 4096, *[0] * 7)

    @staticmethod
    def _init(node: Node, raw: bytes) -> bytes:
        flags = 1 << 5 | 1 << 22  # large writes, and as many pages as we say
        return _INIT.pack(7, 31, 0, flags, 16, 12, _BYTES_MAX, 1, _BYTES_MAX // 4096, 0, *[0] * 8)

    # -- changing -----------------------------------------------------------------------------------------------------

    def _new(self, folder: Node, name: bytes, mode: int, target: bytes = b"") -> Node:
        if name in folder.entries:
            raise _Failed(errno.EEXIST)
        now = time.time_ns()
        key = self._new_key()
        node = self._nodes[key] = Node(key, key, mode, now, now, target=target)
        self._journal.append(Made(key, key, mode, target, now))
        self._name((folder, name, node))
        return node

    def _name(self, *changes: tuple[Node, bytes, Node | None]) -> None:
        now = time.time_ns()
        for folder, name, node in changes:
            folder.entries.pop(name, None)
            if node is not None:
                folder.entries[name] = node
                node.ctime_ns = now
            folder.mtime_ns = folder.ctime_ns = now
        self._journal.append(
            Named(tuple((folder.key, name, node.key if node else 0) for folder, name, node in changes))
        )

    def _make_folder(self, folder: Node, raw: bytes) -> bytes:
        mode, umask = struct.unpack_from("<II", raw)
        return self._entry(self._new(folder, raw[8:].rstrip(b"\0"), modes.S_IFDIR | (mode & ~umask & 0o7777)))

    def _make_node(self, folder: Node, raw: bytes) -> bytes:
        mode, _, umask, _ = struct.unpack_from("<4I", raw)
        return self._entry(self._new(folder, raw[16:].rstrip(b"\0"), mode & ~umask))

    def _create(self, folder: Node, raw: bytes) -> bytes:
        _, mode, umask, _ = struct.unpack_from("<4I", raw)
        node = self._new(folder, raw[16:].rstrip(b"\0"), modes.S_IFREG | (mode & ~umask & 0o7777))
        return self._entry(node) + _OPEN.pack(0, 0, 0)

    def _symlink(self, folder: Node, raw: bytes) -> bytes:
        name, target, _ = raw.split(b"\0", 2)
        return self._entry(self._new(folder, name, modes.S_IFLNK | 0o777, target))

    def _unlink(self, folder: Node, raw: bytes) -> bytes:
        name = raw.rstrip(b"\0")
        if self._below(folder, name).entries:
            raise _Failed(errno.ENOTEMPTY)
        self._name((folder, name, None))
        return b""

    def _link(self, folder: Node, raw: bytes) -> bytes:
        (key,) = struct.unpack_from("<Q", raw)
        name = raw[8:].rstrip(b"\0")
        if name in folder.entries:
            raise _Failed(errno.EEXIST)
        self._name((folder, name, self._nodes[key]))
        return self._entry(self._nodes[key])

    def _rename(self, folder: Node, raw: bytes) -> bytes:
        return self._renamed(folder, struct.unpack_from("<Q", raw)[0], 0, raw[8:])

    def _rename2(self, folder: Node, raw: bytes) -> bytes:
        key, flags, _ = struct.unpack_from("<QII", raw)
        return self._renamed(folder, key, flags, raw[16:])

    def _renamed(self, folder: Node, key: int, flags: int, names: bytes) -> bytes:
        old, new, _ = names.split(b"\0", 2)
        target = self._nodes[key]
        node, there = self._below(folder, old), target.entries.get(new)
        if flags & _EXCHANGE:
            if there is None:
                raise _Failed(errno.ENOENT)
            self._name((folder, old, there), (target, new, node))
            return b""
        if there is not None and flags & _NOREPLACE:
            raise _Failed(errno.EEXIST)
        if there is not None and there.entries:
            raise _Failed(errno.ENOTEMPTY)
        self._name((folder, old, None), (target, new, node))
        return b""

    def _write(self, node: Node, raw: bytes) -> bytes:
        _, offset, size, *_ = _IO.unpack_from(raw)
        self._wrote(node, Wrote(node.key, offset, raw[_IO.size : _IO.size + size], time.time_ns()))
        return struct.pack("<II", size, 0)

    def _wrote(self, node: Node, event: Wrote) -> None:
        if event.data is None:
            node.data[:] = written(bytes(node.data), event)
        else:
            if len(node.data) < event.offset:
                node.data.extend(bytes(event.offset - len(node.data)))
            node.data[event.offset : event.offset + len(event.data)] = event.data
        node.mtime_ns = node.ctime_ns = event.now_ns
        self._journal.append(event)

    def _set(self, node: Node, raw: bytes) -> bytes:
        valid, _, _, size, _, _, mtime, _, _, mtime_part, _, mode, *_ = _SETATTR.unpack_from(raw)
        now = time.time_ns()
        if valid & _SIZE:
            self._wrote(node, Wrote(node.key, size, None, now))
        if valid & _MODE:
            node.mode = modes.S_IFMT(node.mode) | (mode & 0o7777)
        if valid & _MTIME:
            node.mtime_ns = now if valid & _MTIME_NOW else mtime * 10**9 + mtime_part
        if valid & (_MODE | _MTIME):
            self._journal.append(Marked(node.key, node.mode, node.mtime_ns))
        node.ctime_ns = now
        return self._attributes(node)

    def _sync(self, node: Node, raw: bytes) -> bytes:
        self._journal.append(Synced(node.key, f"{'folder' if node.is_folder else 'file'} {node.number}"))
        return b""
