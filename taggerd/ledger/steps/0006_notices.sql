-- What a hook has not heard yet.
CREATE TABLE notices (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    notice      TEXT NOT NULL,                     -- what the hook knows it by
    hook        TEXT NOT NULL,
    at          REAL NOT NULL,                     -- when it was made
    body        TEXT NOT NULL,                     -- JSON
    attempts    INTEGER NOT NULL DEFAULT 0,
    not_before  REAL NOT NULL DEFAULT 0,           -- deferred until then
    UNIQUE (hook, notice)
) STRICT;
