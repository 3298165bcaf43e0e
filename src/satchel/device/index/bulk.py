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
from satchel.device.index.reader import json_of
from satchel.device.index.rows import KnownRemote, Standing, ToCommit, local_row_of
from satchel.device.index.schema import LOCAL_COLUMNS
from satchel.device.index.store import Index

Place = tuple[Nid, str]
"""A folder and the key of a name in it."""

_AT_LOCAL = """
SELECT n.l_parent, n.l_key, n.nid, n.l_name, n.l_kind, n.l_content, n.l_exec, n.l_state, n.s_state,
  n.l_inode, n.l_birth
FROM json_each(?) AS wanted CROSS JOIN nodes AS n INDEXED BY nodes_local
  ON n.l_parent = wanted.value->>0 AND n.l_key = wanted.value->>1 AND n.l_state > 0
"""

_AT_REMOTE = """
SELECT n.r_parent, n.r_key, n.nid, n.r_name, n.r_kind, n.r_content, n.r_exec, n.l_state, n.s_state
FROM json_each(?) AS wanted CROSS JOIN nodes AS n INDEXED BY nodes_remote
  ON n.r_parent = wanted.value->>0 AND n.r_key = wanted.value->>1 AND n.r_state = 1
"""

_BY_NODE_ID = """
SELECT node_id, nid, r_state, r_seq FROM nodes WHERE node_id IN (SELECT unhex(value) FROM json_each(?))
"""

_TO_COMMIT = f"""
SELECT {LOCAL_COLUMNS}, l_blocks, r_seq FROM nodes WHERE nid IN (SELECT value FROM json_each(?)) AND l_state > 0
"""

Standings = dict[Place, list[Standing]]


def standing_at(index: Index, places: Iterable[Place]) -> tuple[Standings, Standings]:
    """Return what stands at these places, local and remote; places where nothing does are left out."""
    wanted = json_of(places)
    return _standing(index, _AT_LOCAL, wanted), _standing(index, _AT_REMOTE, wanted)


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
    for *columns, blocks, seq in index.connection.execute(_TO_COMMIT, (json_of(nids),)):
        local = local_row_of(columns)
        if blocks is None and local.kind is Kind.FILE:
            blocks = b"" if local.content == EMPTY_CONTENT else index.reader.blocklist(local.content)
        found[local.nid] = ToCommit(local, blocks, seq)
    return found
