-- Small pictures, made from contents alone: they can be thrown away. source: the hash of a content, and a byte that says
-- how it is drawn; edge: the longest, in pixels; refusal: why there is no picture, empty when there is.
CREATE TABLE thumbnails (
    ns BYTEA NOT NULL,
    source BYTEA NOT NULL,
    edge SMALLINT NOT NULL,
    body BYTEA NOT NULL,
    refusal TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (ns, source, edge)
) {clustered};
CREATE INDEX thumbnails_of_age ON thumbnails (ns, made_at);
