-- Links and file requests: one row each. maker, device: the account that made it and the device it was made on.
-- permission: view, edit or upload. expires_at, downloads_max: NULL for none. downloads is exact where there is a
-- downloads_max; hits, and downloads where there is none, are written together every few seconds.
CREATE TABLE shares (
    ns BYTEA NOT NULL,
    share_id BYTEA NOT NULL,
    node_id BYTEA NOT NULL,
    maker BYTEA NOT NULL,
    device BYTEA NOT NULL,
    permission TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    token_hash BYTEA NOT NULL,
    is_no_download SMALLINT NOT NULL,
    expires_at BIGINT,
    downloads_max BIGINT,
    downloads BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    revoked_at BIGINT,
    PRIMARY KEY (ns, share_id)
) {clustered};
CREATE INDEX shares_of_maker ON shares (ns, maker, share_id);

-- Where the share of a token stands. A revoked one has no row here.
CREATE TABLE share_tokens (
    token_hash BYTEA NOT NULL PRIMARY KEY,
    ns BYTEA NOT NULL,
    share_id BYTEA NOT NULL
) {clustered};
