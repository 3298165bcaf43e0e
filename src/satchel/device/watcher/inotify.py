"""Watches a linked folder by inotify. Invariant: a hint is never a proof, and what is lost is told as a full look.

One thread reads the kernel's events, keeps the watches and asks `settle` what is due; whoever awaits `next_hints` gets
it. A new folder is watched at once and looked into deeply, so what was made before its watch existed is found.
Source: docs/design/040 (watching and scanning).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import select
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from inotify_simple import INotify, flags

from satchel.device.ignore import STATE_FOLDER
from satchel.device.ports import ROOT_PATH, Clock, DiskPath, Hint, joined
from satchel.device.watcher.settle import ABSENCE_S, NAMES_PER_FOLDER_MAX, Due, Settle
from satchel.device.watcher.watches import Watches

READ_EVENTS_AT_ONCE_S = 0.005
"""In a burst events are gathered for so long, so that the kernel can fold equal ones."""
IDLE_S_MAX = 60.0
NO_FOLDERS_LINKS = 2
"""A folder's name and its own `.`; on volumes that count so, each folder in it is one more by its `..`."""
HINTS_WAITING_MAX = 20_000
CHECK_AFTER_S = 0.4
"""Folders that came and went are compared with the watches once more when none did so for so long."""
TOLD_S = 120.0
"""So long what was told of a folder may not have been looked at yet."""
TOLD_FOLDERS_MAX = 10_000
EVERYTHING = Hint(ROOT_PATH, None, True)

_MODIFY, _ATTRIB, _CLOSE_WRITE = int(flags.MODIFY), int(flags.ATTRIB), int(flags.CLOSE_WRITE)
_FROM, _TO, _CREATE, _DELETE = int(flags.MOVED_FROM), int(flags.MOVED_TO), int(flags.CREATE), int(flags.DELETE)
_DELETE_SELF, _MOVE_SELF, _UNMOUNT = int(flags.DELETE_SELF), int(flags.MOVE_SELF), int(flags.UNMOUNT)
_OVERFLOW, _IGNORED, _ISDIR = int(flags.Q_OVERFLOW), int(flags.IGNORED), int(flags.ISDIR)
_FOLDER_MASK = (
    _MODIFY
    | _ATTRIB
    | _CLOSE_WRITE
    | _FROM
    | _TO
    | _CREATE
    | _DELETE
    | int(flags.ONLYDIR)
    | int(flags.DONT_FOLLOW)
    | int(flags.EXCL_UNLINK)
)
_ROOT_MASK = (_FOLDER_MASK | _DELETE_SELF | _MOVE_SELF) & ~int(flags.DONT_FOLLOW)


@dataclass(frozen=True, slots=True)
class _Left:
    """A name that something was moved away from, until it is known where to."""

    folder: int
    name: bytes
    watch: int | None
    at_s: float


class InotifyWatcher:
    """The Watcher port on Linux. `next_hints` is awaited on asyncio, by one caller."""

    def __init__(self, root: bytes, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._inotify: INotify | None = None
        self._wake_read, self._wake_write = -1, -1
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._watches = Watches()
        self._settle = Settle()
        self._left: dict[int, _Left] = {}
        self._touched: dict[tuple[int, bytes], None] = {}
        """Names of folders that came or went since the watches were last compared with what stands there."""
        self._unsure: dict[int, None] = {}
        """Watched folders in which folders came or went, or that were placed, since all was quiet."""
        self._check_s = float("inf")
        self._told: dict[int, tuple[float, frozenset[bytes] | None]] = {}
        """When names of a folder were told last, and which, None: any; the oldest first."""
        self._device = 0
        self._counts_folders = False
        """The volume tells by a folder's links how many folders are in it."""
        self._shortage = ""
        self._lock = threading.Lock()
        self._hints: dict[tuple[DiskPath, bool], Hint] = {}
        self._notify: Callable[[], None] | None = None

    # -- the port -----------------------------------------------------------------------------------------------------

    async def start(self) -> bool:
        """Watch the whole root. False: degraded; hints still come for what is watched."""
        return await asyncio.to_thread(self._start)

    async def next_hints(self, timeout_s: float) -> list[Hint]:
        """Wait for settled hints; empty at the timeout."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if not self._hints:
                self._notify = functools.partial(_wake, loop, arrived)
        try:
            if self._notify is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        await arrived.wait()
        finally:
            with self._lock:
                self._notify = None
        with self._lock:
            hints, self._hints = list(self._hints.values()), {}
        return hints

    async def stop(self) -> None:
        """End the thread and let go of all watches. Idempotent."""
        await asyncio.to_thread(self._stop)

    @property
    def status_line(self) -> str:
        """What is watched, or why not all of it is and what to do."""
        return self._shortage or f"Watching {len(self._watches)} folders."

    @property
    def is_degraded(self) -> bool:
        """True when a part of the root is not watched, so budgeted scans are needed."""
        return bool(self._shortage)

    # -- life ---------------------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            self._shortage = _shortage_line(error, "fs.inotify.max_user_instances")
            return False
        try:
            self._device = os.stat(self._root).st_dev
            self._counts_folders = self._has_folder_counts()
            self._watches.add_root(self._inotify.add_watch(self._root, _ROOT_MASK))
        except OSError as error:
            self._shortage = _shortage_line(error, "fs.inotify.max_user_watches")
        else:
            self._watch_below(self._watches.root, ROOT_PATH)
            self._unsure.clear()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="satchel-watcher", daemon=True)
        self._thread.start()
        return not self._shortage

    def _stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._is_stopping = True
            os.write(self._wake_write, b"x")
            thread.join(timeout=10)
            os.close(self._wake_read)
            os.close(self._wake_write)
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _run(self) -> None:
        assert self._inotify is not None
        poller = select.poll()
        poller.register(self._inotify.fileno(), select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        pause = select.poll()
        pause.register(self._wake_read, select.POLLIN)
        while not self._is_stopping:
            due_s = self._next_due_s()
            poller.poll(max(0.0, min(due_s - self._clock.monotonic_s(), IDLE_S_MAX)) * 1000)
            if self._settle.is_burst:
                pause.poll(READ_EVENTS_AT_ONCE_S * 1000)
            if self._is_stopping:
                return
            try:
                events = self._inotify.read(0)
            except OSError as error:
                self._shortage = _shortage_line(error, "")
                return
            self.feed((event.wd, event.mask, event.cookie, os.fsencode(event.name)) for event in events)

    def _next_due_s(self) -> float:
        times = [self._settle.next_due_s()]
        times += [left.at_s + ABSENCE_S for left in self._left.values()][:1]
        times.append(self._check_s)
        return min((time_s for time_s in times if time_s is not None), default=float("inf"))

    # -- events -------------------------------------------------------------------------------------------------------

    def feed(self, events: Iterable[tuple[int, int, int, bytes]]) -> None:
        """Take events (watch, mask, cookie, name) and publish what is due. Called by the reading thread."""
        now_s = self._clock.monotonic_s()
        for number, mask, cookie, name in events:
            if mask & (_OVERFLOW | _UNMOUNT | _DELETE_SELF | _MOVE_SELF):
                self._lost(mask)
            elif mask & _IGNORED:
                self._settle.forget(number)
                self._told.pop(number, None)
                self._watches.remove(number)
            elif name and number in self._watches:
                self._take(number, mask, cookie, name, now_s)
        self._compare_touched(now_s)
        self._drop_left(now_s)
        if now_s >= self._check_s:
            self._check_unsure(now_s)
        due = self._settle.due(now_s)
        if due:
            self._publish(due)

    def _lost(self, mask: int) -> None:
        self._settle.everything()
        if mask & _OVERFLOW:
            # Folders may have come and moved unseen: the watches are made anew from what stands there.
            self._left = {}
            self._watch_again()

    def _take(self, number: int, mask: int, cookie: int, name: bytes, now_s: float) -> None:
        is_folder = bool(mask & _ISDIR)
        if name == STATE_FOLDER:
            return
        if is_folder and mask & (_FROM | _TO | _CREATE):
            self._touched[number, name] = None
            self._unsure[number] = None
            self._check_s = now_s + CHECK_AFTER_S
        if mask & _MODIFY:
            self._settle.written(number, name, now_s)
        elif mask & (_CLOSE_WRITE | _ATTRIB):
            self._settle.ready(number, name, now_s)
        elif mask & _FROM:
            watch = self._watches.find(number, name) if is_folder else None
            self._left[cookie] = _Left(number, name, watch, now_s)
            self._settle.gone(number, name, now_s)
        elif mask & _TO:
            self._arrived(number, name, self._left.pop(cookie, None), is_folder, now_s)
        elif mask & _CREATE and is_folder:
            self._new_folder(number, name, now_s)
        elif mask & _CREATE:
            self._created(number, name, now_s)
        elif mask & _DELETE:
            self._settle.gone(number, name, now_s)

    def _arrived(self, number: int, name: bytes, left: _Left | None, is_folder: bool, now_s: float) -> None:
        if left is None and is_folder:
            self._new_folder(number, name, now_s)
        elif left is None:
            self._settle.ready(number, name, now_s)
        elif is_folder:
            if left.watch is None:
                self._new_folder(number, name, now_s)
            else:
                self._watches.put(left.watch, number, name)
                self._tell_again(left.watch, now_s)
            self._settle.ready(left.folder, left.name, now_s)
            self._settle.ready(number, name, now_s)
        else:
            self._settle.renamed((left.folder, left.name), (number, name), now_s)

    def _tell_again(self, top: int, now_s: float) -> None:
        """A watched folder moved: what was told in it by its old path is told by its new one.

        It may have been there for a moment only, so that nobody else knows that it ever was.
        """
        for number in self._watches.unit(top) if self._told else ():
            told_s, names = self._told.get(number, (-TOLD_S, frozenset()))
            if now_s - told_s >= TOLD_S:
                continue
            if names is None:
                self._settle.deep(number, now_s)
            for name in names or ():
                self._settle.ready(number, name, now_s)

    def _created(self, number: int, name: bytes, now_s: float) -> None:
        """A file, a symlink or a second name: only a file that is being written will tell when it is done."""
        folder = self._watches.path(number)
        try:
            found = os.lstat(self._full(joined(folder, name))) if folder is not None else None
        except OSError:
            found = None
        if found is not None and (not stat.S_ISREG(found.st_mode) or found.st_nlink > 1):
            self._settle.ready(number, name, now_s)
        else:
            self._settle.written(number, name, now_s, is_made=True)

    def _compare_touched(self, now_s: float) -> None:
        """Watch what stands at names of folders that came or went, where that is another than the events say.

        An event tells of the past, a watch is set by the path of this moment. When a name was used several times in
        between, the two do not meet: the folder that had it first would be taken for the one that has it now.
        """
        touched, self._touched = self._touched, {}
        if not touched:
            return
        depths = {number: self._watches.depth(number) for number, _ in touched}
        for number, name in sorted(touched, key=lambda place: depths[place[0]]):
            folder = self._watches.path(number)
            if folder is not None:
                self._compare(number, folder, name, now_s)

    def _compare(self, number: int, folder: DiskPath, name: bytes, now_s: float) -> None:
        """Watch the folder of this name as a new one if it is another than is noted there, with what is in it."""
        inode = _folder_inode(self._full(joined(folder, name)))
        if inode is not None and inode != self._watches.inode_at(number, name):
            self._new_folder(number, name, now_s)

    def _check_unsure(self, now_s: float) -> None:
        """All is quiet: list once more where folders came and went. What moved between an event, a look and a watch may
        have been noted at a wrong place, without any name at which the two differ having been touched."""
        unsure, self._unsure = self._unsure, {}
        self._check_s = float("inf")
        for number in sorted(unsure, key=self._watches.depth):
            folder = self._watches.path(number)
            for name in self._folders_in(folder) if folder is not None else ():
                self._compare(number, folder or ROOT_PATH, name, now_s)
        if self._unsure:
            self._check_s = now_s + CHECK_AFTER_S

    def _drop_left(self, now_s: float) -> None:
        """Let go of folders that were moved out of the root: their watches would tell of a foreign place."""
        for cookie, left in list(self._left.items()):
            if left.at_s + ABSENCE_S > now_s:
                break
            del self._left[cookie]
            for number in self._watches.unit(left.watch) if left.watch is not None else ():
                if not self._stands(number):
                    self._unwatch(number)

    def _stands(self, number: int) -> bool:
        """Tell whether a watched folder is where it is noted: what was moved away from there was another one then."""
        path = self._watches.path(number)
        return path is not None and _folder_inode(self._full(path)) == self._watches.inode(number)

    # -- watches ------------------------------------------------------------------------------------------------------

    def _new_folder(self, parent: int, name: bytes, now_s: float) -> None:
        self._settle.ready(parent, name, now_s)
        folder = self._watches.path(parent)
        if folder is None:
            return
        number = self._watch(parent, folder, name)
        if number is not None:
            self._settle.deep(number, now_s)
            self._watch_below(number, joined(folder, name))

    def _watch(self, parent: int, folder: DiskPath, name: bytes) -> int | None:
        """Watch one folder. Result: its number; None when it cannot or must not be watched."""
        assert self._inotify is not None
        path = self._full(joined(folder, name))
        try:
            found = os.lstat(path)
            if found.st_dev != self._device:
                return None
            number = int(self._inotify.add_watch(path, _FOLDER_MASK))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM):
                self._shortage = _shortage_line(error, "fs.inotify.max_user_watches")
            return None
        self._watches.put(number, parent, name)
        self._watches.note_inode(number, found.st_ino)
        self._unsure[number] = None
        for cookie in [cookie for cookie, left in self._left.items() if left.watch == number]:
            # It went out and came back: the watch is of use again.
            del self._left[cookie]
        return number

    def _watch_below(self, number: int, path: DiskPath) -> set[int]:
        """Watch all folders below one, as they stand now. Result: their watches, its own too."""
        waiting, found = [(number, path)], {number}
        while waiting and not self._shortage:
            parent, folder = waiting.pop()
            for name in self._folders_in(folder):
                child = self._watch(parent, folder, name)
                if child is not None and child not in found:
                    found.add(child)
                    waiting.append((child, joined(folder, name)))
        return found

    def _folders_in(self, folder: DiskPath) -> list[bytes]:
        """Return the folders in a watched one. Of a million names few are folders, so most need not be listed."""
        path = self._full(folder)
        try:
            # Asked after the watch was there: a folder that is made from now on tells of itself.
            if self._counts_folders and os.lstat(path).st_nlink == NO_FOLDERS_LINKS:
                return []
            return [name for name in _folder_names(path) if name != STATE_FOLDER]
        except OSError:
            # Gone or closed again: its parent's event or the scan tells.
            return []

    def _has_folder_counts(self) -> bool:
        """Find out by our own folder, which has folders in it, whether links count them; not all volumes do so."""
        own = self._full(DiskPath(STATE_FOLDER))
        try:
            count = len(_folder_names(own))
            return count > 0 and os.lstat(own).st_nlink == NO_FOLDERS_LINKS + count
        except OSError:
            return False

    def _watch_again(self) -> None:
        standing = self._watch_below(self._watches.root, ROOT_PATH)
        for number in self._watches.all() - standing if not self._shortage else ():
            self._unwatch(number)

    def _unwatch(self, number: int) -> None:
        assert self._inotify is not None
        with contextlib.suppress(OSError):
            self._inotify.rm_watch(number)
        self._settle.forget(number)
        self._watches.remove(number)

    def _full(self, path: DiskPath) -> bytes:
        return self._root + b"/" + path if path else self._root

    # -- hints --------------------------------------------------------------------------------------------------------

    def _publish(self, due: list[Due]) -> None:
        self._note_told(due)
        with self._lock:
            for one in due:
                path = ROOT_PATH if one.folder is None else self._watches.path(one.folder)
                # A folder that is not watched any more is absent from its parent, and that waits there.
                if path is not None:
                    self._merge(Hint(path, one.names, one.is_deep))
            if len(self._hints) > HINTS_WAITING_MAX:
                self._hints = {(ROOT_PATH, True): EVERYTHING}
            if self._hints and self._notify is not None:
                self._notify()

    def _note_told(self, due: list[Due]) -> None:
        now_s = self._clock.monotonic_s()
        for one in due:
            if one.folder is None:
                continue
            told_s, before = self._told.pop(one.folder, (-TOLD_S, frozenset()))
            names = one.names
            if now_s - told_s < TOLD_S and names is not None:
                names = None if before is None or len(before) > NAMES_PER_FOLDER_MAX else before | names
            self._told[one.folder] = (now_s, names)
        while len(self._told) > TOLD_FOLDERS_MAX:
            del self._told[next(iter(self._told))]

    def _merge(self, hint: Hint) -> None:
        key = (hint.folder, hint.is_deep)
        waiting = self._hints.get(key)
        if waiting is not None:
            names = None if waiting.names is None or hint.names is None else waiting.names | hint.names
            hint = Hint(hint.folder, names, hint.is_deep)
        self._hints[key] = hint


def _folder_inode(path: bytes) -> int | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino if stat.S_ISDIR(found.st_mode) else None


def _folder_names(path: bytes) -> list[bytes]:
    with os.scandir(path) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def _wake(loop: asyncio.AbstractEventLoop, arrived: asyncio.Event) -> None:
    loop.call_soon_threadsafe(arrived.set)


def _shortage_line(error: OSError, setting: str) -> str:
    """Say which limit was met, how high it is, and what to do."""
    if error.errno not in (errno.ENOSPC, errno.EMFILE, errno.ENOMEM):
        return f"The folder cannot be watched: {os.strerror(error.errno or errno.EIO)}."
    try:
        with open("/proc/sys/" + setting.replace(".", "/"), "rb") as file:
            limit = int(file.read())
    except (OSError, ValueError):
        limit = 0
    wanted = max(524_288, 4 * limit) if setting.endswith("watches") else max(1_024, 4 * limit)
    return (
        f"Not all folders can be watched: {setting} is {limit}. Changes are found by scans until it is raised:"
        f" sysctl {setting}={wanted}"
    )
