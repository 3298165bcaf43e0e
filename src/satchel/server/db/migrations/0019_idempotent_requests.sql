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
