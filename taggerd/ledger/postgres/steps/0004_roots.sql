-- Roots with names, which each host mounts where it likes.

-- Which host took a file's stamp: its inode and device mean nothing to another.
ALTER TABLE taggerd.files ADD COLUMN host text NOT NULL DEFAULT '';

CREATE TABLE taggerd.roots (
    name     text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9_][A-Za-z0-9_-]*$'),
    marker   text NOT NULL,                        -- what a file .taggerd-root in it holds, if any
    outside  text,                                 -- the root that it lies in
    below    bytea CHECK (taggerd.is_folder(below))  -- and where in that, with a final "/"
);

-- Which host has which of them, and where.
CREATE TABLE taggerd.mounts (
    root   text NOT NULL REFERENCES taggerd.roots ON UPDATE CASCADE ON DELETE CASCADE,
    host   text NOT NULL,
    path   bytea NOT NULL CHECK (taggerd.is_folder(path)),  -- with a final "/"
    since  timestamptz NOT NULL DEFAULT now(),     -- who came first shows the right tree
    PRIMARY KEY (root, host)
);

-- Photos wait in the queue of their root: one that gets another name takes them along.
CREATE FUNCTION taggerd.folder_renamed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    now_in text := taggerd.queue_of(NEW.path);
BEGIN
    IF now_in <> taggerd.queue_of(OLD.path) THEN
        UPDATE taggerd.photos SET queue = now_in WHERE folder = NEW.id;
        UPDATE taggerd.procrastinate_jobs SET queue_name = now_in
        WHERE id IN (SELECT job FROM taggerd.photos WHERE folder = NEW.id AND job IS NOT NULL);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER folder_renamed AFTER UPDATE OF path ON taggerd.folders
    FOR EACH ROW EXECUTE FUNCTION taggerd.folder_renamed();
