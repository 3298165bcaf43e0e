-- What upkeep of blocks needs. A program of before writes on beside it: it revives a block by its state alone, and
-- each decision here looks at touched_at too.

-- gone_at: when upkeep first found that nobody holds the block, NULL while somebody does.
ALTER TABLE blocks ADD COLUMN gone_at BIGINT;
ALTER TABLE blocks ADD COLUMN condemned_at BIGINT;

-- Since when the pack has its state, where that is not live.
ALTER TABLE packs ADD COLUMN state_at BIGINT;

-- Whether a block still stands in a pack decides whether that is deleted. Both columns only grow while packs are
-- written, so a row is added at the index's end and costs no page of its own.
CREATE INDEX blocks_by_place ON blocks (pack_id, pack_offset);

-- Blocks whose stored bytes are wrong or missing, and where that was.
CREATE TABLE block_damage (
    block_hash BYTEA NOT NULL PRIMARY KEY,
    pack_id BYTEA NOT NULL,
    pack_offset BIGINT NOT NULL,
    reason TEXT NOT NULL,
    found_at BIGINT NOT NULL
) {clustered};

-- While one stands, no pack is deleted: a backup still copies what its snapshot names.
CREATE TABLE pins (
    pin_id BYTEA NOT NULL PRIMARY KEY,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    until BIGINT NOT NULL
) {clustered};

-- Alarms of upkeep, and how far an administrator has let it go on: one row a kind of work, packed.
CREATE TABLE block_upkeep (
    name TEXT NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL,
    changed_at BIGINT NOT NULL
) {clustered};
