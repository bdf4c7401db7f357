-- Roots with names, which each host mounts where it likes.

-- Which host took a file's stamp: its inode and device mean nothing to another.
ALTER TABLE taggerd.files ADD COLUMN host text NOT NULL DEFAULT '';

CREATE TABLE taggerd.roots (
    name     text PRIMARY KEY,
    marker   text NOT NULL,                        -- what a file .taggerd-root in it holds, if any
    outside  text,                                 -- the root that it lies in
    below    bytea                                 -- and where in that, with a final "/"
);

-- Which host has which of them, and where.
CREATE TABLE taggerd.mounts (
    root   text NOT NULL REFERENCES taggerd.roots ON UPDATE CASCADE ON DELETE CASCADE,
    host   text NOT NULL,
    path   bytea NOT NULL,                         -- with a final "/"
    since  timestamptz NOT NULL DEFAULT now(),     -- who came first shows the right tree
    PRIMARY KEY (root, host)
);
