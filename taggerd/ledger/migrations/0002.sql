-- Since when a file is no longer on the disk; NULL while it is.

ALTER TABLE files ADD COLUMN gone_since REAL;

CREATE INDEX files_gone ON files (gone_since) WHERE gone_since IS NOT NULL;
