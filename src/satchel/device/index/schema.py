"""The index's tables. One row a node; R, L and S are column groups; a state is 0 absent, 1 present, 2 unknown; L also
-1: kept off this disk (`left_out`).

The blocklist of a content of one block stands in the node's row (`r_blocks`, `l_blocks`), a longer one in `blocklists`.
"""

from __future__ import annotations

SCHEMA_VERSION = 8

ABSENT, PRESENT, UNKNOWN_STATE = 0, 1, 2
EXCLUDED = -1
"""A local state: unknown, since a person keeps the node off this disk. Below zero it is no row to whoever looks at
what stands on the disk."""

NAMED_AS_COPY = "l_state = 1 AND instr(l_name, '''s conflicted copy 2') > 0"
_MOUNTS = """
CREATE TABLE IF NOT EXISTS mounts (
  nid INTEGER PRIMARY KEY, ns BLOB NOT NULL, stage INTEGER NOT NULL, refused_ms INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS carried (trashed TEXT PRIMARY KEY, nid INTEGER NOT NULL, path BLOB NOT NULL) WITHOUT ROWID
"""
"""Shared folders in this one (`mounts`), and what is on its way out of this one, which is shared (`carried`)."""
_COPIES = f"CREATE INDEX IF NOT EXISTS nodes_copies ON nodes (nid) WHERE {NAMED_AS_COPY}"

SCHEMA = f"""
CREATE TABLE nodes (
  nid INTEGER PRIMARY KEY AUTOINCREMENT,
  node_id BLOB NOT NULL,
  r_state INTEGER NOT NULL DEFAULT 0, r_parent INTEGER, r_name TEXT, r_key TEXT, r_kind INTEGER, r_content BLOB,
  r_exec INTEGER, r_size INTEGER, r_mtime INTEGER, r_content_rev INTEGER NOT NULL DEFAULT 0,
  r_place_rev INTEGER NOT NULL DEFAULT 0, r_seq INTEGER NOT NULL DEFAULT 0, r_mark INTEGER NOT NULL DEFAULT 0,
  r_blocks BLOB, r_xattrs BLOB NOT NULL DEFAULT x'',
  l_state INTEGER NOT NULL DEFAULT 0, l_parent INTEGER, l_name TEXT, l_key TEXT, l_kind INTEGER, l_content BLOB,
  l_exec INTEGER, l_size INTEGER, l_mtime INTEGER, l_ctime INTEGER, l_inode INTEGER, l_birth INTEGER,
  l_version INTEGER NOT NULL DEFAULT 0, l_blocks BLOB, l_xattrs BLOB NOT NULL DEFAULT x'',
  s_state INTEGER NOT NULL DEFAULT 0, s_parent INTEGER, s_name TEXT, s_kind INTEGER, s_content BLOB, s_exec INTEGER,
  s_xattrs BLOB NOT NULL DEFAULT x'',
  dirty INTEGER NOT NULL DEFAULT 0,
  held_code TEXT, held_reason TEXT, next_try_ms INTEGER
);
CREATE UNIQUE INDEX nodes_id ON nodes (node_id);
CREATE INDEX nodes_remote ON nodes (r_parent, r_key) WHERE r_state = 1;
CREATE INDEX nodes_local ON nodes (l_parent, l_key) WHERE l_state > 0;
CREATE INDEX nodes_inode ON nodes (l_inode) WHERE l_state > 0;
CREATE INDEX nodes_dirty ON nodes (nid) WHERE dirty = 1;
CREATE INDEX nodes_held ON nodes (nid) WHERE held_code IS NOT NULL;
{_COPIES};
CREATE TABLE blocklists (content BLOB PRIMARY KEY, blocks BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE local_blocks (
  hash BLOB NOT NULL, content BLOB NOT NULL, place INTEGER NOT NULL, size INTEGER NOT NULL,
  PRIMARY KEY (hash, content, place)
) WITHOUT ROWID;
CREATE TABLE unread (
  path BLOB PRIMARY KEY, code TEXT NOT NULL, reason TEXT NOT NULL, next_try_ms INTEGER
) WITHOUT ROWID;
CREATE TABLE late (
  trashed TEXT PRIMARY KEY, path BLOB NOT NULL, members BLOB NOT NULL, content BLOB NOT NULL, looks INTEGER NOT NULL,
  due_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE activity (
  id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, node_id BLOB NOT NULL, path TEXT NOT NULL, rule TEXT NOT NULL,
  run INTEGER NOT NULL DEFAULT 0, what INTEGER NOT NULL DEFAULT 0, was_path TEXT NOT NULL DEFAULT '',
  was_content BLOB NOT NULL DEFAULT x'', content BLOB NOT NULL DEFAULT x'', trashed TEXT NOT NULL DEFAULT '',
  beside TEXT NOT NULL DEFAULT '', sides BLOB NOT NULL DEFAULT x'', device TEXT NOT NULL DEFAULT ''
);
CREATE TABLE left_out (nid INTEGER PRIMARY KEY, stage INTEGER NOT NULL);
CREATE TABLE left_trash (
  trashed TEXT PRIMARY KEY, nid INTEGER NOT NULL, path BLOB NOT NULL, inside BLOB NOT NULL, is_doubted INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE xattr_notes (nid INTEGER PRIMARY KEY, seen BLOB NOT NULL);
{_MOUNTS};
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""

BY_CONTENT = """
CREATE INDEX IF NOT EXISTS nodes_content ON nodes (l_content) WHERE l_state = 1 AND l_kind = 1;
CREATE INDEX IF NOT EXISTS nodes_remote_content ON nodes (r_content) WHERE r_state = 1 AND r_kind = 1
"""
"""Made when a content is first looked for, at rest, or at the next start: a hash comes at a random place, so that of
many rows at once the making costs a third of the keeping."""

STEPS = {
    1: "ALTER TABLE nodes ADD COLUMN r_blocks BLOB; ALTER TABLE nodes ADD COLUMN l_blocks BLOB",
    2: "ALTER TABLE activity ADD COLUMN run INTEGER NOT NULL DEFAULT 0;"
    " ALTER TABLE activity ADD COLUMN what INTEGER NOT NULL DEFAULT 0;"
    " ALTER TABLE activity ADD COLUMN was_path TEXT NOT NULL DEFAULT '';"
    " ALTER TABLE activity ADD COLUMN was_content BLOB NOT NULL DEFAULT x'';"
    " ALTER TABLE activity ADD COLUMN content BLOB NOT NULL DEFAULT x'';"
    " ALTER TABLE activity ADD COLUMN trashed TEXT NOT NULL DEFAULT '';"
    " ALTER TABLE activity ADD COLUMN beside TEXT NOT NULL DEFAULT '';"
    " ALTER TABLE activity ADD COLUMN sides BLOB NOT NULL DEFAULT x'';"
    " ALTER TABLE activity ADD COLUMN device TEXT NOT NULL DEFAULT ''",
    3: "CREATE TABLE IF NOT EXISTS left_out (nid INTEGER PRIMARY KEY, stage INTEGER NOT NULL)",
    4: "CREATE TABLE IF NOT EXISTS left_trash (trashed TEXT PRIMARY KEY, nid INTEGER NOT NULL, path BLOB NOT NULL,"
    " inside BLOB NOT NULL, is_doubted INTEGER NOT NULL) WITHOUT ROWID",
    5: "ALTER TABLE nodes ADD COLUMN r_xattrs BLOB NOT NULL DEFAULT x'';"
    " ALTER TABLE nodes ADD COLUMN l_xattrs BLOB NOT NULL DEFAULT x'';"
    " ALTER TABLE nodes ADD COLUMN s_xattrs BLOB NOT NULL DEFAULT x'';"
    " CREATE TABLE IF NOT EXISTS xattr_notes (nid INTEGER PRIMARY KEY, seen BLOB NOT NULL)",
    6: _COPIES,
    7: f"{_MOUNTS}; INSERT OR IGNORE INTO mounts (nid, ns, stage) SELECT nid, r_content, 1 FROM nodes"
    " WHERE r_state = 1 AND r_kind = 4; UPDATE nodes SET r_kind = 2, r_content = x'' WHERE r_kind = 4",
}
"""What makes an index of a version one of the next."""

ROW_COLUMNS = (
    "nid, node_id, r_state, r_parent, r_name, r_kind, r_content, r_exec, r_xattrs, r_content_rev, r_place_rev, "
    "l_state, l_parent, l_name, l_kind, l_content, l_exec, l_xattrs, "
    "s_state, s_parent, s_name, s_kind, s_content, s_exec, s_xattrs"
)

LOCAL_COLUMNS = (
    "nid, l_parent, l_name, l_kind, l_size, l_mtime, l_ctime, l_inode, l_birth, l_exec, l_content, l_version, l_state, "
    "l_xattrs"
)
