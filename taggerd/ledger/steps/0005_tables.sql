-- The ledger's tables. A blank line ends a statement, and only that (see schema.py). 1 to 4 were never
-- released.
--
-- Paths are bytes, because a file name need not be text. A folder's path ends in "/", so that the
-- folders at and below one are a range. A file's path is folder + stem + suffix.
-- Times are seconds since the epoch.

CREATE TABLE folders (
    id    INTEGER PRIMARY KEY,
    path  BLOB NOT NULL UNIQUE
) STRICT;

-- The stamp's numbers are ANY: one that does not fit into 64 signed bits is kept as text.
CREATE TABLE files (
    folder         INTEGER NOT NULL,
    stem           BLOB NOT NULL,
    suffix         BLOB NOT NULL,              -- with its dot
    size           ANY NOT NULL,
    mtime_ns       ANY NOT NULL,
    inode          ANY NOT NULL,
    device         ANY NOT NULL,
    photo          INTEGER NOT NULL,
    missing_since  REAL,                       -- NULL while it is on the disk
    PRIMARY KEY (folder, stem, suffix)
) STRICT, WITHOUT ROWID;

CREATE INDEX files_missing ON files (missing_since) WHERE missing_since IS NOT NULL;

-- A photo's files are found by its folder and stem: an index of files by photo would cost 30 bytes
-- a photo.
CREATE TABLE photos (
    id                 INTEGER PRIMARY KEY,
    folder             INTEGER NOT NULL,
    stem               BLOB NOT NULL,              -- of all its files
    state              TEXT NOT NULL
        CHECK (state IN ('queued', 'claimed', 'recorded', 'quarantined')),
    since              REAL NOT NULL,              -- in this state
    queued_at          REAL NOT NULL,              -- orders the queue
    not_before         REAL NOT NULL DEFAULT 0,    -- deferred until then
    released_by        TEXT,                       -- the run that must not claim it again
    attempts           INTEGER NOT NULL DEFAULT 0,
    crashes            INTEGER NOT NULL DEFAULT 0, -- of the program while the bytes were being read
    slow               INTEGER NOT NULL DEFAULT 0, -- its bytes ended a process by time or memory
    reason             TEXT NOT NULL DEFAULT '',   -- why it failed last
    asked_as           TEXT NOT NULL DEFAULT '',   -- which questions it failed over; '': over none
    content            INTEGER,                    -- the bytes that were read last
    recorded           INTEGER NOT NULL DEFAULT 0, -- tagged at least once, with that content
    changed            INTEGER NOT NULL DEFAULT 0, -- a file changed since that content was read
    sidecars           TEXT,                       -- written last: JSON, name to digest
    sidecars_written   INTEGER NOT NULL DEFAULT 0,
    sidecars_failed    INTEGER NOT NULL DEFAULT 0, -- the only reason why it is in quarantine
    undone             INTEGER NOT NULL DEFAULT 0, -- the sidecars' tags were undone on request
    asked_again_since  REAL,                       -- answers from before do not count
    requeue            INTEGER NOT NULL DEFAULT 0  -- when its claim ends: 1 asked for, 2 changed
) STRICT;

CREATE INDEX photos_queued ON photos (queued_at) WHERE state = 'queued';

CREATE INDEX photos_quarantined ON photos (since) WHERE state = 'quarantined';

CREATE INDEX photos_unwritten ON photos (id) WHERE state = 'recorded' AND sidecars_written = 0;

-- Claims and requests are few. In tables of their own they leave the photos' rows as long as they
-- are, and the photos' pages full.
CREATE TABLE claims (
    photo    INTEGER PRIMARY KEY,
    owner    TEXT NOT NULL,
    token    TEXT NOT NULL,
    decoded  INTEGER NOT NULL                      -- its bytes were read without harm
) STRICT;

CREATE TRIGGER claim_ends AFTER UPDATE OF state ON photos
WHEN old.state = 'claimed' AND new.state <> 'claimed'
BEGIN
    DELETE FROM claims WHERE photo = old.id;
END;

CREATE TABLE requests (
    photo  INTEGER PRIMARY KEY,
    run    TEXT NOT NULL,                          -- the run that asked for it last
    owner  TEXT NOT NULL                           -- the owner that the run belongs to
) STRICT;

CREATE INDEX requests_owner ON requests (owner);

CREATE TRIGGER photo_goes AFTER DELETE ON photos
BEGIN
    DELETE FROM requests WHERE photo = old.id;
END;

-- The bytes of a file that was read. Answers belong to them, not to the photo: a copy, or a photo
-- that was deleted and comes back, is not paid for again.
CREATE TABLE contents (
    id      INTEGER PRIMARY KEY,
    digest  BLOB NOT NULL UNIQUE
) STRICT;

CREATE TABLE answers (
    content   INTEGER NOT NULL,
    role      TEXT NOT NULL,
    question  TEXT NOT NULL,
    at        REAL NOT NULL,
    answer    TEXT NOT NULL,                       -- JSON
    PRIMARY KEY (content, role, question)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    record  TEXT NOT NULL UNIQUE,
    day     TEXT NOT NULL,
    line    TEXT NOT NULL,
    stream  TEXT NOT NULL,
    owner   TEXT                                   -- the owner it is lent to
) STRICT;

-- No row: not paused.
CREATE TABLE pause (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    reason  TEXT NOT NULL,
    since   REAL NOT NULL,
    until   REAL                                   -- NULL: until somebody resumes it
) STRICT;

CREATE TABLE notes (
    key    TEXT PRIMARY KEY,
    value  TEXT NOT NULL                           -- JSON
) STRICT, WITHOUT ROWID;
