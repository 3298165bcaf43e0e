"""Reads of the index: the known tree for the scanner, paths, sources of blocks. Never writes.

The scanner reads on a connection of its own beside the engine's writes; a fact therefore carries the row's version that
it was compared with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import apsw
from msgspec.json import encode as json_text

from satchel.core.hashing import EMPTY_CONTENT, content_hash, unpack_blocks
from satchel.core.ids import ROOT_NID, BlockHash, ContentHash, Nid, NodeId
from satchel.core.limits import DEPTH_MAX
from satchel.core.paths import name_key
from satchel.device.index.rows import LocalRow, local_row_of
from satchel.device.index.schema import LOCAL_COLUMNS
from satchel.device.ports import ROOT_PATH, Brief, DiskPath, Stat, joined
from satchel.device.tasks import LocalSource

SOURCES_PER_BLOCK_MAX = 3
NAMES_AT_ONCE_MAX = 1_000
MOVED_ACROSS = "moved_across"
"""Why a deletion is held that waits for what the link of another folder has (`Edge`)."""

_LISTED = "SELECT blocks FROM blocklists WHERE content = ?"

_BLOCKLIST = """
SELECT l_blocks FROM nodes WHERE l_content = ? AND l_state = 1 AND l_kind = 1 AND l_blocks IS NOT NULL
UNION ALL SELECT r_blocks FROM nodes WHERE r_content = ? AND r_state = 1 AND r_kind = 1 AND r_blocks IS NOT NULL
LIMIT 1
"""


_BY_INODES = (
    "SELECT DISTINCT l_inode FROM nodes INDEXED BY nodes_inode"
    " WHERE l_inode IN (SELECT value FROM json_each(?)) AND l_state > 0"
)

_BRIEF_COLUMNS = "l_name, CASE WHEN l_state = 1 THEN l_ctime ELSE 0 END, l_mtime, l_size, l_inode, nid, l_kind"
_BRIEFS = f"SELECT {_BRIEF_COLUMNS} FROM nodes WHERE l_parent = ? AND l_state > 0"

_NAMED = (
    "FROM json_each(?) AS wanted CROSS JOIN nodes INDEXED BY nodes_local"
    " ON l_parent = ? AND l_key = wanted.value AND l_state > 0"
)

_SOME = "SELECT COUNT(*) FROM (SELECT 1 FROM nodes INDEXED BY nodes_local WHERE l_state > 0 LIMIT ?)"

_REMOTE_STEPS = """
SELECT nid, COALESCE(CASE WHEN r_state = 1 THEN r_parent END, l_parent, s_parent, r_parent),
  COALESCE(CASE WHEN r_state = 1 THEN r_name END, l_name, s_name, r_name)
FROM nodes WHERE nid IN (SELECT value FROM json_each(?))
"""


def json_of(values: Iterable[object]) -> str:
    """Return a list for `json_each`: one statement for many rows instead of one each."""
    return json_text(list(values)).decode()


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _joined_up(nid: Nid, steps: dict[Nid, tuple[Nid | None, str | None]]) -> str:
    names: list[str] = []
    at: Nid | None = nid
    while at is not None and at != ROOT_NID and at in steps and len(names) < 2 * DEPTH_MAX:
        at, name = steps[at]
        if at is None or name is None:
            break
        names.append(name)
    return "/" + "/".join(reversed(names))


def open_reader(path: str) -> IndexReader:
    """Return a reader of an index file on a connection of its own, also for another process than the engine's."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(10_000)
    connection.execute("PRAGMA cache_size = -2048")
    return IndexReader(connection)


class IndexReader:
    """The local tree as the index has it. Cheap synchronous calls."""

    def __init__(self, connection: apsw.Connection, before_content: Callable[[], None] = lambda: None) -> None:
        """before_content: called before a row is looked for by its content."""
        self._connection = connection
        self._before_content = before_content

    def close(self) -> None:
        self._connection.close()

    def children(self, nid: Nid) -> list[LocalRow]:
        """Return the local children of a folder."""
        return self._rows("l_parent = ? AND l_state > 0", nid)

    def briefs(self, nid: Nid) -> list[Brief]:
        """Return what the rows in a folder say, for the comparison of all of it; an unknown one says ctime 0."""
        return list(self._connection.execute(_BRIEFS, (nid,)))

    def briefs_named(self, parent: Nid, names: Iterable[str]) -> list[Brief]:
        """Return what the rows of exactly these names in a folder say, as `briefs` does."""
        wanted = set(names)
        return [row for row in self._named(f"SELECT {_BRIEF_COLUMNS}", parent, wanted) if row[0] in wanted]

    def names(self, nid: Nid) -> Iterator[str]:
        """Yield the names of the rows in a folder, one by one."""
        for (name,) in self._connection.execute("SELECT l_name FROM nodes WHERE l_parent = ? AND l_state > 0", (nid,)):
            yield name

    def all_named(self, parent: Nid, names: Iterable[bytes]) -> list[LocalRow]:
        """Return all local children of exactly these names, as `named` does."""
        wanted = {name.decode(errors="surrogateescape") for name in names}
        found = self._named(f"SELECT {LOCAL_COLUMNS}", parent, wanted)
        return [local_row_of(row) for row in found if row[2] in wanted]

    def _named(self, select: str, parent: Nid, names: Iterable[str]) -> Iterator[tuple]:  # type: ignore[type-arg]  # as below
        """Yield the records of these names in a folder, and of others that have the same keys."""
        # In order: neighbours stand on one page, and few pages are held.
        keys = iter(sorted({name_key(name) for name in names if name.isascii() or _is_text(name)}))
        while some := list(itertools.islice(keys, NAMES_AT_ONCE_MAX)):
            yield from self._connection.execute(f"{select} {_NAMED}", (json_of(some), parent))

    def holds(self, rows: int) -> bool:
        """Return whether so many rows are present; it looks at no more of them."""
        found = self._one(_SOME, rows)
        return found is not None and found[0] >= rows

    def find(self, parent: Nid, name: bytes) -> LocalRow | None:
        """Return the local child of exactly this name."""
        rows = self.named(parent, name)
        return rows[0] if rows else None

    def named(self, parent: Nid, name: bytes) -> list[LocalRow]:
        """Return all local children of exactly this name: two, when the move of one is not recorded yet."""
        try:
            text = name.decode()
        except UnicodeDecodeError:
            return []
        return self._rows("l_parent = ? AND l_state > 0 AND l_key = ? AND l_name = ?", parent, name_key(text), text)

    def by_identity(self, inode: int, birth_ns: int) -> list[LocalRow]:
        """Return the rows last seen as this file."""
        return self._rows("l_inode = ? AND l_state > 0 AND l_birth = ?", inode, birth_ns)

    def inodes_of(self, inodes: Iterable[int]) -> set[int]:
        """Return those of the inodes that any row was last seen with."""
        return {row[0] for row in self._connection.execute(_BY_INODES, (json_of(inodes),))}

    def local(self, nid: Nid) -> LocalRow | None:
        rows = self._rows("nid = ? AND l_state > 0", nid)
        return rows[0] if rows else None

    def holds_uncommitted(self, files: Iterable[tuple[int, int]]) -> bool:
        """Return whether one of these files (inode, birth time) stands here and is not as it was agreed on."""
        wanted = set(files)
        query = (
            "SELECT l_inode, COALESCE(l_birth, 0) FROM nodes INDEXED BY nodes_inode"
            " WHERE l_inode IN (SELECT value FROM json_each(?)) AND l_state > 0 AND dirty = 1"
        )
        return any(
            (inode, birth) in wanted or not birth or (inode, 0) in wanted
            for inode, birth in self._connection.execute(query, (json_of({inode for inode, _ in wanted}),))
        )

    def waits_at_edge(self) -> bool:
        """Return whether a deletion waits for what the link of another folder has."""
        query = "SELECT 1 FROM nodes INDEXED BY nodes_held WHERE held_code = ? LIMIT 1"
        return self._one(query, MOVED_ACROSS) is not None

    def mounts(self) -> frozenset[Nid]:
        """Return the rows that are shared folders, whose inside is no business of this index."""
        return frozenset(Nid(row[0]) for row in self._connection.execute("SELECT nid FROM mounts"))

    def files_after(self, after: Nid, limit: int) -> list[LocalRow]:
        """Return up to `limit` rows of files that are present, with a greater nid, in order."""
        return self._rows("nid > ? AND l_state = 1 AND l_kind = 1 ORDER BY nid LIMIT ?", after, limit)

    def count_files(self) -> int:
        """Return how many files are present, by the index of contents where there is one."""
        found = self._one("SELECT COUNT(*) FROM nodes WHERE l_state = 1 AND l_kind = 1")
        return 0 if found is None else int(found[0])

    def path_of(self, nid: Nid) -> DiskPath | None:
        """Return the path on disk, None when the node or a folder above it is not there."""
        names: list[str] = []
        while nid != ROOT_NID:
            found = self._one("SELECT l_parent, l_name FROM nodes WHERE nid = ? AND l_state > 0", nid)
            if found is None or len(names) > 256:
                return None
            nid = Nid(found[0])
            names.append(found[1])
        path = ROOT_PATH
        for name in reversed(names):
            path = joined(path, name.encode())
        return path

    def remote_path_of(self, nid: Nid) -> str:
        """Return the path in the remote tree (or the last known one), for people."""
        return self.remote_paths_of((nid,))[nid]

    def remote_paths_of(self, nids: Iterable[Nid]) -> dict[Nid, str]:
        """Return the paths in the remote tree (or the last known ones), for people."""
        wanted = list(nids)
        steps: dict[Nid, tuple[Nid | None, str | None]] = {}
        pending = set(wanted)
        while pending:
            found = self._connection.execute(_REMOTE_STEPS, (json_of(pending),))
            steps |= {Nid(row[0]): (row[1], row[2]) for row in found}
            above = {steps[nid][0] for nid in pending if nid in steps}
            pending = {Nid(nid) for nid in above if nid is not None and nid != ROOT_NID and nid not in steps}
        return {nid: _joined_up(nid, steps) for nid in wanted}

    def nid_of(self, node_id: NodeId) -> Nid | None:
        found = self._one("SELECT nid FROM nodes WHERE node_id = ?", node_id)
        return None if found is None else Nid(found[0])

    def blocklist(self, content: bytes) -> bytes | None:
        """Return the packed blocklist of a content hash, None when it is not known here."""
        if content == EMPTY_CONTENT:
            return b""
        found = self._one(_LISTED, content)
        if found is None:
            self._before_content()
            found = self._one(_BLOCKLIST, content, content)
        return None if found is None else found[0]

    def is_synced_content(self, content: bytes) -> bool:
        """Return whether the service holds this content: as a file of the remote tree, or as the version agreed before.

        The second is what a replacement that was cut short swapped out: local and synced still say it, remote no more.
        """
        self._before_content()
        if self._one("SELECT 1 FROM nodes WHERE r_content = ? AND r_state = 1 LIMIT 1", content) is not None:
            return True
        agreed = (
            "SELECT 1 FROM nodes WHERE l_content = ? AND l_state = 1 AND l_kind = 1 AND s_state = 1"
            " AND s_content = l_content LIMIT 1"
        )
        return self._one(agreed, content) is not None

    def sources(self, blocks: bytes, own: Nid) -> dict[BlockHash, tuple[LocalSource, ...]]:
        """Return where blocks of a packed blocklist can be had on this disk; `own` comes first."""
        found: dict[BlockHash, tuple[LocalSource, ...]] = {}
        places: dict[bytes, list[tuple[DiskPath, Stat]]] = {}
        for block in unpack_blocks(blocks):
            if block.hash in found:
                continue
            holders: list[tuple[bytes, int]] = [(content_hash((block.hash,)), 0)]
            query = "SELECT content, place FROM local_blocks WHERE hash = ? LIMIT 8"
            holders += [(bytes(content), place) for content, place in self._connection.execute(query, (block.hash,))]
            options: list[LocalSource] = []
            for content, offset in holders:
                if content not in places:
                    places[content] = self._holders(content, own)
                options += [LocalSource(path, stat, offset) for path, stat in places[content]]
            if options:
                found[block.hash] = tuple(options[:SOURCES_PER_BLOCK_MAX])
        return found

    def holders(self, content: ContentHash) -> list[tuple[DiskPath, Stat]]:
        """Return local files that hold exactly this content."""
        return self._holders(content, ROOT_NID)

    def _holders(self, content: bytes, own: Nid) -> list[tuple[DiskPath, Stat]]:
        self._before_content()
        rows = self._rows("l_content = ? AND l_state = 1 AND l_kind = 1 LIMIT 4", content)
        rows.sort(key=lambda row: (row.nid != own, row.nid))
        held = [(self.path_of(row.nid), row.stat) for row in rows]
        return [(path, stat) for path, stat in held if path is not None]

    def _rows(self, where: str, *values: object) -> list[LocalRow]:
        return [
            local_row_of(row)
            for row in self._connection.execute(f"SELECT {LOCAL_COLUMNS} FROM nodes WHERE {where}", values)
        ]

    def _one(self, sql: str, *values: object) -> tuple | None:  # type: ignore[type-arg]  # columns differ by statement
        return next(iter(self._connection.execute(sql, values)), None)
