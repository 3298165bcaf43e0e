"""Reads a link's index beside the daemon, or without one: for commands that only tell.

Invariant: nothing is written, and one view is one moment: all reads of it stand in one transaction of the reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from satchel.core.errors import IndexDamaged, NotFound, VersionUnsupported
from satchel.core.ids import ROOT_NID, Nid
from satchel.core.paths import name_key
from satchel.core.trees import Row
from satchel.device.index.activity import Activity
from satchel.device.index.copies import conflicted_copies
from satchel.device.index.reader import IndexReader
from satchel.device.index.rows import row_of
from satchel.device.index.schema import ROW_COLUMNS, SCHEMA_VERSION

FILE_NAME = "index.db"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the index knows of a row beside its sides. next_try_ms: 0 for none."""

    local_size: int
    local_mtime_ns: int
    remote_size: int
    remote_mtime_ns: int
    held_code: str
    held_reason: str
    next_try_ms: int


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of the remote tree. blocks: packed blocklist, None when it is not known here."""

    nid: Nid
    path: str
    size: int
    content: bytes
    blocks: bytes | None


class View:
    """One link as its index has it at one moment."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.reader = IndexReader(connection)
        self.activity = Activity(connection)

    def row(self, nid: Nid) -> Row | None:
        """Return a row with all three sides."""
        found = self._one(f"SELECT {ROW_COLUMNS} FROM nodes WHERE nid = ?", nid)
        return None if found is None else row_of(found, is_busy=False)

    def facts(self, nid: Nid) -> Facts:
        """Return what else is known of a row that exists."""
        found = self._one(
            "SELECT COALESCE(l_size, 0), COALESCE(l_mtime, 0), COALESCE(r_size, 0), COALESCE(r_mtime, 0),"
            " COALESCE(held_code, ''), COALESCE(held_reason, ''), COALESCE(next_try_ms, 0) FROM nodes WHERE nid = ?",
            nid,
        )
        if found is None:
            raise NotFound("The index has no such row.", nid=nid)
        return Facts(*found)

    def nid_at(self, names: tuple[str, ...]) -> Nid | None:
        """Return the row at a path, as the disk has it, else as the service has it, else as both once had it."""
        for side in ("l", "r"):
            nid = self._walk(names, side)
            if nid is not None:
                return nid
        return None

    def _walk(self, names: tuple[str, ...], side: str) -> Nid | None:
        nid = ROOT_NID
        state = "l_state > 0" if side == "l" else "r_state = 1"
        query = (
            f"SELECT nid FROM nodes WHERE {side}_parent = ? AND {side}_key = ? AND {state}"
            f" ORDER BY {side}_name = ? DESC LIMIT 1"
        )
        for name in names:
            found = self._one(query, nid, name_key(name), name)
            if found is None:
                return None
            nid = Nid(found[0])
        return nid

    def unread(self, path: bytes) -> tuple[str, str] | None:
        """Return (code, reason) of something on disk that has no row and cannot be taken in."""
        found = self._one("SELECT code, reason FROM unread WHERE path = ?", path)
        return None if found is None else (found[0], found[1])

    def conflicted_copies(self, limit: int) -> list[Nid]:
        """Return the rows of files on this disk that have the name of a conflicted copy, the oldest first."""
        return conflicted_copies(self._connection, limit)

    def remote_files_after(self, after: Nid, limit: int) -> list[RemoteFile]:
        """Return up to `limit` files of the remote tree with a greater nid, in order."""
        query = (
            "SELECT nid, COALESCE(r_size, 0), r_content, r_blocks FROM nodes"
            " WHERE nid > ? AND r_state = 1 AND r_kind = 1 ORDER BY nid LIMIT ?"
        )
        rows = list(self._connection.execute(query, (after, limit)))
        paths = self.reader.remote_paths_of([Nid(row[0]) for row in rows])
        return [
            RemoteFile(Nid(nid), paths[Nid(nid)].lstrip("/"), size, content, blocks or self.reader.blocklist(content))
            for nid, size, content, blocks in rows
        ]

    def remote_bytes(self) -> int:
        """Return how many bytes the files of the remote tree have."""
        found = self._one("SELECT COALESCE(SUM(r_size), 0) FROM nodes WHERE r_state = 1 AND r_kind = 1")
        return 0 if found is None else int(found[0])

    def image(self) -> bytes:
        """Return the whole index as it is now; `Index(":memory:", image=...)` opens it."""
        image = bytearray(self._connection.serialize("main"))
        # From SQLite's file format, 1.3: bytes 18 and 19 say WAL (2), which a database in memory cannot have.
        image[18:20] = b"\x01\x01"
        return bytes(image)

    def dirty_count(self) -> int:
        """Return how many rows differ between the three trees."""
        found = self._one("SELECT COUNT(*) FROM nodes INDEXED BY nodes_dirty WHERE dirty = 1")
        return 0 if found is None else int(found[0])

    def file_count(self) -> tuple[int, int]:
        """Return (files, bytes) of the local tree."""
        found = self._one("SELECT COUNT(*), COALESCE(SUM(l_size), 0) FROM nodes WHERE l_state = 1 AND l_kind = 1")
        return (0, 0) if found is None else (found[0], found[1])

    def _one(self, sql: str, *values: object) -> tuple | None:  # type: ignore[type-arg]  # columns differ by statement
        return next(iter(self._connection.execute(sql, values)), None)


@contextmanager
def viewing(folder: Path) -> Iterator[View]:
    """Give a view of the index in a link's state folder.

    Raises: NotFound (never synced), VersionUnsupported, IndexDamaged.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise NotFound("This folder was never synced yet: its index is not there.", path=str(path))
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(10_000)
        (version,) = next(iter(connection.execute("PRAGMA user_version")))
        if version != SCHEMA_VERSION:
            raise VersionUnsupported(
                "The index is of another version of Satchel. Start the daemon anew: satchel daemon stop, then start.",
                what="index",
                found=version,
                known=SCHEMA_VERSION,
            )
        with connection:
            yield View(connection)
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise IndexDamaged("The index of this folder is damaged.", where=str(path), reason=str(error)) from error
    finally:
        connection.close()
