-- Answers to requests that carried an Idempotency-Key. key_hash: of the key. asked: hash of method and address; body:
-- hash of what came; both together say whether it is the same request. status: 0 while it is being worked on, until
-- claimed_until at most; headers: those that are told again, as JSON. No secret stands in an answer here.
CREATE TABLE idempotent_requests (
    account_id BYTEA NOT NULL,
    key_hash BYTEA NOT NULL,
    asked BYTEA NOT NULL,
    body BYTEA NOT NULL,
    claim BYTEA NOT NULL,
    claimed_until BIGINT NOT NULL,
    status BIGINT NOT NULL,
    headers TEXT NOT NULL,
    answer BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, key_hash)
) {clustered};
CREATE INDEX idempotent_requests_by_age ON idempotent_requests (created_at);
CREATE INDEX upload_sessions_by_age ON upload_sessions (seen_at);

-- Addresses that are told what happened. secret: signs what is sent, so it has to stand here. events: what is told, with
-- commas; place: a cursor of the feed; told_until: of what is in no journal. failing_since, ended_at: NULL while all is
-- well. last: the last deliveries, JSON.
CREATE TABLE webhooks (
    account_id BYTEA NOT NULL,
    webhook_id BYTEA NOT NULL,
    url TEXT NOT NULL,
    secret BYTEA NOT NULL,
    events TEXT NOT NULL,
    place TEXT NOT NULL,
    told_until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    failing_since BIGINT,
    ended_at BIGINT,
    last TEXT NOT NULL,
    PRIMARY KEY (account_id, webhook_id)
) {clustered};
