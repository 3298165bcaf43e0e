-- What WebDAV clients keep beside files. is_deep: the lock holds for all below its node too; owner: XML that the client
-- gave; expires_at: Unix ms. A property's value is XML as it was given; lang: its xml:lang, empty for none.
CREATE TABLE dav_locks (
    ns BYTEA NOT NULL,
    token BYTEA NOT NULL,
    node_id BYTEA NOT NULL,
    account_id BYTEA NOT NULL,
    is_exclusive SMALLINT NOT NULL,
    is_deep SMALLINT NOT NULL,
    owner TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (ns, token)
) {clustered};

CREATE TABLE dav_properties (
    ns BYTEA NOT NULL,
    node_id BYTEA NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    lang TEXT NOT NULL,
    PRIMARY KEY (ns, node_id, namespace, name)
) {clustered};
