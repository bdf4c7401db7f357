-- Answers that wait until somebody accepts them; photos that were answered before have none.
CREATE TABLE held (
    photo     INTEGER PRIMARY KEY,
    since     REAL NOT NULL,
    accepted  INTEGER NOT NULL DEFAULT 0,          -- they are to be written
    answers   TEXT NOT NULL                        -- JSON: what is accepted is what was looked at
) STRICT;

CREATE INDEX held_since ON held (since) WHERE accepted = 0;

CREATE TRIGGER held_photo_goes AFTER DELETE ON photos
BEGIN
    DELETE FROM held WHERE photo = old.id;
END;

-- Words for other bytes are not accepted with these.
CREATE TRIGGER held_photo_changes AFTER UPDATE OF changed ON photos
WHEN new.changed > old.changed
BEGIN
    DELETE FROM held WHERE photo = old.id;
END;
