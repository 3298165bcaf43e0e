-- Which background task is due when, who runs it, and how its last run ended. Times are Unix ms, last_ms a duration.
-- claimed_until 0: nobody runs it. place: where a task that walks all namespaces goes on; empty for the beginning.
CREATE TABLE upkeep_tasks (
    name TEXT NOT NULL PRIMARY KEY,
    next_at BIGINT NOT NULL DEFAULT 0,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    claimed_by BYTEA,
    place BYTEA,
    failures BIGINT NOT NULL DEFAULT 0,
    last_at BIGINT NOT NULL DEFAULT 0,
    last_ms BIGINT NOT NULL DEFAULT 0,
    last_result TEXT NOT NULL DEFAULT '',
    last_fault TEXT NOT NULL DEFAULT ''
) {clustered};
