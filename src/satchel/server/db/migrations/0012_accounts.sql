-- People: what they did (audit), how they sign in beside devices' tokens, who invited them, groups. Every secret is a
-- hash here, but that of a second factor, which has to be computed with. Times are Unix ms.

-- The last sign-in that was completed. Guesses are counted since then, so that it is a part of their limit's name.
ALTER TABLE accounts ADD COLUMN signed_in_at BIGINT NOT NULL DEFAULT 0;

-- Security acts, one chain an account and one (16 zero bytes) for the store. Rows are added and never changed: hash is
-- over the row before and all of this one; detail is JSON.
CREATE TABLE audit (
    chain BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    action TEXT NOT NULL,
    actor BYTEA NOT NULL,
    device BYTEA NOT NULL,
    address TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (chain, seq)
) {clustered};

-- The end of each chain; its row's lock is the order of the chain.
CREATE TABLE audit_heads (
    chain BYTEA NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL
) {clustered};

-- The code that makes the first administrator; at most one row.
CREATE TABLE setup_codes (
    name TEXT NOT NULL PRIMARY KEY,
    code_hash BYTEA NOT NULL,
    ends_at BIGINT NOT NULL
) {clustered};

-- quota is NULL when there is none; used_at, revoked_at: NULL while it is open.
CREATE TABLE invitations (
    invitation_id BYTEA NOT NULL PRIMARY KEY,
    secret_hash BYTEA NOT NULL,
    invited_by BYTEA NOT NULL,
    note TEXT NOT NULL,
    is_admin SMALLINT NOT NULL,
    quota BIGINT,
    created_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    used_at BIGINT,
    revoked_at BIGINT,
    account_id BYTEA
) {clustered};

-- Browsers. ends_at: the absolute end; the idle one follows from seen_at.
CREATE TABLE sessions (
    account_id BYTEA NOT NULL,
    session_id BYTEA NOT NULL,
    token_hash BYTEA NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, session_id),
    UNIQUE (account_id, token_hash)
) {clustered};

-- last_step: the newest time step whose code was taken; no code of it or before is taken again.
CREATE TABLE second_factors (
    account_id BYTEA NOT NULL PRIMARY KEY,
    secret BYTEA NOT NULL,
    is_enabled SMALLINT NOT NULL,
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL
) {clustered};

CREATE TABLE recovery_codes (
    account_id BYTEA NOT NULL,
    code_hash BYTEA NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (account_id, code_hash)
) {clustered};

CREATE TABLE app_passwords (
    account_id BYTEA NOT NULL,
    password_id BYTEA NOT NULL,
    secret_hash BYTEA NOT NULL,
    name TEXT NOT NULL,
    may_write SMALLINT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    revoked_at BIGINT,
    PRIMARY KEY (account_id, password_id),
    UNIQUE (account_id, secret_hash)
) {clustered};

-- Devices that wait for somebody to approve them. user_key: hash of what people type; account_id: who approved.
CREATE TABLE device_codes (
    user_key BYTEA NOT NULL PRIMARY KEY,
    secret_hash BYTEA NOT NULL,
    device_name TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    polled_at BIGINT NOT NULL,
    wait_ms BIGINT NOT NULL,
    is_denied SMALLINT NOT NULL,
    account_id BYTEA
) {clustered};
CREATE INDEX device_codes_by_end ON device_codes (ends_at);

-- name_key is unique: whoever makes or renames a group holds the head of the store's audit chain.
CREATE TABLE groups_of_accounts (
    group_id BYTEA NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    created_at BIGINT NOT NULL
) {clustered};
CREATE INDEX groups_by_name ON groups_of_accounts (name_key);

CREATE TABLE group_members (
    group_id BYTEA NOT NULL,
    account_id BYTEA NOT NULL,
    added_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, account_id)
) {clustered};
CREATE INDEX groups_of_account ON group_members (account_id);
