-- The index of what stands in documents, made from files, file_changes and contents alone: it can be thrown away.
-- What each node is read as. source: the hash of its content, and a byte that says how that is read.
CREATE TABLE text_nodes (
    ns BYTEA NOT NULL,
    node_id BYTEA NOT NULL,
    source BYTEA NOT NULL,
    PRIMARY KEY (ns, node_id)
) {clustered};
CREATE INDEX text_nodes_of_source ON text_nodes (ns, source);

-- What was read of each source, once for all nodes that have it. state: 0 to be read, 1 in the index, 2 has no text to
-- give, 3 no node has it any more. body: the text, packed; doc: the seq at which a node first had the source.
CREATE TABLE texts (
    ns BYTEA NOT NULL,
    source BYTEA NOT NULL,
    state SMALLINT NOT NULL,
    doc BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (ns, source)
) {clustered};
CREATE INDEX texts_of_state ON texts (ns, state, doc);

-- docs: which of the docs from 4,096 * part have the word, packed.
CREATE TABLE text_words (
    ns BYTEA NOT NULL,
    word BYTEA NOT NULL,
    part BIGINT NOT NULL,
    docs BYTEA NOT NULL,
    PRIMARY KEY (ns, word, part)
) {clustered};
