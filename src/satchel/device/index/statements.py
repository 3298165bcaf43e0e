"""The statements that write rows, and their values. Invariant: a side's values come in the order of its columns."""

from __future__ import annotations

from satchel.core.entries import Entry, Kind
from satchel.core.hashing import PACKED_BYTES
from satchel.core.ids import Nid
from satchel.core.xattrs import is_packed
from satchel.device.index.rows import KnownLocal, NewLocal

AGREE = """
UPDATE nodes SET s_state = r_state, s_parent = r_parent, s_name = r_name, s_kind = r_kind, s_content = r_content,
  s_exec = r_exec, s_xattrs = r_xattrs, dirty = 0, held_code = NULL, held_reason = NULL, next_try_ms = NULL
WHERE nid IN (SELECT value FROM json_each(?)) AND r_state = l_state AND r_state < 2 AND (r_state = 0 OR
  (r_parent = l_parent AND r_name = l_name AND r_kind = l_kind AND r_content = l_content AND r_exec = l_exec
  AND r_xattrs = l_xattrs))
RETURNING nid, r_state
"""

SET_REMOTE = """
UPDATE nodes SET r_blocks = COALESCE(?, CASE WHEN r_content = ? THEN r_blocks END), r_state = 1, r_parent = ?,
  r_name = ?, r_key = ?, r_kind = ?, r_content = ?, r_exec = ?, r_size = ?, r_mtime = ?, r_content_rev = ?,
  r_place_rev = ?, r_seq = ?, r_mark = ?, r_xattrs = COALESCE(?, r_xattrs) WHERE nid = ?
"""

SET_LOCAL = """
UPDATE nodes SET l_blocks = COALESCE(?, CASE WHEN l_content = ? THEN l_blocks END), l_state = 1, l_parent = ?,
  l_name = ?, l_key = ?, l_kind = ?, l_content = ?, l_exec = ?, l_size = ?, l_mtime = ?, l_ctime = ?, l_inode = ?,
  l_birth = ?, l_xattrs = COALESCE(?, l_xattrs), l_version = ? WHERE nid = ?
"""
"""What is not known of attributes is as it was."""

SET_LOCAL_NOTED = SET_LOCAL.replace(
    "COALESCE(?, l_xattrs)",
    "CASE WHEN nid IN (SELECT nid FROM xattr_notes WHERE seen = x'2d') THEN l_xattrs ELSE COALESCE(?, l_xattrs) END",
)
"""And so it is where the disk did not take them (`UNHELD`). The same, for an index that has notes."""

MEET = """
UPDATE nodes SET l_blocks = COALESCE(?1, CASE WHEN l_content = ?2 THEN l_blocks END), l_state = 1, s_state = 1,
  l_parent = ?3, s_parent = ?3, l_name = ?4, s_name = ?4, l_key = ?5, l_kind = ?6, s_kind = ?6, l_content = ?7,
  s_content = ?7, l_exec = ?8, s_exec = ?8, l_size = ?9, l_mtime = ?10, l_ctime = ?11, l_inode = ?12, l_birth = ?13,
  l_xattrs = COALESCE(?14, r_xattrs), s_xattrs = r_xattrs, l_version = ?15, dirty = 0, held_code = NULL,
  held_reason = NULL, next_try_ms = NULL WHERE nid = ?16
"""

SET_STATED = """
UPDATE nodes SET r_blocks = COALESCE(?1, CASE WHEN r_content = ?2 THEN r_blocks END), r_state = 1, s_state = 1,
  r_parent = ?3, s_parent = ?3, r_name = ?4, s_name = ?4, r_key = ?5, r_kind = ?6, s_kind = ?6, r_content = ?7,
  s_content = ?7, r_exec = ?8, s_exec = ?8, r_size = ?9, r_mtime = ?10, r_content_rev = ?11, r_place_rev = ?12,
  r_seq = ?13, r_mark = ?14, r_xattrs = COALESCE(?15, r_xattrs), s_xattrs = COALESCE(?15, r_xattrs),
  dirty = NOT (l_state = 1 AND l_parent = ?3 AND l_name = ?4 AND l_kind = ?6 AND l_content = ?7 AND l_exec = ?8
  AND l_xattrs = COALESCE(?15, r_xattrs) AND held_code IS NULL)
WHERE nid = ?16
"""

ADD_LOCAL = """
INSERT INTO nodes (nid, node_id, l_blocks, l_parent, l_name, l_key, l_kind, l_content, l_exec, l_size, l_mtime, l_ctime,
  l_inode, l_birth, l_xattrs, l_version, l_state, dirty)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, COALESCE(?, x''), ?, 1, 1)
"""

ADD_REMOTE = """
INSERT INTO nodes (nid, node_id, r_blocks, r_parent, r_name, r_key, r_kind, r_content, r_exec, r_size, r_mtime,
  r_content_rev, r_place_rev, r_seq, r_mark, r_xattrs, r_state, dirty)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, COALESCE(?, x''), 1, 1)
"""

BY_DIRTY = """
SELECT n.nid FROM json_each(?) AS wanted CROSS JOIN nodes AS n INDEXED BY nodes_dirty
  ON n.nid = wanted.value AND n.dirty = 1
"""

UNIT = """
WITH RECURSIVE unit(nid) AS (VALUES (?) UNION SELECT n.nid FROM nodes n JOIN unit u ON n.{side}_parent = u.nid
  WHERE n.{side}_state {present})
SELECT nid FROM unit
"""


def remote_values(parent: Nid, entry: Entry, mark: int) -> tuple[object, ...]:
    """Return the remote columns of a live entry, in the order of `SET_REMOTE`."""
    return (
        entry.blocks if len(entry.blocks) == PACKED_BYTES else None,
        entry.content,
        parent,
        entry.name,
        entry.name_key,
        int(entry.kind),
        entry.content,
        int(entry.is_executable),
        entry.size,
        entry.mtime_ns,
        entry.content_rev,
        entry.place_rev,
        entry.seq,
        mark,
        entry.xattrs,
    )


def local_values(row: NewLocal | KnownLocal) -> tuple[object, ...]:
    """Return the local columns but the version, in the order of `SET_LOCAL`. row.stat.kind is not None."""
    stat, kind = row.stat, row.stat.kind
    assert kind is not None
    return (
        row.blocks if len(row.blocks) == PACKED_BYTES else None,
        row.content,
        row.parent,
        row.name,
        row.key,
        int(kind),
        row.content,
        1 if stat.is_executable and kind is Kind.FILE else 0,
        stat.size,
        stat.mtime_ns,
        stat.ctime_ns,
        stat.inode,
        stat.birth_ns,
        stat.xattrs if is_packed(stat.xattrs) else None,
    )
