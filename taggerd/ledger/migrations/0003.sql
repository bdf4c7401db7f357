-- A million photos in 600 MB. What was held of a content (the bytes of a file that was looked at) is
-- one row: its digest once, its answers packed together (packing.py). A photo names its content by
-- number, its files by their stem (no index of files by photo), its sidecars in its own row.
-- pack_answers() and pack_sidecars() are those of converting.py.

-- Who was asked what. The model is the one that says it answered.
CREATE TABLE asked (
    id        INTEGER PRIMARY KEY,
    role      TEXT NOT NULL,
    question  TEXT NOT NULL,
    model     TEXT NOT NULL,
    UNIQUE (role, question, model)
) STRICT;

INSERT INTO asked (role, question, model)
SELECT DISTINCT role, questions.question, model_of(answer)
FROM answers JOIN questions ON questions.id = answers.question;

CREATE TABLE contents (
    id       INTEGER PRIMARY KEY,
    digest   BLOB NOT NULL,               -- BLAKE2b-256; the same one is kept once
    answers  BLOB                         -- see packing.py; NULL: none
) STRICT;

-- Answers lie in the order of their digests already: CROSS JOIN keeps them from being sorted.
INSERT INTO contents (digest, answers)
SELECT digest, pack_answers(asked.id, at, answer)
FROM answers
CROSS JOIN questions ON questions.id = answers.question
CROSS JOIN asked ON asked.role = questions.role AND asked.question = questions.question
    AND asked.model = model_of(answer)
GROUP BY digest;

-- Eight bytes of a digest find it; a whole one would double what it costs.
CREATE INDEX contents_digest ON contents (substr(digest, 1, 8));

INSERT INTO contents (digest)
SELECT DISTINCT digest FROM photos
WHERE digest IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM contents
    WHERE substr(contents.digest, 1, 8) = substr(photos.digest, 1, 8)
        AND contents.digest = photos.digest
);

-- Who works on what, and which run asked for what: in tables of their own, which are short, so that
-- the rows of all photos keep their length and their pages stay full.
CREATE TABLE claims (
    photo     INTEGER PRIMARY KEY,
    owner     TEXT NOT NULL,
    token     TEXT NOT NULL,
    survived  INTEGER NOT NULL            -- its bytes have been read
) STRICT;

INSERT INTO claims (photo, owner, token, survived)
SELECT id, coalesce(owner, ''), coalesce(token, ''), survived FROM photos WHERE state = 'claimed';

CREATE TABLE wanted (
    photo  INTEGER PRIMARY KEY,
    run    TEXT NOT NULL,                 -- the run that asked for it last
    owner  TEXT NOT NULL                  -- the owner that the run belongs to
) STRICT;

INSERT INTO wanted (photo, run, owner)
SELECT id, wanted_by, wanted_owner FROM photos
WHERE wanted_by IS NOT NULL AND wanted_owner IS NOT NULL;

CREATE INDEX wanted_owner ON wanted (owner);

CREATE TABLE photos_3 (
    id                INTEGER PRIMARY KEY,
    folder            INTEGER NOT NULL,
    stem              BLOB NOT NULL,               -- of all its files
    state             TEXT NOT NULL CHECK (state IN ('queued', 'claimed', 'recorded', 'quarantined')),
    since             REAL NOT NULL,               -- when it came into this state
    settled_at        REAL NOT NULL,               -- its place in the queue
    not_before        REAL NOT NULL DEFAULT 0,     -- deferred until then
    released_by       TEXT,                        -- the run that is not to claim it again
    attempts          INTEGER NOT NULL DEFAULT 0,
    deaths            INTEGER NOT NULL DEFAULT 0,  -- attempts that its owner did not survive
    reason            TEXT NOT NULL DEFAULT '',
    retryable         INTEGER NOT NULL DEFAULT 0,  -- in quarantine for its sidecar alone
    content           INTEGER,                     -- what was looked at
    recorded          INTEGER NOT NULL DEFAULT 0,  -- tagged at least once
    changed           INTEGER NOT NULL DEFAULT 0,  -- a file changed since the content was read
    sidecars_written  INTEGER NOT NULL DEFAULT 0,
    anew_since        REAL,                        -- answers from before do not count
    again             INTEGER NOT NULL DEFAULT 0,  -- queue after the claim: 1 asked for, 2 changed
    sidecars          BLOB                         -- written last: see pack_sidecars() in atrest.py
) STRICT;

INSERT INTO photos_3
SELECT
    id, folder, coalesce((SELECT stem FROM files WHERE files.photo = photos.id LIMIT 1), x''),
    state, since, settled_at, not_before, released_by, attempts, deaths, reason, retryable,
    (
        SELECT contents.id FROM contents
        WHERE substr(contents.digest, 1, 8) = substr(photos.digest, 1, 8)
            AND contents.digest = photos.digest
    ),
    recorded, changed, sidecars_written, anew_since, again,
    (
        SELECT pack_sidecars(
            (SELECT stem FROM files WHERE files.photo = photos.id LIMIT 1), name, sidecars.digest
        )
        FROM sidecars WHERE sidecars.photo = photos.id
    )
FROM photos ORDER BY id;

DROP TABLE photos;

ALTER TABLE photos_3 RENAME TO photos;

CREATE INDEX photos_queued ON photos (settled_at) WHERE state = 'queued';

CREATE INDEX photos_quarantined ON photos (since) WHERE state = 'quarantined';

CREATE INDEX photos_unwritten ON photos (id) WHERE state = 'recorded' AND sidecars_written = 0;

CREATE TRIGGER claim_ends AFTER UPDATE OF state ON photos
WHEN old.state = 'claimed' AND new.state <> 'claimed'
BEGIN
    DELETE FROM claims WHERE photo = old.id;
END;

CREATE TRIGGER photo_goes AFTER DELETE ON photos
BEGIN
    DELETE FROM wanted WHERE photo = old.id;
END;

DROP TABLE sidecars;

DROP TABLE answers;

DROP TABLE questions;

ALTER TABLE asked RENAME TO questions;

DROP INDEX files_photo;

-- No row: work goes on.
CREATE TABLE pause (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    reason  TEXT NOT NULL,
    since   REAL NOT NULL,
    until   REAL                          -- NULL: until somebody says so
) STRICT;
