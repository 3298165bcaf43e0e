-- People with a part in a shared folder, which is a namespace of kind 'shared'. role: owner, editor or viewer; state: 0
-- invited, 1 accepted, 2 declined. name: what the folder was called when they were invited; mount_node: the node in
-- their root that shows it, empty while there is none.
CREATE TABLE members (
    ns BYTEA NOT NULL,
    account_id BYTEA NOT NULL,
    role TEXT NOT NULL,
    state SMALLINT NOT NULL,
    name TEXT NOT NULL,
    invited_by BYTEA NOT NULL,
    mount_node BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (ns, account_id)
) {clustered};

-- The same by account, written with it: what somebody has a part in is one look-up.
CREATE TABLE memberships (
    account_id BYTEA NOT NULL,
    ns BYTEA NOT NULL,
    role TEXT NOT NULL,
    state SMALLINT NOT NULL,
    mount_node BYTEA NOT NULL,
    PRIMARY KEY (account_id, ns)
) {clustered};

-- The mounts of a root. Holds nothing of files and folders, so it costs them nothing.
CREATE INDEX files_mounts ON files (ns, node_id) WHERE kind = 4;
