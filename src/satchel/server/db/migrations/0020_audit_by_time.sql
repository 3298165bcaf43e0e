-- The newest rows of all chains are read by time.
CREATE INDEX audit_by_time ON audit (at DESC, chain, seq DESC);
