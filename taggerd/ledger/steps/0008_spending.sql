-- What backends were asked on a local day, by model.
CREATE TABLE spending (
    day                TEXT NOT NULL,                  -- YYYY-MM-DD
    model              TEXT NOT NULL,
    requests           INTEGER NOT NULL,
    prompt_tokens      INTEGER NOT NULL,
    completion_tokens  INTEGER NOT NULL,
    PRIMARY KEY (day, model)
) STRICT, WITHOUT ROWID;
