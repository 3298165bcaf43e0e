-- Each rewind of a namespace or of a folder in it (unit), with the place in the journal that undoes it: before_seq.
-- claimed_until: Unix ms up to which somebody is at work on it; finished_at: NULL while it is not done; undoes: the
-- rewind that it takes back, NULL for none. Its entries of the journal carry rewind_id as their link.
CREATE TABLE rewinds (
    ns BYTEA NOT NULL,
    rewind_id BYTEA NOT NULL,
    unit BYTEA NOT NULL,
    to_seq BIGINT NOT NULL,
    before_seq BIGINT NOT NULL,
    after_seq BIGINT NOT NULL,
    actor BYTEA NOT NULL,
    device BYTEA NOT NULL,
    undoes BYTEA,
    claimed_until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    PRIMARY KEY (ns, rewind_id)
) {clustered};
