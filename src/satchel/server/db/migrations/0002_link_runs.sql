-- Which start of which link was here last: run is its number (upper bits) and the random name of the start (lower 32).
-- One row a link, since a device numbers the starts of each of its links by itself.
CREATE TABLE link_runs (
    device_id BYTEA NOT NULL,
    link_id BYTEA NOT NULL,
    run BIGINT NOT NULL,
    PRIMARY KEY (device_id, link_id)
) {clustered};

ALTER TABLE devices DROP COLUMN run;
