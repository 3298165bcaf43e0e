-- What a link of a device leaves out (selective sync): one row a file or folder.
CREATE TABLE link_scopes (
    ns BYTEA NOT NULL,
    device_id BYTEA NOT NULL,
    link_id BYTEA NOT NULL,
    node_id BYTEA NOT NULL,
    PRIMARY KEY (ns, device_id, link_id, node_id)
) {clustered};
