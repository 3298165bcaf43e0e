"""Reads of the index that answer for many rows in one statement. Invariant: what they say of a row is what the index
holds at the call; nothing is kept.

A call per row costs more in handing the interpreter over than in the look-up itself; a scan or a page of the journal
asks for some hundred rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterable

from satchel.core.entries import Kind
from satchel.core.hashing import EMPTY_CONTENT
from satchel.core.ids import Nid, NodeId
from satchel.core.trees import Item
from satchel.device.index.reader import json_of
from satchel.device.index.rows import KINDS, KnownRemote, OnlyHere, Standing, ToCommit
from satchel.device.index.store import Index
from satchel.device.ports import Stat

Place = tuple[Nid, str]
"""A folder and the key of a name in it."""

_AT_LOCAL = """
SELECT n.l_parent, n.l_key, n.nid, n.l_name, n.l_kind, n.l_content, n.l_exec, n.l_xattrs, n.l_state,
  n.s_state, n.l_inode, n.l_birth
FROM json_each(?) AS wanted CROSS JOIN nodes AS n INDEXED BY nodes_local
  ON n.l_parent = wanted.value->>0 AND n.l_key = wanted.value->>1 AND n.l_state > 0
"""

_AT_REMOTE = """
SELECT n.r_parent, n.r_key, n.nid, n.r_name, n.r_kind, n.r_content, n.r_exec, n.r_xattrs, n.l_state, n.s_state
FROM json_each(?) AS wanted CROSS JOIN nodes AS n INDEXED BY nodes_remote
  ON n.r_parent = wanted.value->>0 AND n.r_key = wanted.value->>1 AND n.r_state = 1
"""

_BY_NODE_ID = """
SELECT node_id, nid, r_state, r_seq FROM nodes WHERE node_id IN (SELECT unhex(value) FROM json_each(?))
"""

_TO_COMMIT = """
SELECT nid, node_id, l_parent, l_name, l_kind, l_size, l_mtime, CASE WHEN l_state = 1 THEN l_ctime ELSE 0 END, l_inode,
  l_birth, l_exec, l_content, l_blocks, r_seq
FROM nodes WHERE nid IN (SELECT value FROM json_each(?)) AND l_state > 0
"""

_ONLY_HERE = """
SELECT n.nid, n.l_parent, n.l_name, n.l_kind, n.l_content, n.l_exec, n.l_xattrs, n.l_size
FROM json_each(?) AS wanted CROSS JOIN nodes AS n ON n.nid = wanted.value
WHERE n.l_state = 1 AND n.r_state = 0 AND n.s_state = 0 AND n.r_content_rev = 0
  AND NOT EXISTS (SELECT 1 FROM nodes AS o INDEXED BY nodes_remote
    WHERE o.r_parent = n.l_parent AND o.r_key = n.l_key AND o.r_state = 1)
  AND NOT EXISTS (SELECT 1 FROM nodes AS o INDEXED BY nodes_local
    WHERE o.l_parent = n.l_parent AND o.l_key = n.l_key AND o.l_state > 0 AND o.nid <> n.nid)
"""

_IDENTITIES = """
SELECT nid, l_inode, l_birth FROM nodes WHERE nid IN (SELECT value FROM json_each(?)) AND s_state = 1 AND l_birth <> 0
"""

_AGREED_FOLDERS = """
SELECT nid FROM nodes WHERE nid IN (SELECT value FROM json_each(?)) AND dirty = 0
  AND r_state = 1 AND l_state = 1 AND s_state = 1 AND l_kind = 2
"""

Standings = dict[Place, list[Standing]]


def identities_of(index: Index, nids: Iterable[Nid]) -> list[tuple[Nid, int, int]]:
    """Return inode and birth time of rows that were agreed on, as they were last seen, also when they are gone."""
    return list(index.connection.execute(_IDENTITIES, (json_of(nids),)))


def standing_at(index: Index, places: Iterable[Place]) -> tuple[Standings, Standings]:
    """Return what stands at these places, local and remote; places where nothing does are left out."""
    wanted = json_of(places)
    return _standing(index, _AT_LOCAL, wanted), _standing(index, _AT_REMOTE, wanted)


def standing_here(index: Index, place: Place) -> list[Standing]:
    """Return what stands at this place on the disk."""
    return _standing(index, _AT_LOCAL, json_of([place])).get(place, [])


def _standing(index: Index, query: str, wanted: str) -> Standings:
    found: Standings = {}
    for parent, key, *values in index.connection.execute(query, (wanted,)):
        found.setdefault((Nid(parent), key), []).append(Standing(*values))
    return found


def known_remote(index: Index, node_ids: Iterable[NodeId]) -> dict[NodeId, KnownRemote]:
    """Return the rows of these nodes, by node id."""
    wanted = json_of(each.hex() for each in node_ids)
    return {
        NodeId(row[0]): KnownRemote(Nid(row[1]), row[2] == 1, row[3])
        for row in index.connection.execute(_BY_NODE_ID, (wanted,))
    }


def to_commit(index: Index, nids: Iterable[Nid]) -> dict[Nid, ToCommit]:
    """Return what commits of these rows say, of those whose local side is there."""
    found: dict[Nid, ToCommit] = {}
    for record in index.connection.execute(_TO_COMMIT, (json_of(nids),)):
        nid, node_id, parent, name, kind, size, mtime, ctime, inode, birth, executable, content, blocks, seq = record
        if blocks is None and kind == Kind.FILE:
            blocks = b"" if content == EMPTY_CONTENT else index.reader.blocklist(content)
        stat = Stat(KINDS[kind], size, mtime, ctime, inode, birth, bool(executable))
        found[nid] = ToCommit(node_id, parent, name.encode(), stat, content, blocks, seq)
    return found


def only_here(index: Index, nids: Iterable[Nid]) -> dict[Nid, OnlyHere]:
    """Return those rows that this disk alone has and ever had, and whose name nobody else has on either side."""
    found: dict[Nid, OnlyHere] = {}
    for nid, parent, name, kind, content, bit, xattrs, size in index.connection.execute(_ONLY_HERE, (json_of(nids),)):
        found[nid] = OnlyHere(Item(parent, name, KINDS[kind], content, bool(bit), xattrs), size if kind == 1 else 0)
    return found


def untold_in(index: Index, top: Nid, mark: int, seq: int) -> list[Nid]:
    """Return the rows of a unit of the service that a finished snapshot of it (of `mark`, at `seq`) did not name."""
    unit = json_of(index.unit("r", top))
    query = "SELECT nid FROM nodes WHERE nid IN (SELECT value FROM json_each(?)) AND r_mark <> ? AND r_seq <= ?"
    return sorted(Nid(row[0]) for row in index.connection.execute(query, (unit, mark, seq)))


def agreed_folders(index: Index, nids: Iterable[Nid]) -> set[Nid]:
    """Return those rows that are folders and the same in all three trees."""
    return {Nid(row[0]) for row in index.connection.execute(_AGREED_FOLDERS, (json_of(nids),))}
