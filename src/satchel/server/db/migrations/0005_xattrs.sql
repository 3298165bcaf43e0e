-- Extended attributes of files and folders, packed; NULL for none. The journal holds them inside its images.

ALTER TABLE files ADD COLUMN xattrs BYTEA;
