-- The hosts that share the ledger, what they hold of it, and the records that any of them has journalled.
-- Every time here is the database's.

CREATE TABLE taggerd.hosts (
    name            TEXT PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9._-]+$'),
    -- The owner that runs as this host; empty: it has said that it ends.
    program         TEXT NOT NULL,
    -- Which boot of which machine, and which state directory: two programs with the same cannot both live.
    machine         TEXT NOT NULL,
    version         TEXT NOT NULL CHECK (version ~ '^[ -~]*$'),
    duties          TEXT NOT NULL,  -- JSON, like roots
    roots           TEXT NOT NULL,
    photos_an_hour  DOUBLE PRECISION CHECK (taggerd.is_finite(photos_an_hour)),
    health          TEXT NOT NULL CHECK (health ~ '^[ -~]*$'),
    seen_at         TIMESTAMPTZ NOT NULL CHECK (isfinite(seen_at))
) WITH (fillfactor = 50);

CREATE TABLE taggerd.leases (
    name     TEXT PRIMARY KEY,
    program  TEXT NOT NULL,
    host     TEXT NOT NULL CHECK (host ~ '^[A-Za-z0-9._-]+$'),
    until    TIMESTAMPTZ NOT NULL CHECK (isfinite(until))
) WITH (fillfactor = 50);

-- What hosts agree on, as JSON: one of them at a time changes a value.
CREATE TABLE taggerd.agreed (
    key    TEXT PRIMARY KEY,
    value  TEXT NOT NULL
) WITH (fillfactor = 50);

-- Day files lie with the host that wrote them; whoever asks elsewhere finds their records here.
CREATE TABLE taggerd.journalled (
    number  BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day     TEXT NOT NULL,
    line    BYTEA NOT NULL  -- JSON, compressed (../packing.py)
);

CREATE INDEX journalled_days ON taggerd.journalled (day, number);

-- When a record was lent to the owner that writes it.
ALTER TABLE taggerd.outbox ADD COLUMN lent_at TIMESTAMPTZ;

CREATE TRIGGER journalled_in_order BEFORE INSERT ON taggerd.journalled
    FOR EACH STATEMENT EXECUTE FUNCTION taggerd.in_order();
