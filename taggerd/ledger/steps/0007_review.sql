-- What people did with the words of photos. A photo is known by the path of the file of it that is
-- read, as bytes: what a person said outlives the photo's row, which goes while its disk is away.
CREATE TABLE corrections (
    id         INTEGER PRIMARY KEY,                -- grows; a row that is undone gets a new one
    action     TEXT NOT NULL,                      -- names those that were made in one step
    at         REAL NOT NULL,
    photo      BLOB NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN
        ('edited', 'dropped', 'added', 'renamed', 'accepted', 'rejected', 'retagged')),
    field      TEXT NOT NULL,                      -- 'caption', 'description', 'keywords'; '': none
    before     TEXT NOT NULL,
    after      TEXT NOT NULL,
    model      TEXT NOT NULL,                      -- that wrote what was before; '': a human did
    who        TEXT NOT NULL,
    undo       TEXT NOT NULL,                      -- what brings it back: JSON
    undone_at  REAL                                -- NULL: it stands
) STRICT;

CREATE INDEX corrections_photo ON corrections (photo, id);

CREATE INDEX corrections_action ON corrections (action);

CREATE INDEX corrections_kind ON corrections (kind, id);
