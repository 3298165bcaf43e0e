-- Files that come in parts. received: how many bytes are durable; cut: of them in blocks of the file; tail: pieces that
-- hold the rest, packed like a blocklist. base_rev: NULL for any, 0 for a new file only. wanted_hash: SHA-256 of all
-- bytes, empty when it was not said. node_id, op_id: of the commit to come; op: what was decided, before it is committed,
-- so that a repeated finish asks for the same. leased_at: since when all blocks are held for two days.
CREATE TABLE upload_sessions (
    account_id BYTEA NOT NULL,
    upload_id BYTEA NOT NULL,
    ns BYTEA NOT NULL,
    parent_id BYTEA NOT NULL,
    name TEXT NOT NULL,
    base_rev BIGINT,
    size BIGINT NOT NULL,
    wanted_hash BYTEA NOT NULL,
    mtime_ns BIGINT NOT NULL,
    node_id BYTEA NOT NULL,
    op_id BYTEA NOT NULL,
    op BYTEA NOT NULL,
    received BIGINT NOT NULL,
    cut BIGINT NOT NULL,
    tail BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    leased_at BIGINT NOT NULL,
    finished_at BIGINT,
    PRIMARY KEY (account_id, upload_id)
) {clustered};

-- Blocks of an upload, packed, by where the first of them begins.
CREATE TABLE upload_parts (
    account_id BYTEA NOT NULL,
    upload_id BYTEA NOT NULL,
    first_byte BIGINT NOT NULL,
    blocks BYTEA NOT NULL,
    PRIMARY KEY (account_id, upload_id, first_byte)
) {clustered};
