-- made: how often the index was begun anew, so that a step of an earlier one is known as such.
ALTER TABLE search_places ADD COLUMN made BIGINT NOT NULL DEFAULT 0;
