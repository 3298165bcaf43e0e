"""Sets a damaged index aside. Invariant: what a damaged index says is never acted on, and its loss deletes nothing.

The link goes on with a new index, and so with a union merge; the damaged one stays beside it. Source: docs/design/040
rule 10.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import apsw

from satchel.core.errors import IndexDamaged, StorageFailed
from satchel.device.durable import sync_folder
from satchel.device.index.beside import FILE_NAME
from satchel.device.index.store import Index
from satchel.device.ports import Clock

DAMAGED_NAME = "index.damaged.db"
SUSPECT_NAME = "index.suspect"
"""A file of this name says that the index is not to be used."""
CLOSED_NAME = "index.closed"
"""Names the file that was closed here whole; it holds until the file is opened, changed, or the machine starts anew."""
CHECKED_NAME = "index.checked"
"""Its time is that of the last look at the whole file."""
CHECK_EVERY_MS = 7 * 24 * 3600 * 1000
SET_ASIDE = "set_aside_ms"
NOTICE_MS = 7 * 24 * 3600 * 1000
NOTICE = (
    "The index of this folder was damaged and was set aside; both sides were merged anew. No file was lost;"
    " one that was deleted or renamed just before may be back."
)
RUN_NS = 4 * 10**9
"""The number of a start is taken from the clock in steps of this length, so that it is past those of the lost index."""
_PARTS = ("", "-wal", "-shm")


def ready(folder: Path, clock: Clock) -> bool:
    """Look at the index in a link's state folder before it is opened. Result: False when it was set aside.

    It reads the whole file, unless that was closed whole and was read within a week; so it belongs off the loop.
    Raises: StorageFailed, StorageFull.
    """
    path = folder / FILE_NAME
    is_closed = _is_as_closed(folder, clock)
    with contextlib.suppress(OSError):
        (folder / CLOSED_NAME).unlink()
    if not (folder / SUSPECT_NAME).exists() and (is_closed or not path.exists() or _is_whole(path, clock)):
        return True
    try:
        # Until the new index is durable: whatever stops this, it is done again.
        (folder / SUSPECT_NAME).touch()
        sync_folder(folder)
        # The database first: SQLite throws away a log without one.
        for part in _PARTS:
            _move(folder / f"{FILE_NAME}{part}", folder / f"{DAMAGED_NAME}{part}")
        sync_folder(folder)
        index = Index(str(path))
        try:
            with index.durable():
                index.put(SET_ASIDE, clock.now_ns() // 1_000_000)
                index.put("run", clock.now_ns() // RUN_NS)
        finally:
            index.close()
        (folder / SUSPECT_NAME).unlink()
        sync_folder(folder)
    except OSError as error:
        raise StorageFailed("The damaged index cannot be set aside.", where="index", reason=str(error)) from error
    return False


def closed(folder: Path, clock: Clock) -> None:
    """Note that the index was closed after an orderly stop: the next start need not read all of it."""
    found = _sign(folder, clock)
    if found is not None:
        # Without it the next start reads the file: slower, and as safe.
        with contextlib.suppress(OSError):
            (folder / CLOSED_NAME).write_bytes(found)


def _is_as_closed(folder: Path, clock: Clock) -> bool:
    try:
        known = (folder / CLOSED_NAME).read_bytes()
        age_ms = (clock.now_ns() - (folder / CHECKED_NAME).stat().st_mtime_ns) // 1_000_000
    except OSError:
        return False
    return 0 <= age_ms < CHECK_EVERY_MS and known == _sign(folder, clock)


def _sign(folder: Path, clock: Clock) -> bytes | None:
    """Return what tells this very file from any other, and from itself after a change or a power cut; None for none."""
    path = folder / FILE_NAME
    try:
        if any(Path(f"{path}{part}").stat().st_size for part in _PARTS[1:] if Path(f"{path}{part}").exists()):
            # What was not folded in yet.
            return None
        stat = path.stat()
    except OSError:
        return None
    boot = clock.boot()
    return b"%b %d %d %d %d" % (boot, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) if boot else None


def _is_whole(path: Path, clock: Clock) -> bool:
    if _is_damaged(path):
        return False
    checked = path.with_name(CHECKED_NAME)
    with contextlib.suppress(OSError):
        checked.touch()
        os.utime(checked, ns=(clock.now_ns(), clock.now_ns()))
    return True


def notice(index: Index, now_ms: int) -> str:
    """Return what to tell for a week after the index was set aside, else nothing."""
    at_ms = index.get(SET_ASIDE)
    return NOTICE if isinstance(at_ms, int) and 0 <= now_ms - at_ms < NOTICE_MS else ""


@contextlib.contextmanager
def suspecting(folder: Path) -> Iterator[None]:
    """Turn what SQLite says of a damaged file into IndexDamaged, and have `ready` set that index aside."""
    try:
        yield
    except BaseException as error:
        if not _tells_damage(error):
            raise
        # On a disk that takes no more, the look at the next opening is all that is left.
        with contextlib.suppress(OSError):
            (folder / SUSPECT_NAME).touch()
        raise IndexDamaged("The index of this folder is damaged.", where=str(folder), reason=str(error)) from error


def _tells_damage(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_tells_damage(each) for each in error.exceptions)
    return isinstance(error, (apsw.CorruptError, apsw.NotADBError, IndexDamaged))


def _is_damaged(path: Path) -> bool:
    if not path.stat().st_size:
        return True
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(10_000)
            (found,) = next(iter(connection.execute("PRAGMA quick_check(1)")))
            return bool(found != "ok")
        finally:
            connection.close()
    except (apsw.CorruptError, apsw.NotADBError):
        return True
    except apsw.Error as error:
        raise StorageFailed("The index cannot be read.", where="index", reason=str(error)) from error


def _move(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.rename(source, target)
