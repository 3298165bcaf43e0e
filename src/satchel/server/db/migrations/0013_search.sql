-- The index of names, made from files and file_changes alone: it can be thrown away at any time.
-- How far each namespace is indexed. phase: 0 the old index is being removed, 1 the tree is being read (after: the last
-- node), 2 the journal is followed. seq: entries up to it are in the index.
CREATE TABLE search_places (
    ns BYTEA NOT NULL PRIMARY KEY,
    phase SMALLINT NOT NULL,
    seq BIGINT NOT NULL,
    after BYTEA NOT NULL
) {clustered};

-- doc: the seq at which the node got its name; newer names have higher ones.
CREATE TABLE search_docs (
    ns BYTEA NOT NULL,
    doc BIGINT NOT NULL,
    node_id BYTEA NOT NULL,
    PRIMARY KEY (ns, doc)
) {clustered};
CREATE INDEX search_docs_of_node ON search_docs (ns, node_id);

-- docs: which of the docs from 4,096 * part have the gram in their name, packed. It may say too many, never too few.
CREATE TABLE search_grams (
    ns BYTEA NOT NULL,
    gram BYTEA NOT NULL,
    part BIGINT NOT NULL,
    docs BYTEA NOT NULL,
    PRIMARY KEY (ns, gram, part)
) {clustered};
