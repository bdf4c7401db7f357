-- Every query by name (see ../queries.py), in PostgreSQL's dialect; names and columns are those of the
-- embedded ledger. :name is a value. {in_scope} and {in_run} stand for one of the two texts that
-- begin with that name (see database.py).
--
-- Each statement sees what was committed before it began, and whoever would change a row that another
-- is changing waits and looks again: at that row, not at others. So what decides stands in the row.

-- ── Which photos are meant ───────────────────────────────────────────────────────────────────────

-- name: in_scope_all
TRUE

-- name: in_scope_within
(
    EXISTS (
        SELECT 1 FROM unnest(CAST(:scope_lows AS bytea[]), CAST(:scope_highs AS bytea[])) AS s(low, high)
        WHERE folders.path >= s.low AND folders.path < s.high
    )
    OR photos.id IN (
        SELECT f.photo
        FROM unnest(CAST(:scope_parents AS bytea[]), CAST(:scope_stems AS bytea[]),
            CAST(:scope_suffixes AS bytea[])) AS s(parent, stem, suffix)
        JOIN taggerd.folders AS d ON d.path = s.parent
        JOIN taggerd.files AS f ON f.folder = d.id AND f.stem = s.stem AND f.suffix = s.suffix
    )
)

-- name: in_run_requested
photos.run = :run AND photos.released_by IS DISTINCT FROM :run

-- name: in_run_within
photos.released_by IS DISTINCT FROM :run AND {in_scope}

-- name: job_free
-- Nobody works on another photo with its sidecar.
jobs.status = 'todo' AND NOT EXISTS (
    SELECT FROM taggerd.procrastinate_jobs AS others
    WHERE others.lock = jobs.lock AND others.status = 'doing'
)

-- name: queued
photos.state = 'queued' AND photos.not_before = 0
    AND (CAST(:slow AS boolean) IS NULL OR photos.slow = :slow)

-- name: claimable
taggerd.photos JOIN taggerd.folders ON folders.id = photos.folder
WHERE {queued} AND {in_run}

-- name: claimable_later
taggerd.photos JOIN taggerd.folders ON folders.id = photos.folder
WHERE photos.state = 'queued' AND photos.not_before > 0
    AND (CAST(:slow AS boolean) IS NULL OR photos.slow = :slow) AND {in_run}

-- name: held
photos.token = :token AND photos.state = 'claimed'

-- name: holds
SELECT 1 FROM taggerd.photos WHERE id = :photo AND {held};

-- name: awaits
EXISTS (SELECT 1 FROM taggerd.held WHERE held.photo = photos.id AND NOT held.accepted)

-- name: stamp
-- Of another host's stamp only size and time mean something here.
size, mtime_ns,
CASE WHEN files.host = :here THEN inode ELSE 0 END AS inode,
CASE WHEN files.host = :here THEN device ELSE 0 END AS device

-- ── Files come and go ────────────────────────────────────────────────────────────────────────────

-- name: folder
-- Whoever changes which files a folder has locks it first.
SELECT id FROM taggerd.folders WHERE path = :path FOR UPDATE;

-- name: new_folder
INSERT INTO taggerd.folders (path) VALUES (:path)
ON CONFLICT (path) DO UPDATE SET path = excluded.path RETURNING id;

-- name: drop_empty_folder
DELETE FROM taggerd.folders
WHERE id = :folder AND NOT EXISTS (SELECT 1 FROM taggerd.files WHERE files.folder = :folder);

-- name: stem_files
SELECT stem, suffix, {stamp}, photo
FROM taggerd.files WHERE folder = :folder AND stem = :stem;

-- name: folder_files
SELECT stem, suffix, {stamp}
FROM taggerd.folders JOIN taggerd.files ON files.folder = folders.id WHERE folders.path = :path;

-- name: file_stamp
SELECT {stamp}
FROM taggerd.folders JOIN taggerd.files ON files.folder = folders.id
WHERE folders.path = :folder AND stem = :stem AND suffix = :suffix;

-- name: folder_stamps
SELECT stem || suffix, {stamp}
FROM taggerd.folders JOIN taggerd.files ON files.folder = folders.id WHERE folders.path = :path;

-- name: photo_files
SELECT folders.path AS folder, files.stem, suffix, {stamp}
FROM taggerd.photos
JOIN taggerd.folders ON folders.id = photos.folder
JOIN taggerd.files ON files.folder = photos.folder AND files.stem = photos.stem
    AND files.photo = photos.id
WHERE photos.id = :photo;

-- name: folders_below
SELECT path FROM taggerd.folders WHERE path >= :low AND path < :high ORDER BY path;

-- name: put_file
INSERT INTO taggerd.files (folder, stem, suffix, size, mtime_ns, inode, device, photo, host)
VALUES (:folder, :stem, :suffix, :size, :mtime_ns, :inode, :device, :photo, :here)
ON CONFLICT (folder, stem, suffix) DO UPDATE SET size = excluded.size,
    mtime_ns = excluded.mtime_ns, inode = excluded.inode, device = excluded.device, host = :here,
    photo = excluded.photo, missing_since = NULL;

-- name: replace_stamp
UPDATE taggerd.files SET size = :size, mtime_ns = :mtime_ns, inode = :inode, device = :device,
    host = :here
WHERE stem = :stem AND suffix = :suffix
    AND folder = (SELECT id FROM taggerd.folders WHERE path = :folder);

-- name: missing_files
SELECT folders.path AS folder, stem, suffix, missing_since
FROM taggerd.files JOIN taggerd.folders ON folders.id = files.folder
WHERE missing_since IS NOT NULL AND folders.path >= :low AND folders.path < :high;

-- name: set_missing
UPDATE taggerd.files SET missing_since = :missing_since
WHERE folder = (SELECT id FROM taggerd.folders WHERE path = :folder)
    AND stem = :stem AND suffix = :suffix;

-- name: forget_file
DELETE FROM taggerd.files WHERE folder = :folder AND stem = :stem AND suffix = :suffix;

-- name: relocate_photo
UPDATE taggerd.photos SET folder = :folder, stem = :stem WHERE id = :photo;

-- name: file_state
SELECT {stamp},
    state, sidecars_failed, sidecars_written, undone, reason, since, asked_as,
    {awaits} AS held
FROM taggerd.folders
JOIN taggerd.files ON files.folder = folders.id AND files.stem = :stem AND suffix = :suffix
JOIN taggerd.photos ON photos.id = files.photo
WHERE folders.path = :folder;

-- name: file_states
SELECT number, {stamp},
    state, sidecars_failed, sidecars_written, undone, reason, since, asked_as,
    {awaits} AS held
FROM unnest(CAST(:folders AS bytea[]), CAST(:stems AS bytea[]), CAST(:suffixes AS bytea[]))
    WITH ORDINALITY AS asked(folder, stem, suffix, number)
JOIN taggerd.folders ON folders.path = asked.folder
JOIN taggerd.files
    ON files.folder = folders.id AND files.stem = asked.stem AND files.suffix = asked.suffix
JOIN taggerd.photos ON photos.id = files.photo;

-- name: photo_state
photos.id AS id, folders.path AS folder, files.stem AS stem, suffix, {stamp},
    state, sidecars_failed, sidecars_written, undone, reason, since, asked_as,
    {awaits} AS held,
    (SELECT digest FROM taggerd.contents WHERE contents.id = content) AS digest
FROM taggerd.photos
JOIN taggerd.folders ON folders.id = photos.folder
JOIN taggerd.files ON files.folder = photos.folder AND files.stem = photos.stem
    AND files.photo = photos.id

-- name: states_after
SELECT {photo_state}
WHERE photos.id IN (SELECT id FROM taggerd.photos WHERE id > :after ORDER BY id LIMIT :limit)
ORDER BY photos.id;

-- name: states_unfinished
SELECT {photo_state}
WHERE photos.state IN ('queued', 'claimed', 'quarantined')
    OR photos.state = 'recorded' AND NOT photos.sidecars_written
ORDER BY photos.id;

-- name: states_of
SELECT {photo_state}
WHERE photos.id = (
    SELECT f.photo FROM taggerd.folders AS d
    JOIN taggerd.files AS f ON f.folder = d.id AND f.stem = :stem AND f.suffix = :suffix
    WHERE d.path = :folder
);

-- ── Photos enter the queue ───────────────────────────────────────────────────────────────────────

-- name: new_photo
INSERT INTO taggerd.photos (folder, stem, state, since, queued_at, asked_again_since)
VALUES (:folder, :stem, 'queued', :now, :now, :asked_again_since) RETURNING id;

-- Many at once (see bulk.py).

-- name: new_folders
INSERT INTO taggerd.folders (path)
SELECT path FROM unnest(CAST(:paths AS bytea[])) WITH ORDINALITY AS new(path, number)
ORDER BY number
ON CONFLICT (path) DO UPDATE SET path = excluded.path RETURNING id, path;

-- name: stems_known
SELECT DISTINCT files.folder, files.stem
FROM unnest(CAST(:folders AS bigint[]), CAST(:stems AS bytea[])) AS new(folder, stem)
JOIN taggerd.files ON files.folder = new.folder AND files.stem = new.stem;

-- name: photo_ids
SELECT nextval(pg_get_serial_sequence('taggerd.photos', 'id')) AS id
FROM generate_series(1, CAST(:count AS integer));

-- name: new_photos
-- With their jobs, as the trigger photo_arrives makes one.
WITH new AS MATERIALIZED (
    SELECT new.*, taggerd.queue_of(folders.path) AS queue
    FROM unnest(CAST(:ids AS bigint[]), CAST(:folders AS bigint[]), CAST(:stems AS bytea[]))
        WITH ORDINALITY AS new(id, folder, stem, number)
    JOIN taggerd.folders ON folders.id = new.folder
), jobs AS (
    INSERT INTO taggerd.procrastinate_jobs
        (queue_name, task_name, priority, lock, queueing_lock, args)
    SELECT queue, 'tag', taggerd.job_priority(:now), taggerd.job_lock(folder, stem),
        'photo:' || id, jsonb_build_object('photo', id)
    FROM new ORDER BY number
    RETURNING id, CAST(args->>'photo' AS bigint) AS photo
)
INSERT INTO taggerd.photos
    (id, folder, stem, state, since, queued_at, asked_again_since, run, run_owner, queue, job)
SELECT new.id, folder, stem, 'queued', :now, :now, :asked_again_since, :run, :run_owner, queue, jobs.id
FROM new JOIN jobs ON jobs.photo = new.id
ORDER BY number;

-- name: new_files
INSERT INTO taggerd.files (photo, folder, stem, suffix, size, mtime_ns, inode, device, host)
SELECT new.*, :here
FROM unnest(CAST(:photos AS bigint[]), CAST(:folders AS bigint[]), CAST(:stems AS bytea[]),
    CAST(:suffixes AS bytea[]), CAST(:sizes AS numeric[]), CAST(:mtimes AS numeric[]),
    CAST(:inodes AS numeric[]), CAST(:devices AS numeric[])) AS new;

-- name: photo
SELECT state, sidecars_failed, undone, sidecars_written, asked_again_since, {awaits} AS held
FROM taggerd.photos WHERE id = :photo FOR UPDATE;

-- name: queue
-- A claimed photo is queued when its claim ends. In one statement: between two the claim could end.
UPDATE taggerd.photos SET
    requeue = CASE state
        WHEN 'claimed' THEN greatest(requeue, 1 + CAST(CAST(:changed AS boolean) AS integer))
        ELSE requeue END,
    state = CASE state WHEN 'claimed' THEN state ELSE 'queued' END,
    since = CASE state WHEN 'claimed' THEN since ELSE :now END,
    queued_at = CASE state WHEN 'claimed' THEN queued_at ELSE :now END,
    not_before = CASE state WHEN 'claimed' THEN not_before ELSE 0 END,
    released_by = CASE state WHEN 'claimed' THEN released_by END,
    attempts = CASE state WHEN 'claimed' THEN attempts ELSE 0 END,
    crashes = CASE state WHEN 'claimed' THEN crashes ELSE 0 END,
    reason = CASE state WHEN 'claimed' THEN reason ELSE '' END,
    sidecars_failed = state = 'claimed' AND sidecars_failed,
    changed = changed OR state <> 'claimed' AND :changed,
    slow = slow AND (state = 'claimed' OR NOT :changed),
    asked_again_since = CASE
        WHEN :changed AND state <> 'claimed' THEN CAST(:asked_again_since AS double precision)
        ELSE coalesce(asked_again_since, :asked_again_since) END
WHERE id = :photo;

-- name: queue_after_claim
-- "queue" does it.

-- name: request
UPDATE taggerd.photos SET run = :run, run_owner = :owner WHERE id = :photo;

-- name: ask_again
UPDATE taggerd.photos SET asked_again_since = coalesce(asked_again_since, :asked_again_since)
WHERE id = :photo;

-- name: drop_fileless_photo
DELETE FROM taggerd.photos
WHERE id = :photo AND state <> 'claimed' AND NOT EXISTS (
    SELECT 1 FROM taggerd.files
    WHERE files.folder = photos.folder AND files.stem = photos.stem AND files.photo = :photo
);

-- ── Claims ───────────────────────────────────────────────────────────────────────────────────────

-- name: candidate_columns
SELECT photos.id, photos.stem, photos.attempts, crashes, reason, recorded, changed,
    asked_again_since, sidecars, slow,
    (SELECT digest FROM taggerd.contents WHERE contents.id = content) AS digest,
    (SELECT answers FROM taggerd.held WHERE held.photo = photos.id AND accepted) AS accepted

-- name: candidates
-- Claims take jobs as procrastinate_fetch_job_v2 does, in the same order of locks for all.
{candidate_columns}
FROM taggerd.photos JOIN taggerd.folders ON folders.id = photos.folder
JOIN taggerd.procrastinate_jobs AS jobs ON jobs.id = photos.job
WHERE {job_free}

-- name: is_due
(not_before <= :now OR since > CAST(:now AS double precision) + 60)

-- name: alone
-- Those that another is claiming are left to it.
LIMIT :limit FOR UPDATE OF photos, jobs SKIP LOCKED

-- name: newest
-- "oldest" is this without DESC (see database.py).
{candidates} AND {queued} AND {in_run} ORDER BY queued_at DESC, photos.id DESC {alone};

-- name: newest_within
-- First the head of the queue of each root that is meant; then, where it has too few, every folder
-- that is meant, each by its own order. To go through the queue until one is found would take seconds
-- for a folder at the end of a million photos.
WITH near AS MATERIALIZED (
    SELECT photos.id, photos.queued_at
    FROM (
        SELECT DISTINCT taggerd.queue_of(low) AS name
        FROM unnest(CAST(:scope_lows AS bytea[])) AS s(low)
    ) AS queues
    CROSS JOIN LATERAL (
        SELECT * FROM taggerd.photos WHERE photos.queue = queues.name AND {queued}
        ORDER BY queued_at DESC, id DESC LIMIT 250
    ) AS photos
    JOIN taggerd.folders ON folders.id = photos.folder
    WHERE {in_run}
    ORDER BY queued_at DESC, photos.id DESC LIMIT :limit + 50
), far AS MATERIALIZED (
    SELECT photos.id, photos.queued_at
    FROM unnest(CAST(:scope_lows AS bytea[]), CAST(:scope_highs AS bytea[])) AS s(low, high)
    JOIN taggerd.folders ON folders.path >= s.low AND folders.path < s.high
    CROSS JOIN LATERAL (
        SELECT * FROM taggerd.photos
        WHERE photos.folder = folders.id AND {queued} AND released_by IS DISTINCT FROM :run
        ORDER BY queued_at DESC, id DESC LIMIT :limit + 50
    ) AS photos
    WHERE (SELECT count(*) FROM near) < :limit
    ORDER BY queued_at DESC, photos.id DESC LIMIT :limit + 50
), named AS MATERIALIZED (
    SELECT photos.id
    FROM unnest(CAST(:scope_parents AS bytea[]), CAST(:scope_stems AS bytea[]),
        CAST(:scope_suffixes AS bytea[])) AS s(parent, stem, suffix)
    JOIN taggerd.folders AS d ON d.path = s.parent
    JOIN taggerd.files AS f ON f.folder = d.id AND f.stem = s.stem AND f.suffix = s.suffix
    JOIN taggerd.photos ON photos.id = f.photo
)
{candidates} AND {queued} AND released_by IS DISTINCT FROM :run AND photos.id = ANY (ARRAY(
    SELECT id FROM near UNION ALL SELECT id FROM far UNION ALL SELECT id FROM named
))
ORDER BY queued_at DESC, photos.id DESC {alone};

-- name: deferred
-- The longest due comes first: in the order of the queue the same few, which upset the backend every
-- time, would be claimed again before any other.
{candidates} AND photos.state = 'queued' AND photos.not_before > 0
    AND (CAST(:slow AS boolean) IS NULL OR photos.slow = :slow) AND {in_run} AND {is_due}
ORDER BY not_before, photos.id {alone};

-- name: any_slow
SELECT FROM taggerd.photos WHERE state = 'queued' AND slow LIMIT 1;

-- name: slow
{candidates} AND photos.state = 'queued' AND photos.slow AND {in_run} AND {is_due}
ORDER BY not_before, CASE WHEN :newest THEN -queued_at ELSE queued_at END,
    CASE WHEN :newest THEN -photos.id ELSE photos.id END
{alone};

-- name: claim
-- Not if the one before it in this transaction has its sidecar.
UPDATE taggerd.photos SET
    state = 'claimed', since = :now, attempts = photos.attempts + 1,
    owner = :owner, token = :token, decoded = :decoded
FROM taggerd.procrastinate_jobs AS jobs
WHERE photos.id = :photo AND jobs.id = photos.job AND {job_free};

-- name: new_claim
-- "claim" does it.

-- name: decoded
UPDATE taggerd.photos SET decoded = TRUE, crashes = 0 WHERE id = :photo AND {held};

-- name: no_crashes
-- "decoded" does it.

-- name: finish
UPDATE taggerd.photos SET
    state = CASE requeue WHEN 0 THEN 'recorded' ELSE 'queued' END,
    since = :now,
    queued_at = CASE requeue WHEN 0 THEN queued_at ELSE :now END,
    not_before = 0, released_by = NULL, attempts = 0, crashes = 0, reason = '',
    content = :content, recorded = TRUE, changed = requeue = 2, slow = slow AND requeue < 2,
    -- Held: the sidecars still hold what they held before.
    sidecars_written = CASE
        WHEN :held THEN sidecars_written AND recorded
            AND content IS NOT DISTINCT FROM CAST(:content AS bigint)
        ELSE :sidecars_written END,
    undone = 0,
    asked_again_since = CASE
        WHEN asked_again_since IS NOT DISTINCT FROM CAST(:asked_again_since AS double precision)
        THEN NULL ELSE asked_again_since END,
    requeue = 0, owner = NULL, token = NULL
WHERE id = :photo AND {held};

-- name: put_back
UPDATE taggerd.photos SET
    state = 'queued', since = :now,
    not_before = CASE requeue WHEN 0 THEN CAST(:not_before AS double precision) ELSE 0 END,
    released_by = CASE requeue WHEN 0 THEN coalesce(:released_by, released_by) END,
    attempts = CASE requeue
        WHEN 0 THEN attempts - CAST(CAST(:uncharged AS boolean) AS integer) ELSE 0 END,
    crashes = CASE requeue
        WHEN 0 THEN crashes + CAST(CAST(:crashed AS boolean) AS integer) ELSE 0 END,
    reason = CASE requeue WHEN 0 THEN coalesce(:reason, reason) ELSE '' END,
    changed = changed OR requeue = 2, slow = slow AND requeue < 2, requeue = 0,
    owner = NULL, token = NULL
WHERE id = :photo AND {held};

-- name: end_requests
UPDATE taggerd.photos SET
    state = CASE
        WHEN state = 'queued' AND asked_again_since IS NOT NULL AND recorded AND NOT changed
            AND (sidecars_written OR undone > 0 OR {awaits}) THEN 'recorded' ELSE state END,
    asked_again_since = CASE WHEN state = 'claimed' THEN asked_again_since END
WHERE run_owner = :owner;

-- name: drop_requests
UPDATE taggerd.photos SET run = NULL, run_owner = NULL WHERE run_owner = :owner;

-- name: quarantine
UPDATE taggerd.photos SET
    state = 'quarantined', since = :now, reason = :reason, sidecars_failed = :sidecars_failed,
    asked_as = :asked_as, owner = NULL, token = NULL
WHERE id = :photo AND {held} AND requeue = 0
    AND (:final OR attempts >= CASE
        WHEN slow THEN CAST(:slow_attempts AS integer) ELSE CAST(:max_attempts AS integer) END);

-- name: is_slow
UPDATE taggerd.photos SET slow = TRUE WHERE id = :photo AND {held};

-- name: changed_while_claimed
SELECT requeue > 0 AS changed FROM taggerd.photos WHERE id = :photo AND {held} FOR UPDATE;

-- name: claims_of
SELECT id AS photo, token, decoded FROM taggerd.photos WHERE state = 'claimed' AND owner = :owner;

-- ── Owners ───────────────────────────────────────────────────────────────────────────────────────

-- name: enter
-- A program is one of procrastinate's workers. One that was taken for dead becomes another.
WITH known AS (
    UPDATE taggerd.procrastinate_workers AS w SET last_heartbeat = now()
    FROM taggerd.owners WHERE owners.owner = :owner AND w.id = owners.worker RETURNING w.id
), new AS (
    INSERT INTO taggerd.procrastinate_workers (last_heartbeat)
    SELECT now() WHERE NOT EXISTS (SELECT FROM known) RETURNING id
), counted AS (
    INSERT INTO taggerd.commits (owner) VALUES (:owner) ON CONFLICT DO NOTHING
), made AS (
    INSERT INTO taggerd.owners (owner, host, pid, worker)
    SELECT :owner, :host, :pid, id FROM new RETURNING owner
)
SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now,
    (SELECT last_value FROM taggerd.procrastinate_jobs_id_seq) AS jobs,
    EXISTS (SELECT FROM known) AS known;

-- name: dead_owners
-- Whoever else looks at the same moment passes over these, and a late sign of life waits.
SELECT owner FROM taggerd.owners JOIN taggerd.procrastinate_workers AS w ON w.id = worker
WHERE last_heartbeat < now() - make_interval(secs => CAST(:seconds AS double precision))
FOR UPDATE OF w SKIP LOCKED;

-- name: lost_owners
-- procrastinate's own workers remove those that are dead, without what they held. What a scan has asked
-- for may be a million photos: of each owner one is looked at.
WITH RECURSIVE runs AS (
    SELECT min(run_owner) AS owner FROM taggerd.photos WHERE run_owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(run_owner) FROM taggerd.photos WHERE run_owner > runs.owner)
    FROM runs WHERE runs.owner IS NOT NULL
)
SELECT owner FROM (
    SELECT owner FROM taggerd.photos WHERE state = 'claimed'
    UNION SELECT owner FROM runs
    UNION SELECT owner FROM taggerd.outbox
) AS holders
WHERE owner IS NOT NULL AND owner NOT IN (SELECT owner FROM taggerd.owners);

-- name: nobody_died
SELECT NOT EXISTS (
    SELECT FROM taggerd.owners JOIN taggerd.procrastinate_workers AS w ON w.id = worker
    WHERE last_heartbeat < now() - make_interval(secs => CAST(:seconds AS double precision))
) AND NOT EXISTS ({lost_owners}) AS so;

-- name: bury
-- With its row in owners.
DELETE FROM taggerd.procrastinate_workers
WHERE id = (SELECT worker FROM taggerd.owners WHERE owner = :owner);

-- name: hang_up
-- What another connection of ours still does ends before we ask what it did.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = :pid AND usename = current_user AND datname = current_database()
    AND pid <> pg_backend_pid();

-- name: committed
-- Waits for the transaction that has the row.
SELECT number FROM taggerd.commits WHERE owner = :owner FOR UPDATE;

-- name: forget_commits
DELETE FROM taggerd.commits WHERE owner = :owner
    OR at < now() - interval '7 days' AND owner NOT IN (SELECT owner FROM taggerd.owners);

-- name: clock
SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now;

-- name: silence_dead
UPDATE taggerd.owners SET notices = NULL
WHERE notices AND worker IN (
    SELECT id FROM taggerd.procrastinate_workers
    WHERE last_heartbeat < now() - make_interval(secs => CAST(:seconds AS double precision))
);

-- name: others_serve_notices
SELECT FROM taggerd.owners JOIN taggerd.procrastinate_workers AS w ON w.id = worker
WHERE notices AND owner <> :owner
    AND last_heartbeat >= now() - make_interval(secs => CAST(:seconds AS double precision));

-- name: serve_notices
UPDATE taggerd.owners SET notices = TRUE WHERE owner = :owner AND NOT EXISTS (
    SELECT 1 FROM taggerd.owners AS others WHERE others.notices AND others.owner <> :owner
);

-- ── Answers and sidecars ─────────────────────────────────────────────────────────────────────────

-- name: content
SELECT id FROM taggerd.contents WHERE digest = :digest;

-- name: new_content
INSERT INTO taggerd.contents (digest) VALUES (:digest)
ON CONFLICT (digest) DO UPDATE SET digest = excluded.digest RETURNING id;

-- name: answers
SELECT role, question, at, answer
FROM taggerd.contents JOIN taggerd.answers ON answers.content = contents.id
WHERE digest = :digest ORDER BY at, role, question;

-- name: decoded_answers
WITH noted AS ({decoded})
{answers};

-- name: put_answer
INSERT INTO taggerd.answers (content, role, question, at, answer)
VALUES (:content, :role, :question, :at, :answer)
ON CONFLICT (content, role, question) DO UPDATE SET at = excluded.at, answer = excluded.answer;

-- name: sidecars
SELECT sidecars FROM taggerd.photos WHERE id = :photo AND {held};

-- name: written
UPDATE taggerd.photos SET
    recorded = recorded AND content IS NOT DISTINCT FROM CAST(:content AS bigint),
    content = :content, changed = FALSE, sidecars = :sidecars, undone = 0
WHERE id = :photo AND {held};

-- name: mark_undone
UPDATE taggerd.photos SET sidecars_written = FALSE, undone = 1, since = :now
WHERE state = 'recorded' AND sidecars_written AND id = (
    SELECT photo FROM taggerd.folders
    JOIN taggerd.files ON files.folder = folders.id AND files.stem = :stem AND suffix = :suffix
    WHERE folders.path = :folder
);

-- name: undone_within
SELECT photos.id FROM taggerd.photos JOIN taggerd.folders ON folders.id = photos.folder
WHERE state = 'recorded' AND NOT sidecars_written AND undone > 0 AND NOT {awaits} AND {in_scope};

-- ── Held answers ─────────────────────────────────────────────────────────────────────────────────

-- name: let_go
DELETE FROM taggerd.held WHERE photo = :photo;

-- name: hold
INSERT INTO taggerd.held (photo, since, answers)
SELECT id, :now, :answers FROM taggerd.photos WHERE id = :photo AND NOT changed;

-- name: held_within
SELECT photos.id, held.since, held.answers
FROM taggerd.held JOIN taggerd.photos ON photos.id = held.photo
JOIN taggerd.folders ON folders.id = photos.folder
WHERE held.since <= :before AND {in_scope} AND CASE WHEN accepted
    THEN photos.asked_again_since IS NULL
        AND (:queued AND photos.state = 'queued' OR :claimed AND photos.state = 'claimed')
    ELSE photos.state = 'recorded' END
ORDER BY held.since, photos.id LIMIT nullif(CAST(:limit AS bigint), -1);

-- name: accept
UPDATE taggerd.held SET accepted = TRUE WHERE photo = :photo;

-- name: drop_held
UPDATE taggerd.photos SET undone = CASE WHEN sidecars_written THEN undone ELSE 2 END, since = :now
WHERE id = :photo;

-- ── The outbox ───────────────────────────────────────────────────────────────────────────────────

-- name: counted
-- See PostgresDatabase.once().
counted AS (UPDATE taggerd.commits SET number = :number, at = now() WHERE owner = :owner)

-- name: finish_and_send
WITH {counted}, done AS ({finish} RETURNING photos.id, photos.folder, photos.stem),
let_go AS (DELETE FROM taggerd.held USING done WHERE held.photo = done.id),
sent AS (
    INSERT INTO taggerd.outbox (record, day, line, stream)
    SELECT :record, :day, :line, :stream FROM done WHERE CAST(:record AS text) IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT NOT EXISTS (
    SELECT FROM taggerd.files
    WHERE files.folder = done.folder AND files.stem = done.stem AND files.photo = done.id
) AS fileless
FROM done;

-- name: send
INSERT INTO taggerd.outbox (record, day, line, stream) VALUES (:record, :day, :line, :stream)
ON CONFLICT DO NOTHING;

-- name: undelivered
SELECT record, day, line, stream FROM taggerd.outbox
WHERE stream = :stream AND (
    owner IS NULL OR owner = :owner OR (
        lent_at < now() - interval '10 minutes'
        AND NOT EXISTS (SELECT FROM taggerd.owners WHERE owners.owner = outbox.owner)
    )
) ORDER BY id LIMIT :limit;

-- name: all_delivered
SELECT NOT EXISTS (SELECT FROM taggerd.outbox WHERE stream = '') AS so;

-- name: lend
UPDATE taggerd.outbox SET owner = :owner WHERE record = :record;

-- name: lend_some
-- In order also among those who ask: whoever comes second waits for what the first one takes.
WITH lent AS (
    SELECT id FROM taggerd.outbox
    WHERE stream = :stream AND (
        owner IS NULL OR owner = :owner OR (
            lent_at < now() - interval '10 minutes'
            AND NOT EXISTS (SELECT FROM taggerd.owners WHERE owners.owner = outbox.owner)
        )
    )
    ORDER BY id LIMIT :limit FOR UPDATE
), taken AS (
    UPDATE taggerd.outbox SET owner = :owner, lent_at = now() FROM lent
    WHERE outbox.id = lent.id AND outbox.owner IS DISTINCT FROM :owner
)
SELECT record, day, line, stream FROM taggerd.outbox JOIN lent USING (id) ORDER BY id;

-- name: end_lending
-- A record that was lent to a program that was killed may be in a day file: its own host knows, and
-- has ten minutes to say so. Otherwise it would stand in those of two hosts.
UPDATE taggerd.outbox SET owner = NULL WHERE owner = :owner AND (:crashed = 0 OR stream <> '');

-- name: lent
SELECT record, day, line, stream FROM taggerd.outbox WHERE owner = :owner AND stream = ''
ORDER BY id LIMIT :limit;

-- name: adopt_lent
UPDATE taggerd.outbox SET owner = :program, lent_at = now() WHERE owner = :killed AND stream = '';

-- name: delivered
DELETE FROM taggerd.outbox WHERE record = ANY(CAST(:records AS text[]))
RETURNING id, day, line, stream;

-- name: keep_journalled
INSERT INTO taggerd.journalled (day, line)
SELECT day, line FROM unnest(CAST(:days AS text[]), CAST(:lines AS bytea[]))
    WITH ORDINALITY AS new(day, line, number)
ORDER BY number;

-- ── Notices for hooks ────────────────────────────────────────────────────────────────────────────

-- name: keep_notice
INSERT INTO taggerd.notices (notice, hook, at, body) VALUES (:notice, :hook, :at, :body)
ON CONFLICT DO NOTHING;

-- name: notice_done
DELETE FROM taggerd.notices WHERE hook = :hook AND notice = :notice;

-- name: notices
SELECT notice, hook, at, body, attempts FROM taggerd.notices
WHERE hook = :hook AND (not_before <= :now OR at > CAST(:now AS double precision) + 60)
ORDER BY id LIMIT :limit;

-- name: notices_due
SELECT min(not_before) AS due FROM taggerd.notices WHERE hook = :hook;

-- name: defer_notice
UPDATE taggerd.notices SET attempts = attempts + 1, not_before = :until
WHERE hook = :hook AND notice = :notice;

-- name: drop_notices
DELETE FROM taggerd.notices WHERE hook = :hook AND (
    at < :before
    OR id <= (SELECT id FROM taggerd.notices WHERE hook = :hook ORDER BY id DESC LIMIT 1 OFFSET :keep)
);

-- ── The queue as a whole ─────────────────────────────────────────────────────────────────────────

-- name: count_states
SELECT
    count(*) AS photos,
    count(*) FILTER (WHERE state = 'queued') AS queued,
    count(*) FILTER (WHERE state = 'claimed') AS claimed,
    count(*) FILTER (WHERE state = 'quarantined') AS quarantined,
    count(*) FILTER (WHERE state = 'recorded' AND NOT sidecars_written AND NOT {awaits}) AS unwritten,
    count(*) FILTER (WHERE state = 'recorded' AND {awaits}) AS held

-- name: count_all
{count_states} FROM taggerd.photos;

-- name: oldest_queued
SELECT min(queued_at) AS at FROM taggerd.photos WHERE state = 'queued';

-- name: count_within
{count_states} FROM taggerd.photos JOIN taggerd.folders ON folders.id = photos.folder
WHERE {in_scope};

-- name: quarantined
SELECT photos.id, reason, since
FROM taggerd.photos JOIN taggerd.folders ON folders.id = photos.folder
WHERE photos.state = 'quarantined' AND {in_scope}
ORDER BY since DESC, photos.id DESC LIMIT nullif(CAST(:limit AS bigint), -1);

-- name: failed_over_others
SELECT photos.id FROM taggerd.photos JOIN taggerd.folders ON folders.id = photos.folder
WHERE photos.state = 'quarantined' AND asked_as NOT IN ('', :asked_as) AND {in_scope};

-- name: failed
SELECT photos.id FROM taggerd.photos JOIN taggerd.folders ON folders.id = photos.folder
WHERE (photos.state = 'quarantined'
    OR photos.state = 'recorded' AND NOT photos.sidecars_written AND photos.undone = 0
        AND NOT {awaits}
    OR photos.state = 'queued' AND (photos.not_before > 0 OR photos.reason <> '')) AND {in_scope};

-- name: pause
INSERT INTO taggerd.pause (id, reason, since, until) VALUES (1, :reason, :since, :until)
ON CONFLICT (id) DO UPDATE
SET reason = excluded.reason, since = excluded.since, until = excluded.until;

-- name: resume
DELETE FROM taggerd.pause;

-- name: paused
SELECT reason, since, until FROM taggerd.pause WHERE until IS NULL OR until > :now;

-- name: waiting
SELECT coalesce(
        (SELECT not_before FROM {claimable} LIMIT 1), (SELECT min(not_before) FROM {claimable_later})
    ) AS due,
    EXISTS (SELECT FROM taggerd.photos WHERE state = 'claimed' AND owner = :owner) AS claimed;

-- name: waiting_within
SELECT coalesce(
        (
            SELECT 0 FROM unnest(CAST(:scope_lows AS bytea[]), CAST(:scope_highs AS bytea[])) AS s(low, high)
            JOIN taggerd.folders ON folders.path >= s.low AND folders.path < s.high
            WHERE EXISTS (
                SELECT FROM taggerd.photos
                WHERE photos.folder = folders.id AND {queued} AND released_by IS DISTINCT FROM :run
            ) LIMIT 1
        ),
        (
            SELECT 0
            FROM unnest(CAST(:scope_parents AS bytea[]), CAST(:scope_stems AS bytea[]),
                CAST(:scope_suffixes AS bytea[])) AS s(parent, stem, suffix)
            JOIN taggerd.folders AS d ON d.path = s.parent
            JOIN taggerd.files AS f ON f.folder = d.id AND f.stem = s.stem AND f.suffix = s.suffix
            JOIN taggerd.photos ON photos.id = f.photo
            WHERE {queued} AND released_by IS DISTINCT FROM :run LIMIT 1
        ),
        (SELECT min(not_before) FROM {claimable_later})
    ) AS due,
    EXISTS (SELECT FROM taggerd.photos WHERE state = 'claimed' AND owner = :owner) AS claimed;

-- ── Notes ────────────────────────────────────────────────────────────────────────────────────────

-- name: note
INSERT INTO taggerd.notes (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: recall
SELECT value FROM taggerd.notes WHERE key = :key;

-- ── What people did ──────────────────────────────────────────────────────────────────────────────

-- name: correct
INSERT INTO taggerd.corrections
    (action, at, photo, kind, field, before, after, model, who, undo)
VALUES (:action, :at, :photo, :kind, :field, :before, :after, :model, :who, :undo);

-- name: corrections
SELECT * FROM taggerd.corrections
WHERE id > :after AND (CAST(:kind AS text) IS NULL OR kind = :kind)
    AND (:undone OR undone_at IS NULL)
ORDER BY id LIMIT :limit;

-- name: corrections_of
SELECT * FROM taggerd.corrections WHERE photo = :photo ORDER BY at, id;

-- name: corrections_of_action
SELECT id FROM taggerd.corrections WHERE action = :action AND undone_at IS NULL ORDER BY id
FOR UPDATE;

-- name: undo_correction
UPDATE taggerd.corrections SET undone_at = :now, id = DEFAULT WHERE id = :id;

-- name: move_corrections
UPDATE taggerd.corrections SET photo = :new WHERE photo = :old;

-- ── Spending ─────────────────────────────────────────────────────────────────────────────────────

-- name: spend
INSERT INTO taggerd.spending AS s (day, model, requests, prompt_tokens, completion_tokens)
VALUES (:day, :model, :requests, :prompt_tokens, :completion_tokens)
ON CONFLICT (day, model) DO UPDATE SET requests = s.requests + excluded.requests,
    prompt_tokens = s.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = s.completion_tokens + excluded.completion_tokens;

-- name: put_answer_once
WITH {counted} {put_answer} RETURNING content;

-- name: put_answer_and_spend
WITH {counted}, spent AS ({spend})
{put_answer} RETURNING content;

-- name: spent
SELECT model, requests, prompt_tokens, completion_tokens FROM taggerd.spending WHERE day = :day;

-- ── Hosts that share the ledger ────────────────────────────────────────────────────────────────────

-- name: host_columns
name, version, duties, roots, photos_an_hour, health,
extract(epoch FROM now() - seen_at)::float8 AS seen_seconds,
program <> '' AND seen_at >= now() - make_interval(secs => :seconds) AS alive

-- name: beat_again
WITH alive AS (
    UPDATE taggerd.hosts SET
        version = :version, duties = :duties, roots = :roots, photos_an_hour = :photos_an_hour,
        health = :health, seen_at = now()
    WHERE name = :host AND program = :program RETURNING {host_columns}
), renewed AS (
    UPDATE taggerd.leases SET until = now() + make_interval(secs => :seconds)
    WHERE program = :program
), known AS (
    SELECT * FROM alive
    UNION ALL SELECT {host_columns} FROM taggerd.hosts
    WHERE name <> :host AND seen_at > now() - make_interval(days => :days)
)
SELECT (SELECT json_agg(known ORDER BY name) FROM known) AS hosts, coalesce(
        (SELECT json_object_agg(name, host) FROM taggerd.leases WHERE until > now()), '{}'
    ) AS holders
WHERE EXISTS (SELECT FROM alive);

-- name: program_of_host
SELECT program, machine, seen_at < now() - make_interval(secs => :seconds) AS silent
FROM taggerd.hosts WHERE name = :host FOR UPDATE;

-- name: beat_host
INSERT INTO taggerd.hosts
    (name, program, machine, version, duties, roots, photos_an_hour, health, seen_at)
VALUES
    (:host, :program, :machine, :version, :duties, :roots, :photos_an_hour, :health, now())
ON CONFLICT (name) DO UPDATE SET
    program = excluded.program, machine = excluded.machine, version = excluded.version,
    duties = excluded.duties, roots = excluded.roots, photos_an_hour = excluded.photos_an_hour,
    health = excluded.health, seen_at = excluded.seen_at;

-- name: leave_host
UPDATE taggerd.hosts SET program = '', seen_at = now() WHERE name = :host AND program = :program;

-- name: hosts
SELECT {host_columns}
FROM taggerd.hosts WHERE seen_at > now() - make_interval(days => :days) ORDER BY name;

-- name: hold_lease
INSERT INTO taggerd.leases AS held (name, program, host, until)
VALUES (:lease, :program, :host, now() + make_interval(secs => :seconds))
ON CONFLICT (name) DO UPDATE SET
    program = excluded.program, host = excluded.host, until = excluded.until
WHERE held.program = excluded.program OR held.until <= now();

-- name: let_go_of_lease
DELETE FROM taggerd.leases WHERE name = :lease AND program = :program;

-- name: let_go_of_all
DELETE FROM taggerd.leases WHERE program = :program;

-- name: lease_holders
SELECT name, host FROM taggerd.leases WHERE until > now();

-- name: begin_agreement
INSERT INTO taggerd.agreed (key, value) VALUES (:key, 'null') ON CONFLICT (key) DO NOTHING;

-- name: agreement
SELECT value, extract(epoch FROM clock_timestamp())::float8 AS now FROM taggerd.agreed
WHERE key = :key FOR UPDATE;

-- name: agree
UPDATE taggerd.agreed SET value = :value WHERE key = :key;

-- name: end_agreement
DELETE FROM taggerd.agreed WHERE key = :key;

-- name: tell
SELECT pg_notify('taggerd', :change) IS NULL AS told;

-- name: journalled
SELECT number, line FROM taggerd.journalled
WHERE day = :day AND number > :behind ORDER BY number LIMIT :limit;

-- name: forget_journalled
DELETE FROM taggerd.journalled WHERE number IN (
    SELECT number FROM taggerd.journalled WHERE day < :before ORDER BY day, number LIMIT :limit
);

-- name: journalled_since
SELECT number, day, line FROM taggerd.journalled
WHERE number > :behind ORDER BY number LIMIT :limit;

-- name: stamp
-- Each transaction of a program that changes anything is counted.
SELECT coalesce(sum(number), 0)::text AS counted, coalesce(max(at)::text, '') AS at
FROM taggerd.commits;

-- name: journalled_days
SELECT DISTINCT day FROM taggerd.journalled;

-- ── Named roots ──────────────────────────────────────────────────────────────────────────────────

-- name: lock_roots
SELECT pg_advisory_xact_lock(hashtext('taggerd.roots'));

-- name: living_hosts
SELECT DISTINCT host FROM taggerd.owners WHERE owner <> :owner;

-- name: roots
SELECT name, marker, outside, below FROM taggerd.roots ORDER BY name;

-- name: mounts
SELECT root, host, path FROM taggerd.mounts ORDER BY since, host;

-- name: new_root
INSERT INTO taggerd.roots (name, marker) VALUES (:name, :marker) ON CONFLICT DO NOTHING;

-- name: nest_root
UPDATE taggerd.roots SET outside = :outside, below = :below WHERE name = :name;

-- name: rename_root
UPDATE taggerd.roots SET name = :new WHERE name = :old;

-- name: rename_outside
UPDATE taggerd.roots SET outside = :new WHERE outside = :old;

-- name: put_mount
INSERT INTO taggerd.mounts (root, host, path) VALUES (:root, :host, :path)
ON CONFLICT (root, host) DO UPDATE SET path = excluded.path;

-- name: drop_mount
DELETE FROM taggerd.mounts WHERE root = :root AND host = :host;

-- name: folders_between
SELECT id, path FROM taggerd.folders WHERE path >= :low AND path < :high;

-- name: rename_folders
UPDATE taggerd.folders AS f
SET path = CAST(:new AS bytea) || substring(f.path FROM CAST(:skip AS integer))
WHERE f.path >= :low AND f.path < :high AND NOT EXISTS (
    SELECT 1 FROM taggerd.folders AS o
    WHERE o.path = CAST(:new AS bytea) || substring(f.path FROM CAST(:skip AS integer))
);

-- name: rename_corrections
UPDATE taggerd.corrections
SET photo = CAST(:new AS bytea) || substring(photo FROM CAST(:skip AS integer))
WHERE photo >= :low AND photo < :high;

-- name: stems
SELECT DISTINCT stem FROM taggerd.files WHERE folder = :folder;

-- name: stem_photos
SELECT id, state, recorded OR state = 'quarantined' OR sidecars_written AS ahead
FROM taggerd.photos WHERE folder = :folder AND stem = :stem;

-- name: forget_stem
WITH photos AS (DELETE FROM taggerd.photos WHERE folder = :folder AND stem = :stem)
DELETE FROM taggerd.files WHERE folder = :folder AND stem = :stem;

-- name: move_files
UPDATE taggerd.files SET folder = :target WHERE folder = :folder AND stem = :stem;

-- name: move_photos
UPDATE taggerd.photos SET folder = :target WHERE folder = :folder AND stem = :stem;

-- name: sample
-- From folders chosen by chance: the newest files alone may not be seen everywhere yet.
SELECT f.path AS folder, stem, suffix, size, mtime_ns, device
FROM (
    SELECT id, path FROM taggerd.folders WHERE path >= :low AND path < :high
    ORDER BY random() LIMIT CAST(:limit AS integer)
) AS f
CROSS JOIN LATERAL (
    SELECT stem, suffix, size, mtime_ns, device FROM taggerd.files
    WHERE files.folder = f.id AND missing_since IS NULL AND host = ANY(string_to_array(:hosts, ','))
    LIMIT CAST(:limit AS integer)
) AS files
ORDER BY random() LIMIT CAST(:limit AS integer);
