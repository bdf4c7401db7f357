-- The queue is procrastinate's: each photo that waits, is worked on or was given up on has a job there,
-- which these triggers keep in step, in the photo's own transaction.
--
--   photo         its job
--   queued        todo     scheduled_at: not before then, by this server's clock
--   claimed       doing    worker_id: the program that has claimed it
--   quarantined   failed
--   recorded      none: what is finished is removed
--
-- procrastinate's own SQL makes its tables before this step (../jobs.py).

ALTER TABLE taggerd.photos ADD COLUMN job bigint;

-- The name of the photo's root: a host that has some of the roots alone claims from their queues.
ALTER TABLE taggerd.photos ADD COLUMN queue text NOT NULL DEFAULT '';

CREATE INDEX photos_queue ON taggerd.photos (queue, queued_at, id)
    WHERE state = 'queued' AND not_before = 0;

-- Signs of life are those of procrastinate's workers.
ALTER TABLE taggerd.owners DROP COLUMN seen_at;

ALTER TABLE taggerd.owners ADD COLUMN worker bigint NOT NULL UNIQUE
    REFERENCES taggerd.procrastinate_workers ON DELETE CASCADE;

-- The last transaction of each program that is committed: tells it how one ended whose COMMIT nobody
-- answered, and what a crash of the server has undone.
CREATE TABLE taggerd.commits (
    owner   text PRIMARY KEY,
    number  bigint NOT NULL DEFAULT 0,
    at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- "archive" of archive:/2025/06/; below no named root: "photos".
CREATE FUNCTION taggerd.queue_of(path bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN get_byte(path, 0) IN (47, 64) OR position(':'::bytea IN path) = 0 THEN 'photos'
        ELSE left(encode(substring(path FROM 1 FOR position(':'::bytea IN path) - 1), 'escape'), 128)
    END
$$;

-- In procrastinate's order photos come as queue.order has it where the program runs that changes them
-- last: later arrivals first, or earlier ones. Seconds since 2020, which fit until 2088.
CREATE FUNCTION taggerd.job_priority(queued_at double precision) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT CASE current_setting('taggerd.queue_order', TRUE) WHEN 'oldest' THEN -1 ELSE 1 END
        * greatest(-2147483647, least(2147483647, floor(queued_at - 1577836800)))::integer
$$;

CREATE FUNCTION taggerd.job_schedule(not_before double precision) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN not_before > 0 THEN to_timestamp(least(not_before, 253402300799)) END
$$;

-- Two photos of one stem share a sidecar, and are not worked on at once.
CREATE FUNCTION taggerd.job_lock(folder bigint, stem bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT folder || '/' || encode(stem, 'escape')
$$;

CREATE FUNCTION taggerd.photo_job() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    now_is taggerd.procrastinate_job_status := CASE NEW.state
        WHEN 'queued' THEN 'todo' WHEN 'claimed' THEN 'doing' WHEN 'quarantined' THEN 'failed'
    END;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.job IS NOT NULL THEN
            RETURN NEW;  -- one of many, whose jobs were made together: see the query new_photos
        END IF;
        NEW.queue := (SELECT taggerd.queue_of(path) FROM taggerd.folders WHERE id = NEW.folder);
    ELSIF NEW.folder <> OLD.folder THEN
        NEW.queue := (SELECT taggerd.queue_of(path) FROM taggerd.folders WHERE id = NEW.folder);
    END IF;
    IF now_is IS NULL THEN
        DELETE FROM taggerd.procrastinate_jobs WHERE id = NEW.job;
        NEW.job := NULL;
        RETURN NEW;
    END IF;
    IF NEW.job IS NOT NULL THEN
        IF OLD.state = 'claimed' AND NEW.state <> 'claimed' THEN
            -- A photo that is deferred for weeks would collect three of them each time.
            DELETE FROM taggerd.procrastinate_events WHERE job_id = NEW.job AND type <> 'deferred';
        END IF;
        UPDATE taggerd.procrastinate_jobs AS j SET
            status = now_is,
            worker_id = (SELECT worker FROM taggerd.owners WHERE owner = NEW.owner),
            abort_requested = j.abort_requested AND NEW.state = 'claimed',
            attempts = j.attempts + (j.status = 'doing' AND NEW.state <> 'claimed')::integer,
            priority = taggerd.job_priority(NEW.queued_at),
            scheduled_at = taggerd.job_schedule(NEW.not_before),
            lock = taggerd.job_lock(NEW.folder, NEW.stem), queue_name = NEW.queue
        WHERE id = NEW.job;
        IF FOUND THEN
            RETURN NEW;
        END IF;
    END IF;
    INSERT INTO taggerd.procrastinate_jobs
        (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at, status, worker_id)
    VALUES (
        NEW.queue, 'tag', taggerd.job_priority(NEW.queued_at),
        taggerd.job_lock(NEW.folder, NEW.stem), 'photo:' || NEW.id,
        jsonb_build_object('photo', NEW.id), taggerd.job_schedule(NEW.not_before), now_is,
        (SELECT worker FROM taggerd.owners WHERE owner = NEW.owner)
    )
    RETURNING id INTO NEW.job;
    RETURN NEW;
END
$$;

CREATE TRIGGER photo_arrives BEFORE INSERT ON taggerd.photos
    FOR EACH ROW EXECUTE FUNCTION taggerd.photo_job();

CREATE TRIGGER photo_changes
    BEFORE UPDATE OF state, owner, queued_at, not_before, folder, stem ON taggerd.photos
    FOR EACH ROW WHEN (
        (NEW.state, NEW.owner, NEW.queued_at, NEW.not_before, NEW.folder, NEW.stem)
        IS DISTINCT FROM
        (OLD.state, OLD.owner, OLD.queued_at, OLD.not_before, OLD.folder, OLD.stem)
    )
    EXECUTE FUNCTION taggerd.photo_job();

CREATE FUNCTION taggerd.photo_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM taggerd.procrastinate_jobs WHERE id = OLD.job;
    RETURN NULL;
END
$$;

CREATE TRIGGER photo_goes AFTER DELETE ON taggerd.photos
    FOR EACH ROW WHEN (OLD.job IS NOT NULL) EXECUTE FUNCTION taggerd.photo_goes();

-- Whoever waits for photos hears of those that come back; of new jobs procrastinate tells.
CREATE FUNCTION taggerd.tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('taggerd', TG_ARGV[0]);
    RETURN NULL;
END
$$;

CREATE TRIGGER photo_comes_back AFTER UPDATE OF state ON taggerd.photos
    FOR EACH ROW WHEN (OLD.state = 'claimed' AND NEW.state = 'queued' AND NEW.not_before = 0)
    EXECUTE FUNCTION taggerd.tell('photos');

CREATE TRIGGER record_waits AFTER INSERT ON taggerd.outbox
    FOR EACH STATEMENT EXECUTE FUNCTION taggerd.tell('outbox');

CREATE TRIGGER pause_changes AFTER INSERT OR UPDATE OR DELETE ON taggerd.pause
    FOR EACH STATEMENT EXECUTE FUNCTION taggerd.tell('fleet');

-- What somebody does to a job with procrastinate's own commands is done to its photo.
CREATE FUNCTION taggerd.job_by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    photo bigint := (OLD.args->>'photo')::bigint;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.status = 'todo' THEN
        UPDATE taggerd.photos SET
            state = 'queued', since = extract(epoch FROM now()), not_before = 0, attempts = 0,
            crashes = 0, reason = '', sidecars_failed = FALSE, requeue = 0, owner = NULL,
            token = NULL, queued_at = extract(epoch FROM now())
        WHERE id = photo AND state IN ('claimed', 'quarantined');
    ELSE
        UPDATE taggerd.photos SET
            state = 'quarantined', since = extract(epoch FROM now()), owner = NULL, token = NULL,
            reason = 'its job was ended with procrastinate: taggerd retry queues it again'
        WHERE id = photo AND state IN ('queued', 'claimed');
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER job_changes_by_hand AFTER UPDATE OF status ON taggerd.procrastinate_jobs
    FOR EACH ROW WHEN (pg_trigger_depth() = 0 AND NEW.task_name = 'tag'
        AND NEW.status <> OLD.status AND NEW.status <> 'doing')
    EXECUTE FUNCTION taggerd.job_by_hand();

CREATE TRIGGER job_goes_by_hand AFTER DELETE ON taggerd.procrastinate_jobs
    FOR EACH ROW WHEN (pg_trigger_depth() = 0 AND OLD.task_name = 'tag'
        AND OLD.status IN ('todo', 'doing'))
    EXECUTE FUNCTION taggerd.job_by_hand();
