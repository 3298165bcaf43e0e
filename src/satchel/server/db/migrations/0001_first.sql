-- The first schema. BYTEA, BIGINT, SMALLINT and TEXT only; {clustered} keeps small rows inside their key's tree where
-- the database can. Every table on a hot path has the namespace first in its key, the block tables the hash.

CREATE TABLE store_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
) {clustered};

CREATE TABLE accounts (
    account_id BYTEA NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    root_ns BYTEA NOT NULL,
    is_admin SMALLINT NOT NULL,
    is_disabled SMALLINT NOT NULL,
    created_at BIGINT NOT NULL
) {clustered};

CREATE TABLE devices (
    device_id BYTEA NOT NULL PRIMARY KEY,
    account_id BYTEA NOT NULL,
    name TEXT NOT NULL,
    token_hash BYTEA NOT NULL UNIQUE,
    run BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    revoked_at BIGINT
) {clustered};
CREATE INDEX devices_of_account ON devices (account_id);

-- The row of a namespace is locked first by whoever writes in it: that is the order of writes.
-- quota is NULL when there is none; bytes_used: bytes, before compression, of the blocks that live manifests here use.
CREATE TABLE namespaces (
    ns BYTEA NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    owner BYTEA NOT NULL,
    head_seq BIGINT NOT NULL,
    head_tag BYTEA NOT NULL,
    head_at BIGINT NOT NULL,
    min_seq BIGINT NOT NULL,
    bytes_used BIGINT NOT NULL,
    quota BIGINT,
    created_at BIGINT NOT NULL
) {clustered};
CREATE INDEX namespaces_of_owner ON namespaces (owner);

-- content: content hash of a file (then also the key of its manifest), target of a symlink, empty for a folder.
-- cleared_seq: children that are not above it are dead; cleared_before: what it was before the last deletion.
CREATE TABLE files (
    ns BYTEA NOT NULL,
    node_id BYTEA NOT NULL,
    parent_id BYTEA NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    kind SMALLINT NOT NULL,
    content BYTEA NOT NULL,
    size BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    is_executable SMALLINT NOT NULL,
    content_rev BIGINT NOT NULL,
    place_rev BIGINT NOT NULL,
    version_count BIGINT NOT NULL,
    state SMALLINT NOT NULL,
    deleted_at BIGINT,
    cleared_seq BIGINT NOT NULL,
    cleared_before BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (ns, node_id)
) {clustered};
CREATE UNIQUE INDEX files_by_name ON files (ns, parent_id, name_key) WHERE state = 1;
CREATE INDEX files_deleted ON files (ns, deleted_at, node_id) WHERE deleted_at IS NOT NULL;
CREATE INDEX files_cleared ON files (ns, cleared_seq) WHERE cleared_seq > 0;

CREATE TABLE file_versions (
    ns BYTEA NOT NULL,
    node_id BYTEA NOT NULL,
    rev BIGINT NOT NULL,
    version_number BIGINT NOT NULL,
    content BYTEA NOT NULL,
    size BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    author BYTEA NOT NULL,
    device BYTEA NOT NULL,
    op_id BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (ns, node_id, rev)
) {clustered};

-- refs: how many versions use it. blocks: 32 bytes of hash and 4 of length, big-endian, a block.
CREATE TABLE manifests (
    ns BYTEA NOT NULL,
    manifest_id BYTEA NOT NULL,
    blocks BYTEA NOT NULL,
    size BIGINT NOT NULL,
    cutter TEXT NOT NULL,
    refs BIGINT NOT NULL,
    PRIMARY KEY (ns, manifest_id)
) {clustered};

-- The journal. pre and post are the node's images (msgpack); pre is NULL for a node that was not there.
CREATE TABLE file_changes (
    ns BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    tag BYTEA NOT NULL,
    action SMALLINT NOT NULL,
    node_id BYTEA NOT NULL,
    pre BYTEA,
    post BYTEA NOT NULL,
    is_subtree SMALLINT NOT NULL,
    actor BYTEA NOT NULL,
    device BYTEA NOT NULL,
    link BYTEA NOT NULL,
    op_id BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (ns, seq)
) {clustered};
CREATE INDEX file_changes_of_node ON file_changes (ns, node_id, seq);
CREATE INDEX file_changes_by_time ON file_changes (ns, created_at);

CREATE TABLE op_results (
    ns BYTEA NOT NULL,
    actor BYTEA NOT NULL,
    op_id BYTEA NOT NULL,
    body_hash BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (ns, actor, op_id)
) {clustered};

-- The newest position of a namespace that was not yet told to the bus; positions supersede each other.
CREATE TABLE outbox (
    ns BYTEA NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    tag BYTEA NOT NULL
) {clustered};

CREATE TABLE namespace_blocks (
    ns BYTEA NOT NULL,
    block_hash BYTEA NOT NULL,
    refs BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    PRIMARY KEY (ns, block_hash)
) {clustered};

CREATE TABLE blocks (
    block_hash BYTEA NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL,
    stored_size BIGINT NOT NULL,
    codec SMALLINT NOT NULL,
    pack_id BYTEA NOT NULL,
    pack_offset BIGINT NOT NULL,
    state SMALLINT NOT NULL,
    touched_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
) {clustered};
CREATE INDEX blocks_of_pack ON blocks (pack_id);

CREATE TABLE block_refs (
    block_hash BYTEA NOT NULL,
    ns BYTEA NOT NULL,
    lease_until BIGINT NOT NULL,
    PRIMARY KEY (block_hash, ns)
) {clustered};

CREATE TABLE packs (
    pack_id BYTEA NOT NULL PRIMARY KEY,
    state SMALLINT NOT NULL,
    path TEXT NOT NULL DEFAULT '',
    bytes BIGINT NOT NULL,
    live_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    verified_at BIGINT NOT NULL
) {clustered};
