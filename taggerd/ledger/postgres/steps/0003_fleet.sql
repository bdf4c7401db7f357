-- The hosts that share the ledger, what they hold of it, and the records that any of them has journalled.
-- Every time here is the database's.

CREATE TABLE taggerd.hosts (
    name            TEXT PRIMARY KEY,
    -- The owner that runs as this host; empty: it has said that it ends.
    program         TEXT NOT NULL,
    -- Which boot of which machine, and which state directory: two programs with the same cannot both live.
    machine         TEXT NOT NULL,
    version         TEXT NOT NULL,
    duties          TEXT NOT NULL,  -- JSON, like roots
    roots           TEXT NOT NULL,
    photos_an_hour  DOUBLE PRECISION,
    health          TEXT NOT NULL,
    seen_at         TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE taggerd.leases (
    name     TEXT PRIMARY KEY,
    program  TEXT NOT NULL,
    host     TEXT NOT NULL,
    until    TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 50);

-- What hosts agree on, as JSON: one of them at a time changes a value.
CREATE TABLE taggerd.agreed (
    key    TEXT PRIMARY KEY,
    value  TEXT NOT NULL
) WITH (fillfactor = 50);

-- Day files lie with the host that wrote them; whoever asks elsewhere finds their records here.
CREATE TABLE taggerd.journalled (
    number  BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE,
    day     TEXT NOT NULL,
    line    TEXT NOT NULL
);

-- When a record was lent to the owner that writes it.
ALTER TABLE taggerd.outbox ADD COLUMN lent_at TIMESTAMPTZ;

CREATE TRIGGER journalled_in_order BEFORE INSERT ON taggerd.journalled
    FOR EACH STATEMENT EXECUTE FUNCTION taggerd.in_order();

CREATE INDEX journalled_days ON taggerd.journalled (day, number);

-- A record of one to two kilobytes would be kept as it is: from here on it is compressed.
ALTER TABLE taggerd.journalled SET (toast_tuple_target = 256);

CREATE FUNCTION taggerd.keep_journalled() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO taggerd.journalled (id, day, line)
    SELECT record, day, line FROM delivered WHERE stream = ''
    ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER outbox_delivered AFTER DELETE ON taggerd.outbox REFERENCING OLD TABLE AS delivered
FOR EACH STATEMENT EXECUTE FUNCTION taggerd.keep_journalled();
