"""Writes of the index. Only the engine holds one of these; every fact and what follows from it is one transaction.

A row whose remote and local sides become equal is agreed in the same transaction (`settle`): synced takes their value,
and a row absent on all sides goes. Deleting a folder on a side marks all below it, so that presence is never inherited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import apsw

from satchel.core.entries import Entry
from satchel.core.errors import IndexDamaged, StorageFailed, StorageFull, VersionUnsupported
from satchel.core.hashing import PACKED_BYTES, Block, unpack_blocks
from satchel.core.ids import Nid, NodeId
from satchel.core.paths import name_key
from satchel.core.trees import Item, Row
from satchel.device.index.reader import IndexReader, json_of, open_reader
from satchel.device.index.rows import KnownLocal, NewLocal, RemoteFacts, RemoteRow, row_of
from satchel.device.index.schema import BY_CONTENT, ROW_COLUMNS, SCHEMA, SCHEMA_VERSION, STEPS
from satchel.device.index.statements import (
    ADD_LOCAL,
    ADD_REMOTE,
    AGREE,
    BY_DIRTY,
    MEET,
    SET_LOCAL,
    SET_LOCAL_NOTED,
    SET_REMOTE,
    SET_STATED,
    UNIT,
    local_values,
    remote_values,
)
from satchel.device.index.versions import Versions
from satchel.device.index.xattr_notes import has_notes, move_note, note_xattrs
from satchel.device.ports import Stat

STATEMENTS_KEPT = 300
"""More than this room has: one that is dropped is parsed anew, which costs as much as it does."""
LATE_ROWS_MAX = 250_000
"""Up to so many rows an index by content may be made at once: it is sorted in memory, about 60 bytes a row."""


@contextmanager
def _translating() -> Iterator[None]:
    """Turn what SQLite says of a disk that is full or fails into faults."""
    try:
        yield
    except apsw.FullError as error:
        raise StorageFull("The disk that holds the index is full.", where="index") from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise IndexDamaged("The index of this folder is damaged.", where="index", reason=str(error)) from error
    except (apsw.IOError, apsw.ReadOnlyError, apsw.CantOpenError) as error:
        raise StorageFailed("The index cannot be written.", where="index", reason=str(error)) from error


class Index:
    """The three trees of one link. path: a file, or ":memory:". Not thread-safe: one owner."""

    def __init__(self, path: str, *, image: bytes | None = None) -> None:
        """Open or make the index.

        Raises: VersionUnsupported; IndexDamaged; StorageFull, StorageFailed when it cannot be written.
        """
        self._path = path
        with _translating():
            self._begin(path, image)

    def _begin(self, path: str, image: bytes | None) -> None:
        self.connection = apsw.Connection(path, statementcachesize=STATEMENTS_KEPT)
        if image:
            self.connection.deserialize("main", image)
        self.connection.set_busy_timeout(10_000)
        run = self.connection.execute
        run(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192;"
            " PRAGMA temp_store = MEMORY"
        )
        (version,) = next(iter(run("PRAGMA user_version")))
        if version > SCHEMA_VERSION:
            raise VersionUnsupported(
                "This index is of a newer Satchel.", what="index", found=version, known=SCHEMA_VERSION
            )
        if version == 0:
            run(f"BEGIN; {SCHEMA}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
        for step in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
            run(f"BEGIN; {STEPS[step]}; PRAGMA user_version = {step + 1}; COMMIT")
        self.has_contents = version > 0
        """Whether rows are found by their content without a search through all."""
        if self.has_contents:
            run(BY_CONTENT)
        self.reader = IndexReader(self.connection, self.find_contents)
        # A nid is never used twice: what was agreed of a dropped row may still name it.
        self._top = next(iter(run("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'nodes'")))[0]
        self._versions = Versions(self.connection)
        self._set_local = SET_LOCAL_NOTED if has_notes(self.connection) else SET_LOCAL

    def open_reader(self) -> IndexReader:
        """Return a reader on a connection of its own (the same one for an index in memory)."""
        if self._path == ":memory:":
            return self.reader
        return open_reader(self._path)

    def find_contents(self) -> None:
        """Let rows be found by their content from now on. Idempotent; what is not done in a new index costs nothing."""
        if not self.has_contents:
            self.connection.execute(BY_CONTENT)
            self.has_contents = True

    def image(self) -> bytes:
        """Return the whole index as it is now; `image=` opens it again."""
        return bytes(self.connection.serialize("main"))

    def close(self) -> None:
        self._versions.close()
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction. Raises: StorageFull, StorageFailed, IndexDamaged; then nothing of it holds."""
        try:
            with _translating(), self.connection:
                yield
        except BaseException:
            self._versions.rolled_back()
            raise

    @contextmanager
    def durable(self) -> Iterator[None]:
        """A transaction that is on disk when it ends: for intents (an allowed deletion, an unlink)."""
        self.connection.execute("PRAGMA synchronous = FULL")
        try:
            with self.transaction():
                yield
        finally:
            self.connection.execute("PRAGMA synchronous = NORMAL")

    # -- meta -------------------------------------------------------------------------------------------------

    def get(self, key: str) -> object:
        found = next(iter(self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,))), None)
        return None if found is None else found[0]

    def put(self, key: str, value: object) -> None:
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # -- nodes ------------------------------------------------------------------------------------------------

    def add(self, node_id: NodeId) -> Nid:
        """Make a row that is absent everywhere."""
        nid = self.reserve()
        self.connection.execute("INSERT INTO nodes (nid, node_id) VALUES (?, ?)", (nid, node_id))
        return nid

    @property
    def version(self) -> int:
        """The newest version of the local tree; each write of a local side has the next one."""
        return self._versions.newest

    def reserve(self) -> Nid:
        """Return the nid of a row that is about to be inserted."""
        self._top += 1
        if self._top == LATE_ROWS_MAX:
            self.find_contents()
        return Nid(self._top)

    def node_id_of(self, nid: Nid) -> NodeId | None:
        """Return the row's node id, None when the row is gone."""
        found = next(iter(self.connection.execute("SELECT node_id FROM nodes WHERE nid = ?", (nid,))), None)
        return None if found is None else NodeId(found[0])

    def row(self, nid: Nid) -> Row | None:
        """Return the planner's row."""
        found = next(iter(self.connection.execute(f"SELECT {ROW_COLUMNS} FROM nodes WHERE nid = ?", (nid,))), None)
        return None if found is None else row_of(found, is_busy=False)

    def exists(self, nid: Nid) -> bool:
        return next(iter(self.connection.execute("SELECT 1 FROM nodes WHERE nid = ?", (nid,))), None) is not None

    def remote_facts(self, nid: Nid) -> RemoteFacts:
        row = next(
            iter(self.connection.execute("SELECT r_size, r_mtime, r_seq, r_key FROM nodes WHERE nid = ?", (nid,)))
        )
        return RemoteFacts(row[0] or 0, row[1] or 0, row[2], row[3] or "")

    # -- the remote side --------------------------------------------------------------------------------------

    def set_remote(self, nid: Nid, parent: Nid, entry: Entry, mark: int = 0) -> None:
        """The service says that the node is as `entry` (live) tells."""
        self.connection.execute(SET_REMOTE, (*remote_values(parent, entry, mark), nid))
        if len(entry.blocks) > PACKED_BYTES:
            self.put_blocklist(entry.content, entry.blocks)

    def write_remote(self, rows: Sequence[RemoteRow], mark: int = 0) -> None:
        """As `add` (where node_id is given; such a row is dirty by it) and `set_remote`, for many live entries."""
        made: list[tuple[object, ...]] = []
        known: list[tuple[object, ...]] = []
        for row in rows:
            values = remote_values(row.parent, row.entry, mark)
            if row.node_id is not None:
                made.append((row.nid, row.node_id, values[0], *values[2:]))
            else:
                known.append((*values, row.nid))
        self._many(ADD_REMOTE, made)
        self._many(SET_REMOTE, known)
        self._put_lists(rows)

    def write_stated(self, rows: Sequence[RemoteRow]) -> None:
        """As `set_remote` and `set_synced` of what this disk created; what is equal here is clean by it."""
        self._many(SET_STATED, [(*remote_values(row.parent, row.entry, 0), row.nid) for row in rows])
        self._put_lists(rows)

    def _put_lists(self, rows: Sequence[RemoteRow]) -> None:
        for row in rows:
            if len(row.entry.blocks) > PACKED_BYTES:
                self.put_blocklist(row.entry.content, row.entry.blocks)

    def remote_seq(self, nid: Nid) -> int:
        """Return the seq of the newest entry folded onto the row, 0 for none."""
        return int(next(iter(self.connection.execute("SELECT r_seq FROM nodes WHERE nid = ?", (nid,))), (0,))[0])

    def is_remote(self, nid: Nid) -> bool:
        """True when the service holds the node live."""
        row = next(iter(self.connection.execute("SELECT r_state FROM nodes WHERE nid = ?", (nid,))), None)
        return row is not None and row[0] == 1

    def clear_remote_unit(self, nid: Nid, seq: int) -> list[Nid]:
        """The unit is dead on the service. Result: all rows of it, the top first."""
        nids = self.unit("r", nid)
        self._many("UPDATE nodes SET r_state = 0, r_seq = MAX(r_seq, ?) WHERE nid = ?", ((seq, each) for each in nids))
        return nids

    def clear_remote_before(self, nid: Nid, seq: int) -> list[Nid]:
        """A folder came back bare: units in it that are older are dead on the service. Result: all their rows."""
        query = "SELECT nid FROM nodes WHERE r_parent = ? AND r_state = 1 AND r_seq < ? ORDER BY nid"
        older = [Nid(row[0]) for row in self.connection.execute(query, (nid, seq))]
        return [each for top in older for each in self.clear_remote_unit(top, seq)]

    def forget_remote(self, nid: Nid) -> None:
        """The service does not know the node at all."""
        self.connection.execute(
            "UPDATE nodes SET r_state = 0, r_seq = 0, r_content_rev = 0, r_place_rev = 0 WHERE nid = ?", (nid,)
        )

    def renew(self, nid: Nid, node_id: bytes) -> None:
        """What stands here is another node than the service knows: a new one, of which nothing is agreed on."""
        self.connection.execute(
            "UPDATE nodes SET node_id = ?, r_state = 0, r_seq = 0, r_content_rev = 0, r_place_rev = 0, s_state = 0,"
            " dirty = 1 WHERE nid = ?",
            (node_id, nid),
        )

    def unmarked_remote(self, mark: int, seq: int) -> list[Nid]:
        """Return live remote rows that a finished snapshot (of `mark`, at `seq`) did not name: they are gone."""
        query = "SELECT nid FROM nodes WHERE r_state = 1 AND r_mark <> ? AND r_seq <= ? ORDER BY nid"
        return [Nid(row[0]) for row in self.connection.execute(query, (mark, seq))]

    # -- the local side ---------------------------------------------------------------------------------------

    def set_local(self, nid: Nid, parent: Nid, name: str, content: bytes, stat: Stat, blocks: bytes = b"") -> None:
        """The disk shows the node so. stat.kind is not None; blocks: packed blocklist, empty when it is known."""
        values = local_values(KnownLocal(nid, parent, name, name_key(name), content, stat, blocks))
        self.connection.execute(self._set_local, (*values, self._versions.next(), nid))
        self._note(((nid, stat.xattrs),))
        if len(blocks) > PACKED_BYTES:
            self.put_local_blocks(content, blocks)

    def add_seen(self, rows: Sequence[NewLocal]) -> None:
        """As `add` and `set_local`, for many rows; they are dirty by it."""
        values = []
        for row in rows:
            block, _, *rest = local_values(row)
            values.append((row.nid, row.node_id, block, *rest, self._versions.next()))
        self._many(ADD_LOCAL, values)
        self._put_local_lists(rows)
        self._note((row.nid, row.stat.xattrs) for row in rows)

    def set_seen(self, rows: Sequence[KnownLocal]) -> None:
        """As `set_local`, for many rows. Held ones are released."""
        self._many(self._set_local, self._seen_values(rows))
        self.release([row.nid for row in rows])
        self._put_local_lists(rows)
        self._note((row.nid, row.stat.xattrs) for row in rows)

    def meet(self, rows: Sequence[KnownLocal]) -> None:
        """As `set_seen`, for rows whose remote side is equal to what was seen: they are agreed on by it."""
        self._many(MEET, self._seen_values(rows))
        self._put_local_lists(rows)
        self._note((row.nid, row.stat.xattrs) for row in rows)

    def _note(self, seen: Iterable[tuple[Nid, bytes | None]]) -> None:
        if note_xattrs(self.connection, seen):
            self._set_local = SET_LOCAL_NOTED

    def _seen_values(self, rows: Sequence[KnownLocal]) -> list[tuple[object, ...]]:
        values = []
        for row in rows:
            values.append((*local_values(row), self._versions.next(), row.nid))
        return values

    def _put_local_lists(self, rows: Sequence[NewLocal | KnownLocal]) -> None:
        for row in rows:
            if len(row.blocks) > PACKED_BYTES:
                self.put_local_blocks(row.content, row.blocks)

    def set_local_unknown(self, nid: Nid) -> None:
        """Nothing can be said of the node's local side."""
        values = (self._versions.next(), nid)
        self.connection.execute("UPDATE nodes SET l_state = 2, l_version = ? WHERE nid = ?", values)

    def doubt_local(self, nid: Nid) -> None:
        """Let the next look at this file read it again, whatever its stat."""
        self.connection.execute("UPDATE nodes SET l_ctime = 0 WHERE nid = ?", (nid,))

    def clear_local_unit(self, nid: Nid) -> list[Nid]:
        """The unit is gone from the disk. Result: all rows of it, the top first."""
        nids = self.unit("l", nid)
        version = self._versions.next()
        self._many("UPDATE nodes SET l_state = 0, l_version = ? WHERE nid = ?", ((version, each) for each in nids))
        return nids

    def move_children(self, source: Nid, target: Nid) -> list[Nid]:
        """The local children of `source` are those of `target` now (two folders are one). Result: the children."""
        moved = self.connection.execute(
            "UPDATE nodes SET l_parent = ?, l_version = ? WHERE l_parent = ? AND l_state > 0 RETURNING nid",
            (target, self._versions.next(), source),
        )
        nids = [Nid(row[0]) for row in moved]
        self._many(
            "UPDATE nodes SET s_parent = ? WHERE s_parent = ? AND nid = ?", ((target, source, nid) for nid in nids)
        )
        return nids

    def take_local(self, source: Nid, target: Nid) -> None:
        """Row `target` gets the local side of `source`, which becomes absent there."""
        version = self._versions.next()
        values = next(
            iter(
                self.connection.execute(
                    "SELECT l_state, l_parent, l_name, l_key, l_kind, l_content, l_exec, l_size, l_mtime, l_ctime,"
                    " l_inode, l_birth, l_blocks, l_xattrs FROM nodes WHERE nid = ?",
                    (source,),
                )
            )
        )
        self.connection.execute("UPDATE nodes SET l_state = 0, l_version = ? WHERE nid = ?", (version, source))
        self.connection.execute(
            "UPDATE nodes SET l_state = ?, l_parent = ?, l_name = ?, l_key = ?, l_kind = ?, l_content = ?, l_exec = ?,"
            " l_size = ?, l_mtime = ?, l_ctime = ?, l_inode = ?, l_birth = ?, l_blocks = ?, l_xattrs = ?,"
            " l_version = ? WHERE nid = ?",
            (*values, version, target),
        )
        move_note(self.connection, source, target)

    def is_taken(self, parent: Nid, key: str) -> bool:
        """Return whether a node of this name key stands in the folder, on either side."""
        query = (
            "SELECT 1 FROM nodes WHERE r_parent = ? AND r_key = ? AND r_state = 1 UNION ALL"
            " SELECT 1 FROM nodes WHERE l_parent = ? AND l_key = ? AND l_state > 0 LIMIT 1"
        )
        return next(iter(self.connection.execute(query, (parent, key, parent, key))), None) is not None

    # -- the synced side --------------------------------------------------------------------------------------

    def set_synced(self, nid: Nid, item: Item | None) -> None:
        """Both sides agreed on this."""
        if item is None:
            self.connection.execute("UPDATE nodes SET s_state = 0 WHERE nid = ?", (nid,))
            return
        self.connection.execute(
            "UPDATE nodes SET s_state = 1, s_parent = ?, s_name = ?, s_kind = ?, s_content = ?, s_exec = ?,"
            " s_xattrs = ? WHERE nid = ?",
            (item.parent, item.name, int(item.kind), item.content, int(item.is_executable), item.xattrs, nid),
        )

    def clear_synced(self, nids: Sequence[Nid]) -> None:
        """Forget what was agreed: what is on one side only counts as new there."""
        self._many("UPDATE nodes SET s_state = 0 WHERE nid = ?", ((nid,) for nid in nids))

    def forget_agreements(self) -> None:
        """Make the next plan a union merge: no deletion can be derived any more, and the remote tree is unknown."""
        self.connection.execute(
            "UPDATE nodes SET s_state = 0, r_state = 0, r_seq = 0, r_content_rev = 0, r_place_rev = 0, dirty = 1"
        )

    def forget_what_is_not_shown(self) -> None:
        """Keep only agreements that the local side still shows, and no rev or seq: the snapshot tells them anew."""
        self.connection.execute(
            "UPDATE nodes SET r_seq = 0, r_content_rev = 0, r_place_rev = 0, dirty = 1,"
            " s_state = CASE WHEN s_state = 1 AND (l_state, l_parent, l_name, l_kind, l_content, l_exec,"
            " l_xattrs) IS (s_state, s_parent, s_name, s_kind, s_content, s_exec, s_xattrs) THEN 1 ELSE 0 END"
        )

    def set_remote_dead(self, nid: Nid, seq: int) -> None:
        """The service knows the node and holds it as deleted."""
        self.connection.execute("UPDATE nodes SET r_state = 0, r_seq = MAX(r_seq, ?) WHERE nid = ?", (seq, nid))

    def settle(self, nids: Iterable[Nid], *, keep: Callable[[Nid], bool] = lambda nid: False) -> list[Nid]:
        """Agree what is equal, drop what is absent everywhere (unless to `keep`). Result: those that are dirty."""
        wanted = dict.fromkeys(nids)
        if not wanted:
            return []
        run = self.connection.execute
        agreed = dict(run(AGREE, (json_of(wanted),)))
        gone = [(nid,) for nid, state in agreed.items() if state == 0 and not keep(nid)]
        self._many("DELETE FROM nodes WHERE nid = ?", gone)
        if len(agreed) == len(wanted):
            return []
        rest = json_of(nid for nid in wanted if nid not in agreed)
        # What is kept off this disk differs, and nothing is to be done about it.
        told = (
            "UPDATE nodes SET dirty = l_state >= 0 WHERE nid IN (SELECT value FROM json_each(?)) RETURNING nid, dirty"
        )
        dirty = {nid for nid, is_dirty in run(told, (rest,)) if is_dirty}
        return [nid for nid in wanted if nid in dirty]

    def seen_as(self, nids: Iterable[Nid]) -> list[tuple[int, int]]:
        """Return as which files (inode, birth time) the disk last showed these rows, also those that are gone."""
        query = (
            "SELECT l_inode, COALESCE(l_birth, 0) FROM nodes WHERE nid IN (SELECT value FROM json_each(?))"
            " AND l_kind = 1 AND l_inode IS NOT NULL"
        )
        return [(row[0], row[1]) for row in self.connection.execute(query, (json_of(nids),))]

    def has_young(self, nids: Iterable[Nid]) -> bool:
        """Tell whether one of these is a file that was too young to be sure of when it was read."""
        query = (
            "SELECT 1 FROM nodes WHERE nid IN (SELECT value FROM json_each(?)) AND l_state = 1 AND l_kind = 1"
            " AND l_ctime = 0 LIMIT 1"
        )
        return next(iter(self.connection.execute(query, (json_of(nids),))), None) is not None

    def has_unplaced(self) -> bool:
        """Tell whether the remote tree holds anything that was not agreed on yet: work that a stop may have cut."""
        unplaced = (
            "SELECT 1 FROM nodes INDEXED BY nodes_dirty WHERE dirty = 1 AND (r_state, r_parent, r_name, r_kind,"
            " r_content, r_exec, r_xattrs) IS NOT (s_state, s_parent, s_name, s_kind, s_content, s_exec, s_xattrs)"
            " LIMIT 1"
        )
        return next(iter(self.connection.execute(unplaced)), None) is not None

    def dirty_of(self, nids: Iterable[Nid]) -> set[Nid]:
        """Return those of the rows that are dirty."""
        return {Nid(row[0]) for row in self.connection.execute(BY_DIRTY, (json_of(nids),))}

    def dirty_nids(self) -> list[Nid]:
        """Return all rows whose sides differ, for a start."""
        return [
            Nid(row[0])
            for row in self.connection.execute(
                "SELECT nid FROM nodes INDEXED BY nodes_dirty WHERE dirty = 1 ORDER BY nid"
            )
        ]

    def unseen_nids(self) -> list[Nid]:
        """Return the dirty rows that this disk does not show."""
        query = "SELECT nid FROM nodes INDEXED BY nodes_dirty WHERE dirty = 1 AND l_state = 0"
        return [Nid(row[0]) for row in self.connection.execute(query)]

    def unit(self, side: str, nid: Nid) -> list[Nid]:
        """Return the rows of the unit in the tree "r", "l" or "s" that are not absent there, the top first."""
        query = UNIT.format(side=side, present="= 1" if side != "l" else "> 0")
        return [Nid(row[0]) for row in self.connection.execute(query, (nid,))]

    def count_files(self) -> int:
        """Return how many files the local and synced trees hold; the base of the deletion guard."""
        return int(
            next(iter(self.connection.execute("SELECT COUNT(*) FROM nodes WHERE s_state = 1 AND s_kind <> 2")))[0]
        )

    # -- held rows --------------------------------------------------------------------------------------------

    def hold(self, nid: Nid, code: str, reason: str, next_try_ms: int | None) -> None:
        """Remember why the row waits, and until when (None: until a new fact or a person's word)."""
        self.connection.execute(
            "UPDATE nodes SET held_code = ?, held_reason = ?, next_try_ms = ? WHERE nid = ?",
            (code, reason, next_try_ms, nid),
        )

    def release(self, nids: Iterable[Nid]) -> None:
        self._many(
            "UPDATE nodes SET held_code = NULL, held_reason = NULL, next_try_ms = NULL"
            " WHERE nid = ? AND held_code IS NOT NULL",
            ((nid,) for nid in nids),
        )

    def held(self, limit: int = 10_000) -> list[tuple[Nid, str, str, int | None]]:
        """Return (nid, code, reason, next try in ms) of held rows."""
        columns = "nid, held_code, held_reason, next_try_ms"
        query = f"SELECT {columns} FROM nodes INDEXED BY nodes_held WHERE held_code IS NOT NULL ORDER BY nid LIMIT ?"
        return [(Nid(row[0]), row[1], row[2], row[3]) for row in self.connection.execute(query, (limit,))]

    def put_unread(self, path: bytes, code: str, reason: str, next_try_ms: int | None) -> None:
        """Something on disk that has no row and cannot be taken in; shown by status."""
        self.connection.execute("INSERT OR REPLACE INTO unread VALUES (?, ?, ?, ?)", (path, code, reason, next_try_ms))

    def clear_unread(self, below: bytes, *, is_deep: bool) -> None:
        """What is looked at again counts anew."""
        prefix = below + b"/" if below else b""
        if is_deep and not below:
            self.connection.execute("DELETE FROM unread")
        elif is_deep:
            upper = prefix[:-1] + b"0"
            self.connection.execute(
                "DELETE FROM unread WHERE path = ? OR (path >= ? AND path < ?)", (below, prefix, upper)
            )
        else:
            self.connection.execute("DELETE FROM unread WHERE path = ?", (below,))

    def unread(self, limit: int = 1_000) -> list[tuple[bytes, str, str, int | None]]:
        query = "SELECT path, code, reason, next_try_ms FROM unread ORDER BY path LIMIT ?"
        return [tuple(row) for row in self.connection.execute(query, (limit,))]

    def count_waiting(self, *, but: str) -> int:
        """Return how many rows are held, but for those with the code `but`, and how much cannot be taken in."""
        held = "SELECT COUNT(*) FROM nodes INDEXED BY nodes_held WHERE held_code IS NOT NULL AND held_code <> ?"
        return sum(row[0] for row in self.connection.execute(f"{held} UNION ALL SELECT COUNT(*) FROM unread", (but,)))

    # -- blocks -----------------------------------------------------------------------------------------------

    def put_blocklist(self, content: bytes, blocks: bytes) -> None:
        """Remember a content's packed blocklist."""
        self.connection.execute("INSERT OR IGNORE INTO blocklists VALUES (?, ?)", (content, blocks))

    def put_local_blocks(self, content: bytes, blocks: bytes) -> None:
        """A local file of several blocks holds this content now: its blocks can be had from it."""
        self.put_blocklist(content, blocks)
        rows: list[tuple[bytes, bytes, int, int]] = []
        at = 0
        for block in unpack_blocks(blocks):
            rows.append((block.hash, content, at, block.size))
            at += block.size
        self._many("INSERT OR IGNORE INTO local_blocks VALUES (?, ?, ?, ?)", rows)

    def blocks_of(self, content: bytes) -> list[Block]:
        """Return the blocklist of a content that is known here."""
        packed = self.reader.blocklist(content)
        return [] if packed is None else unpack_blocks(packed)

    def sizes(self, nids: Iterable[Nid]) -> dict[Nid, tuple[int, int]]:
        """Return (local size, remote size) of rows, 0 where a side is not there."""
        query = (
            "SELECT nid, CASE WHEN l_state > 0 THEN l_size ELSE 0 END, COALESCE(r_size, 0) FROM nodes"
            " WHERE nid IN (SELECT value FROM json_each(?))"
        )
        return {Nid(row[0]): (row[1], row[2]) for row in self.connection.execute(query, (json_of(nids),))}

    def _many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        if some := list(rows):
            self.connection.executemany(sql, some)
