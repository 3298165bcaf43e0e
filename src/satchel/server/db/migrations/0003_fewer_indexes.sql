-- Two that cost each new file a page and were asked nothing. A pack's own records name its blocks. created_at never
-- falls along seq, so a time in a journal is found by halving seqs.
DROP INDEX blocks_of_pack;
DROP INDEX file_changes_by_time;
