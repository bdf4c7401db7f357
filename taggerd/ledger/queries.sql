-- Every query by name (see database.py). {name} stands for the text of an earlier one.

-- ── Which photos are meant ───────────────────────────────────────────────────────────────────────

-- name: scope
CREATE TEMP TABLE scope (
    low BLOB NOT NULL, high BLOB NOT NULL,                       -- the folders at and below a path
    parent BLOB NOT NULL, stem BLOB NOT NULL, suffix BLOB NOT NULL   -- the same path as a file
);

-- name: clear_scope
DELETE FROM temp.scope;

-- name: add_scope
INSERT INTO temp.scope VALUES (:low, :high, :parent, :stem, :suffix);

-- name: in_scope
(
    EXISTS (SELECT 1 FROM temp.scope WHERE folders.path >= low AND folders.path < high)
    OR photos.id IN (
        SELECT f.photo
        FROM temp.scope AS s
        CROSS JOIN folders AS d ON d.path = s.parent
        CROSS JOIN files AS f ON f.folder = d.id AND f.stem = s.stem AND f.suffix = s.suffix
    )
)

-- name: in_run
photos.released_by IS NOT :run
    AND CASE WHEN :requested
        THEN EXISTS (SELECT 1 FROM requests AS r WHERE r.photo = photos.id AND r.run = :run)
        ELSE {in_scope} END

-- name: claimable
photos INDEXED BY photos_queued CROSS JOIN folders ON folders.id = photos.folder
WHERE photos.state = 'queued' AND not_before = 0
    AND (:slow IS NULL OR photos.slow = :slow) AND {in_run}

-- name: claimable_later
photos INDEXED BY photos_deferred CROSS JOIN folders ON folders.id = photos.folder
WHERE photos.state = 'queued' AND not_before > 0
    AND (:slow IS NULL OR photos.slow = :slow) AND {in_run}

-- name: held
EXISTS (SELECT 1 FROM claims WHERE claims.photo = :photo AND claims.token = :token)

-- name: holds
SELECT 1 FROM claims WHERE photo = :photo AND token = :token;

-- name: awaits
-- Somebody has to accept what was answered.
EXISTS (SELECT 1 FROM held WHERE held.photo = photos.id AND held.accepted = 0)

-- ── Files come and go ────────────────────────────────────────────────────────────────────────────

-- name: folder
SELECT id FROM folders WHERE path = :path;

-- name: new_folder
INSERT INTO folders (path) VALUES (:path);

-- name: drop_empty_folder
DELETE FROM folders WHERE id = :folder AND NOT EXISTS (SELECT 1 FROM files WHERE folder = :folder);

-- name: stem_files
SELECT stem, suffix, size, mtime_ns, inode, device, photo
FROM files WHERE folder = :folder AND stem = :stem;

-- name: folder_files
SELECT stem, suffix, size, mtime_ns, inode, device
FROM folders CROSS JOIN files ON files.folder = folders.id WHERE folders.path = :path;

-- name: file_stamp
SELECT size, mtime_ns, inode, device FROM folders CROSS JOIN files ON files.folder = folders.id
WHERE folders.path = :folder AND stem = :stem AND suffix = :suffix;

-- name: folder_stamps
SELECT CAST(stem || suffix AS BLOB), size, mtime_ns, inode, device
FROM folders CROSS JOIN files ON files.folder = folders.id WHERE folders.path = :path;

-- name: photo_files
SELECT folders.path AS folder, files.stem, suffix, size, mtime_ns, inode, device
FROM photos
CROSS JOIN folders ON folders.id = photos.folder
CROSS JOIN files ON files.folder = photos.folder AND files.stem = photos.stem
WHERE photos.id = :photo AND files.photo = :photo;

-- name: folders_below
SELECT path FROM folders WHERE path >= :low AND path < :high ORDER BY path;

-- name: put_file
INSERT INTO files (folder, stem, suffix, size, mtime_ns, inode, device, photo)
VALUES (:folder, :stem, :suffix, :size, :mtime_ns, :inode, :device, :photo)
ON CONFLICT DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns,
    inode = excluded.inode, device = excluded.device, photo = excluded.photo, missing_since = NULL;

-- name: replace_stamp
UPDATE files SET size = :size, mtime_ns = :mtime_ns, inode = :inode, device = :device
WHERE stem = :stem AND suffix = :suffix
    AND folder = (SELECT id FROM folders WHERE path = :folder);

-- name: missing_files
SELECT folders.path AS folder, stem, suffix, missing_since
FROM files INDEXED BY files_missing CROSS JOIN folders ON folders.id = files.folder
WHERE missing_since IS NOT NULL AND folders.path >= :low AND folders.path < :high;

-- name: set_missing
UPDATE files SET missing_since = :missing_since
WHERE folder = (SELECT id FROM folders WHERE path = :folder) AND stem = :stem AND suffix = :suffix;

-- name: forget_file
DELETE FROM files WHERE folder = :folder AND stem = :stem AND suffix = :suffix;

-- name: relocate_photo
UPDATE photos SET folder = :folder, stem = :stem WHERE id = :photo;

-- name: file_state
SELECT size, mtime_ns, inode, device,
    state, sidecars_failed, sidecars_written, undone, reason, since, asked_as,
    {awaits} AS held
FROM folders
CROSS JOIN files ON files.folder = folders.id AND files.stem = :stem AND suffix = :suffix
CROSS JOIN photos ON photos.id = files.photo
WHERE folders.path = :folder;

-- name: photo_state
photos.id AS id, folders.path AS folder, files.stem AS stem, suffix, size, mtime_ns, inode, device,
    state, sidecars_failed, sidecars_written, undone, reason, since, asked_as,
    {awaits} AS held,
    (SELECT digest FROM contents WHERE contents.id = content) AS digest
FROM photos
CROSS JOIN folders ON folders.id = photos.folder
CROSS JOIN files ON files.folder = photos.folder AND files.stem = photos.stem
    AND files.photo = photos.id

-- name: states_after
SELECT {photo_state}
WHERE photos.id IN (SELECT id FROM photos WHERE id > :after ORDER BY id LIMIT :limit)
ORDER BY photos.id;

-- name: states_unfinished
SELECT {photo_state}
WHERE photos.id IN (
    SELECT id FROM photos INDEXED BY photos_queued WHERE state = 'queued'
    UNION SELECT photo FROM claims
    UNION SELECT id FROM photos INDEXED BY photos_quarantined WHERE state = 'quarantined'
    UNION SELECT id FROM photos INDEXED BY photos_unwritten
        WHERE state = 'recorded' AND sidecars_written = 0
)
ORDER BY photos.id;

-- name: states_of
SELECT {photo_state}
WHERE photos.id = (
    SELECT f.photo FROM folders AS d
    CROSS JOIN files AS f ON f.folder = d.id AND f.stem = :stem AND f.suffix = :suffix
    WHERE d.path = :folder
);

-- ── Photos enter the queue ───────────────────────────────────────────────────────────────────────

-- name: new_photo
INSERT INTO photos (folder, stem, state, since, queued_at, asked_again_since)
VALUES (:folder, :stem, 'queued', :now, :now, :asked_again_since);

-- name: photo
SELECT state, sidecars_failed, undone, sidecars_written, asked_again_since,
    {awaits} AS held
FROM photos WHERE id = :photo;

-- name: queue
UPDATE photos SET
    state = 'queued', since = :now, queued_at = :now, not_before = 0, released_by = NULL,
    attempts = 0, crashes = 0, reason = '', sidecars_failed = 0,
    changed = max(changed, :changed), slow = slow AND NOT :changed,
    asked_again_since = CASE
        WHEN :changed THEN :asked_again_since
        ELSE coalesce(asked_again_since, :asked_again_since) END
WHERE id = :photo AND state <> 'claimed';

-- name: queue_after_claim
UPDATE photos SET
    requeue = max(requeue, 1 + :changed),
    asked_again_since = coalesce(asked_again_since, :asked_again_since)
WHERE id = :photo AND state = 'claimed';

-- name: request
INSERT INTO requests (photo, run, owner) VALUES (:photo, :run, :owner)
ON CONFLICT DO UPDATE SET run = excluded.run, owner = excluded.owner;

-- name: ask_again
UPDATE photos SET asked_again_since = coalesce(asked_again_since, :asked_again_since)
WHERE id = :photo;

-- name: drop_fileless_photo
DELETE FROM photos
WHERE id = :photo AND state <> 'claimed' AND NOT EXISTS (
    SELECT 1 FROM files
    WHERE files.folder = photos.folder AND files.stem = photos.stem AND files.photo = :photo
);

-- ── Claims ───────────────────────────────────────────────────────────────────────────────────────

-- name: candidate_columns
SELECT photos.id, stem, attempts, crashes, reason, recorded, changed, asked_again_since, sidecars,
    slow,
    (SELECT digest FROM contents WHERE contents.id = content) AS digest,
    (SELECT answers FROM held WHERE held.photo = photos.id AND accepted) AS accepted

-- name: is_due
-- What was put back at a time that has yet to come was put back before the clock was set back; a
-- minute's grace, because programs that share a queue read the clock one after the other.
(not_before <= :now OR since > :now + 60)

-- name: newest
{candidate_columns} FROM {claimable} AND {is_due}
ORDER BY queued_at DESC, photos.id DESC LIMIT :limit;

-- name: oldest
{candidate_columns} FROM {claimable} AND {is_due}
ORDER BY queued_at, photos.id LIMIT :limit;

-- name: deferred
-- The longest due comes first: in the order of the queue the same few, which upset the backend every time,
-- would be claimed again before any other.
{candidate_columns} FROM {claimable_later} AND {is_due}
ORDER BY not_before, photos.id LIMIT :limit;

-- name: slow
-- They are few, and looked for at every claim: in the queue's index that would read all of it.
{candidate_columns} FROM photos INDEXED BY photos_slow
CROSS JOIN folders ON folders.id = photos.folder
WHERE photos.state = 'queued' AND photos.slow = 1 AND {in_run} AND {is_due}
ORDER BY not_before, iif(:newest, -queued_at, queued_at), iif(:newest, -photos.id, photos.id)
LIMIT :limit;

-- name: claim
UPDATE photos SET
    state = 'claimed', since = :now, attempts = attempts + 1
WHERE id = :photo;

-- name: new_claim
INSERT INTO claims (photo, owner, token, decoded) VALUES (:photo, :owner, :token, :decoded);

-- name: decoded
UPDATE claims SET decoded = 1 WHERE photo = :photo AND token = :token;

-- name: no_crashes
UPDATE photos SET crashes = 0 WHERE id = :photo AND crashes > 0 AND {held};

-- name: finish
UPDATE photos SET
    state = CASE requeue WHEN 0 THEN 'recorded' ELSE 'queued' END,
    since = :now, queued_at = CASE requeue WHEN 0 THEN queued_at ELSE :now END,
    not_before = 0, released_by = NULL, attempts = 0, crashes = 0, reason = '',
    content = :content, recorded = 1, changed = requeue = 2, slow = slow AND requeue < 2,
    -- Held: the sidecars still hold what they held before.
    sidecars_written = CASE
        WHEN :held THEN sidecars_written AND recorded AND content IS :content
        ELSE :sidecars_written END,
    undone = 0,
    asked_again_since = CASE
        WHEN asked_again_since IS :asked_again_since THEN NULL ELSE asked_again_since END,
    requeue = 0
WHERE id = :photo AND {held};

-- name: put_back
UPDATE photos SET
    state = 'queued', since = :now,
    not_before = CASE requeue WHEN 0 THEN :not_before ELSE 0 END,
    released_by = CASE requeue WHEN 0 THEN coalesce(:released_by, released_by) END,
    attempts = CASE requeue WHEN 0 THEN attempts - :uncharged ELSE 0 END,
    crashes = CASE requeue WHEN 0 THEN crashes + :crashed ELSE 0 END,
    reason = CASE requeue WHEN 0 THEN coalesce(:reason, reason) ELSE '' END,
    changed = max(changed, requeue = 2), slow = slow AND requeue < 2, requeue = 0
WHERE id = :photo AND {held};

-- name: end_requests
UPDATE photos SET
    state = CASE
        WHEN state = 'queued' AND asked_again_since IS NOT NULL AND recorded AND NOT changed
            AND (sidecars_written OR undone OR {awaits}) THEN 'recorded' ELSE state END,
    asked_again_since = CASE WHEN state = 'claimed' THEN asked_again_since END
WHERE id IN (SELECT photo FROM requests WHERE owner = :owner);

-- name: drop_requests
DELETE FROM requests WHERE owner = :owner;

-- name: quarantine
UPDATE photos SET
    state = 'quarantined', since = :now, reason = :reason, sidecars_failed = :sidecars_failed,
    asked_as = :asked_as
WHERE id = :photo AND {held} AND requeue = 0
    AND (:final OR attempts >= CASE WHEN slow THEN :slow_attempts ELSE :max_attempts END);

-- name: is_slow
UPDATE photos SET slow = 1 WHERE id = :photo AND {held};

-- name: changed_while_claimed
SELECT requeue > 0 AS changed FROM photos WHERE id = :photo AND {held};

-- name: claims_of
SELECT photo, token, decoded FROM claims WHERE owner = :owner;

-- name: owners
SELECT owner FROM claims
UNION SELECT owner FROM requests
UNION SELECT owner FROM outbox WHERE owner IS NOT NULL;

-- ── Answers and sidecars ─────────────────────────────────────────────────────────────────────────

-- name: content
SELECT id FROM contents WHERE digest = :digest;

-- name: new_content
INSERT INTO contents (digest) VALUES (:digest);

-- name: answers
SELECT role, question, at, answer
FROM contents CROSS JOIN answers ON answers.content = contents.id
WHERE digest = :digest ORDER BY at, role, question;

-- name: put_answer
INSERT INTO answers (content, role, question, at, answer)
VALUES (:content, :role, :question, :at, :answer)
ON CONFLICT DO UPDATE SET at = excluded.at, answer = excluded.answer;

-- name: sidecars
SELECT sidecars FROM photos WHERE id = :photo AND {held};

-- name: written
UPDATE photos SET
    recorded = recorded AND content IS :content, content = :content, changed = 0,
    sidecars = :sidecars, undone = 0
WHERE id = :photo AND {held};

-- name: mark_undone
UPDATE photos SET sidecars_written = 0, undone = 1, since = :now
WHERE state = 'recorded' AND sidecars_written AND id = (
    SELECT photo FROM folders
    JOIN files ON files.folder = folders.id AND files.stem = :stem AND suffix = :suffix
    WHERE folders.path = :folder
);

-- name: undone_within
SELECT photos.id
FROM photos INDEXED BY photos_unwritten CROSS JOIN folders ON folders.id = photos.folder
WHERE state = 'recorded' AND sidecars_written = 0 AND undone AND NOT {awaits} AND {in_scope};

-- ── Held answers ─────────────────────────────────────────────────────────────────────────────────

-- name: let_go
DELETE FROM held WHERE photo = :photo;

-- name: hold
INSERT INTO held (photo, since, answers)
SELECT id, :now, :answers FROM photos WHERE id = :photo AND NOT changed;

-- name: held_within
SELECT photos.id, held.since, held.answers
FROM held CROSS JOIN photos ON photos.id = held.photo
CROSS JOIN folders ON folders.id = photos.folder
WHERE held.since <= :before AND {in_scope} AND CASE accepted
    WHEN 0 THEN photos.state = 'recorded'
    ELSE photos.asked_again_since IS NULL
        AND (:queued AND photos.state = 'queued' OR :claimed AND photos.state = 'claimed') END
ORDER BY held.since, photos.id LIMIT :limit;

-- name: accept
UPDATE held SET accepted = 1 WHERE photo = :photo;

-- name: drop_held
UPDATE photos SET undone = CASE WHEN sidecars_written THEN undone ELSE 2 END, since = :now
WHERE id = :photo;

-- ── The outbox ───────────────────────────────────────────────────────────────────────────────────

-- name: send
INSERT INTO outbox (record, day, line, stream) VALUES (:record, :day, :line, :stream)
ON CONFLICT DO NOTHING;

-- name: undelivered
SELECT record, day, line, stream FROM outbox
WHERE stream = :stream AND (owner IS NULL OR owner = :owner) ORDER BY id LIMIT :limit;

-- name: all_delivered
SELECT NOT EXISTS (SELECT 1 FROM outbox WHERE stream = '') AS so;

-- name: lend
UPDATE outbox SET owner = :owner WHERE record = :record;

-- name: end_lending
UPDATE outbox SET owner = NULL WHERE owner = :owner;

-- name: delivered
DELETE FROM outbox WHERE record = :record;

-- ── Notices for hooks ────────────────────────────────────────────────────────────────────────────

-- name: keep_notice
INSERT INTO notices (notice, hook, at, body) VALUES (:notice, :hook, :at, :body)
ON CONFLICT DO NOTHING;

-- name: notice_done
DELETE FROM notices WHERE hook = :hook AND notice = :notice;

-- name: notices
SELECT notice, hook, at, body, attempts FROM notices
WHERE hook = :hook AND (not_before <= :now OR at > :now + 60) ORDER BY id LIMIT :limit;

-- name: notices_due
SELECT min(not_before) AS due FROM notices WHERE hook = :hook;

-- name: defer_notice
UPDATE notices SET attempts = attempts + 1, not_before = :until
WHERE hook = :hook AND notice = :notice;

-- name: drop_notices
DELETE FROM notices WHERE hook = :hook AND (
    at < :before
    OR id <= (SELECT id FROM notices WHERE hook = :hook ORDER BY id DESC LIMIT 1 OFFSET :keep)
);

-- ── The queue as a whole ─────────────────────────────────────────────────────────────────────────

-- name: count_all
SELECT
    (SELECT count(*) FROM photos) AS photos,
    (SELECT count(*) FROM photos WHERE state = 'queued') AS queued,
    (SELECT count(*) FROM claims) AS claimed,
    (SELECT count(*) FROM photos WHERE state = 'quarantined') AS quarantined,
    (SELECT count(*) FROM photos
        WHERE state = 'recorded' AND sidecars_written = 0 AND NOT {awaits}) AS unwritten,
    (SELECT count(*) FROM held CROSS JOIN photos ON photos.id = held.photo
        WHERE accepted = 0 AND photos.state = 'recorded') AS held;

-- name: oldest_queued
SELECT min(queued_at) AS at FROM photos INDEXED BY photos_queued WHERE state = 'queued';

-- name: count_within
SELECT
    count(*) AS photos,
    coalesce(sum(state = 'queued'), 0) AS queued,
    coalesce(sum(state = 'claimed'), 0) AS claimed,
    coalesce(sum(state = 'quarantined'), 0) AS quarantined,
    coalesce(sum(state = 'recorded' AND sidecars_written = 0 AND NOT {awaits}), 0) AS unwritten,
    coalesce(sum(state = 'recorded' AND {awaits}), 0) AS held
FROM photos CROSS JOIN folders ON folders.id = photos.folder WHERE {in_scope};

-- name: quarantined
SELECT photos.id, reason, since
FROM photos INDEXED BY photos_quarantined CROSS JOIN folders ON folders.id = photos.folder
WHERE photos.state = 'quarantined' AND {in_scope}
ORDER BY since DESC, photos.id DESC LIMIT :limit;

-- name: failed_over_others
SELECT photos.id
FROM photos INDEXED BY photos_quarantined CROSS JOIN folders ON folders.id = photos.folder
WHERE photos.state = 'quarantined' AND asked_as NOT IN ('', :asked_as) AND {in_scope};

-- name: failed
SELECT photos.id FROM photos CROSS JOIN folders ON folders.id = photos.folder
WHERE (photos.state = 'quarantined'
    OR photos.state = 'recorded' AND photos.sidecars_written = 0 AND NOT photos.undone
        AND NOT {awaits}
    OR photos.state = 'queued' AND (photos.not_before > 0 OR photos.reason <> '')) AND {in_scope};

-- name: pause
INSERT INTO pause (id, reason, since, until) VALUES (1, :reason, :since, :until);

-- name: resume
DELETE FROM pause;

-- name: paused
SELECT reason, since, until FROM pause WHERE until IS NULL OR until > :now;

-- name: waiting
SELECT coalesce(
        (SELECT not_before FROM {claimable} LIMIT 1), (SELECT min(not_before) FROM {claimable_later})
    ) AS due,
    EXISTS (SELECT 1 FROM claims WHERE owner = :owner) AS claimed;

-- ── Notes ────────────────────────────────────────────────────────────────────────────────────────

-- name: note
INSERT INTO notes (key, value) VALUES (:key, :value)
ON CONFLICT DO UPDATE SET value = excluded.value;

-- name: recall
SELECT value FROM notes WHERE key = :key;

-- ── What people did ──────────────────────────────────────────────────────────────────────────────

-- name: correct
INSERT INTO corrections (action, at, photo, kind, field, before, after, model, who, undo)
VALUES (:action, :at, :photo, :kind, :field, :before, :after, :model, :who, :undo);

-- name: corrections
SELECT * FROM corrections
WHERE id > :after AND (:kind IS NULL OR kind = :kind) AND (:undone OR undone_at IS NULL)
ORDER BY id LIMIT :limit;

-- name: corrections_of
SELECT * FROM corrections WHERE photo = :photo ORDER BY at, id;

-- name: corrections_of_action
SELECT id FROM corrections WHERE action = :action AND undone_at IS NULL ORDER BY id;

-- name: undo_correction
UPDATE corrections SET undone_at = :now, id = (SELECT max(id) + 1 FROM corrections)
WHERE id = :id;

-- name: move_corrections
UPDATE corrections SET photo = :new WHERE photo = :old;

-- ── Spending ─────────────────────────────────────────────────────────────────────────────────────

-- name: spend
INSERT INTO spending (day, model, requests, prompt_tokens, completion_tokens)
VALUES (:day, :model, :requests, :prompt_tokens, :completion_tokens)
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens;

-- name: spent
SELECT model, requests, prompt_tokens, completion_tokens FROM spending WHERE day = :day;
