-- The first schema. Paths are bytes; a folder's path ends in "/", so that the folders at and below
-- one are a range. A file's path is folder + stem + suffix. Times are seconds since the epoch.

CREATE TABLE folders (
    id    INTEGER PRIMARY KEY,
    path  BLOB NOT NULL UNIQUE
) STRICT;

CREATE TABLE photos (
    id                INTEGER PRIMARY KEY,
    folder            INTEGER NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('queued', 'claimed', 'recorded', 'quarantined')),
    since             REAL NOT NULL,               -- when it came into this state
    settled_at        REAL NOT NULL,               -- its place in the queue
    not_before        REAL NOT NULL DEFAULT 0,     -- deferred until then
    wanted_by         TEXT,                        -- the run that asked for it last
    wanted_owner      TEXT,                        -- the owner that the run belongs to
    released_by       TEXT,                        -- the run that is not to claim it again
    attempts          INTEGER NOT NULL DEFAULT 0,
    deaths            INTEGER NOT NULL DEFAULT 0,  -- attempts that its owner did not survive
    survived          INTEGER NOT NULL DEFAULT 0,  -- in this claim: its bytes have been read
    reason            TEXT NOT NULL DEFAULT '',
    retryable         INTEGER NOT NULL DEFAULT 0,  -- in quarantine for its sidecar alone
    digest            BLOB,                        -- of the file that was looked at
    recorded          INTEGER NOT NULL DEFAULT 0,  -- tagged at least once
    changed           INTEGER NOT NULL DEFAULT 0,  -- a file changed since the digest was taken
    sidecars_written  INTEGER NOT NULL DEFAULT 0,
    anew_since        REAL,                        -- answers from before do not count
    again             INTEGER NOT NULL DEFAULT 0,  -- queue after the claim: 1 asked for, 2 changed
    owner             TEXT,
    token             TEXT
) STRICT;

CREATE INDEX photos_queued ON photos (settled_at) WHERE state = 'queued';
CREATE INDEX photos_claimed ON photos (owner) WHERE state = 'claimed';
CREATE INDEX photos_quarantined ON photos (since) WHERE state = 'quarantined';
CREATE INDEX photos_wanted ON photos (wanted_owner) WHERE wanted_owner IS NOT NULL;
CREATE INDEX photos_unwritten ON photos (id) WHERE state = 'recorded' AND sidecars_written = 0;

-- The stamp's numbers are ANY: one that does not fit into 64 signed bits is kept as text.
CREATE TABLE files (
    folder    INTEGER NOT NULL,
    stem      BLOB NOT NULL,
    suffix    BLOB NOT NULL,
    size      ANY NOT NULL,
    mtime_ns  ANY NOT NULL,
    inode     ANY NOT NULL,
    device    ANY NOT NULL,
    photo     INTEGER NOT NULL,
    PRIMARY KEY (folder, stem, suffix)
) STRICT, WITHOUT ROWID;

CREATE INDEX files_photo ON files (photo);

-- A sidecar's name is relative to its photo's folder, or absolute.
CREATE TABLE sidecars (
    photo   INTEGER NOT NULL,
    name    BLOB NOT NULL,
    digest  TEXT NOT NULL,
    PRIMARY KEY (photo, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE questions (
    id        INTEGER PRIMARY KEY,
    role      TEXT NOT NULL,
    question  TEXT NOT NULL,
    UNIQUE (role, question)
) STRICT;

CREATE TABLE answers (
    digest    BLOB NOT NULL,
    question  INTEGER NOT NULL,
    at        REAL NOT NULL,
    answer    TEXT NOT NULL,
    PRIMARY KEY (digest, question)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    record  TEXT NOT NULL UNIQUE,
    day     TEXT NOT NULL,
    line    TEXT NOT NULL,
    stream  TEXT NOT NULL,
    owner   TEXT
) STRICT;

CREATE TABLE notes (
    key    TEXT PRIMARY KEY,
    value  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
