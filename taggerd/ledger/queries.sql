-- Every query by name (see queries.py). {name} stands for the text of an earlier one.

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

-- name: claimable
photos INDEXED BY photos_queued CROSS JOIN folders ON folders.id = photos.folder
WHERE photos.state = 'queued' AND photos.released_by IS NOT :run
    AND CASE WHEN :wanted THEN photos.wanted_by IS :run ELSE {in_scope} END

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
SELECT folders.path AS folder, stem, suffix, size, mtime_ns, inode, device
FROM files JOIN folders ON folders.id = files.folder WHERE files.photo = :photo;

-- name: folders_below
SELECT path FROM folders WHERE path >= :low AND path < :high ORDER BY path;

-- name: put_file
INSERT INTO files (folder, stem, suffix, size, mtime_ns, inode, device, photo)
VALUES (:folder, :stem, :suffix, :size, :mtime_ns, :inode, :device, :photo)
ON CONFLICT DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns,
    inode = excluded.inode, device = excluded.device, photo = excluded.photo, gone_since = NULL;

-- name: restamp_file
UPDATE files SET size = :size, mtime_ns = :mtime_ns, inode = :inode, device = :device
WHERE photo = :photo AND stem = :stem AND suffix = :suffix
    AND folder = (SELECT id FROM folders WHERE path = :folder)
    AND photo IN (SELECT id FROM photos WHERE id = :photo AND token = :token);

-- name: restamp_known
UPDATE files SET size = :size, mtime_ns = :mtime_ns, inode = :inode, device = :device
WHERE stem = :stem AND suffix = :suffix
    AND folder = (SELECT id FROM folders WHERE path = :folder);

-- name: gone_files
SELECT folders.path AS folder, stem, suffix, gone_since
FROM files INDEXED BY files_gone CROSS JOIN folders ON folders.id = files.folder
WHERE gone_since IS NOT NULL AND folders.path >= :low AND folders.path < :high;

-- name: set_gone
UPDATE files SET gone_since = :gone_since
WHERE folder = (SELECT id FROM folders WHERE path = :folder) AND stem = :stem AND suffix = :suffix;

-- name: forget_file
DELETE FROM files WHERE folder = :folder AND stem = :stem AND suffix = :suffix;

-- name: file_standing
SELECT size, mtime_ns, inode, device, state, retryable, sidecars_written, recorded, reason, since
FROM folders
CROSS JOIN files ON files.folder = folders.id AND stem = :stem AND suffix = :suffix
CROSS JOIN photos ON photos.id = files.photo
WHERE folders.path = :folder;

-- ── Photos enter the queue ───────────────────────────────────────────────────────────────────────

-- name: new_photo
INSERT INTO photos (folder, state, since, settled_at, anew_since)
VALUES (:folder, 'queued', :now, :now, :anew_since);

-- name: photo
SELECT state, retryable, recorded, sidecars_written, anew_since FROM photos WHERE id = :photo;

-- name: queue
UPDATE photos SET
    state = 'queued', since = :now, settled_at = :now, not_before = 0, released_by = NULL,
    attempts = 0, deaths = 0, reason = '', retryable = 0,
    changed = max(changed, :changed),
    anew_since = CASE WHEN :changed THEN :anew_since ELSE coalesce(anew_since, :anew_since) END
WHERE id = :photo AND state <> 'claimed';

-- name: queue_after_claim
UPDATE photos SET
    again = max(again, 1 + :changed), anew_since = coalesce(anew_since, :anew_since)
WHERE id = :photo AND state = 'claimed';

-- name: mark_wanted
UPDATE photos SET wanted_by = :run, wanted_owner = :owner WHERE id = :photo;

-- name: mark_anew
UPDATE photos SET anew_since = coalesce(anew_since, :anew_since) WHERE id = :photo;

-- name: drop_fileless_photo
DELETE FROM photos
WHERE id = :photo AND state <> 'claimed' AND NOT EXISTS (SELECT 1 FROM files WHERE photo = :photo);

-- name: drop_sidecars
DELETE FROM sidecars WHERE photo = :photo;

-- ── Claims ───────────────────────────────────────────────────────────────────────────────────────

-- name: candidate_columns
SELECT photos.id, attempts, deaths, reason, digest, recorded, changed, anew_since

-- name: is_due
-- What was put back at a time that has yet to come was put back before the clock was set back; a
-- minute's grace, because programs that share a queue read the clock one after the other.
(not_before <= :now OR since > :now + 60)

-- name: newest
{candidate_columns} FROM {claimable} AND {is_due}
ORDER BY settled_at DESC, photos.id DESC LIMIT :limit;

-- name: oldest
{candidate_columns} FROM {claimable} AND {is_due}
ORDER BY settled_at, photos.id LIMIT :limit;

-- name: give_up
UPDATE photos SET state = 'quarantined', since = :now, reason = :reason WHERE id = :photo;

-- name: claim
UPDATE photos SET
    state = 'claimed', since = :now, attempts = attempts + 1, survived = 0,
    owner = :owner, token = :token
WHERE id = :photo;

-- name: survived
UPDATE photos SET survived = 1, deaths = 0 WHERE id = :photo AND token = :token;

-- name: finish
UPDATE photos SET
    state = CASE again WHEN 0 THEN 'recorded' ELSE 'queued' END,
    since = :now, settled_at = CASE again WHEN 0 THEN settled_at ELSE :now END,
    not_before = 0, released_by = NULL, attempts = 0, deaths = 0, reason = '',
    digest = :digest, recorded = 1, changed = again = 2, sidecars_written = :sidecars_written,
    anew_since = CASE WHEN anew_since IS :anew_since THEN NULL ELSE anew_since END,
    again = 0, owner = NULL, token = NULL
WHERE id = :photo AND token = :token;

-- name: put_back
UPDATE photos SET
    state = 'queued', since = :now,
    not_before = CASE again WHEN 0 THEN :not_before ELSE 0 END,
    released_by = CASE again WHEN 0 THEN coalesce(:released_by, released_by) END,
    attempts = CASE again WHEN 0 THEN attempts - :uncharged ELSE 0 END,
    deaths = CASE again WHEN 0 THEN deaths + :died ELSE 0 END,
    reason = CASE again WHEN 0 THEN coalesce(:reason, reason) ELSE '' END,
    changed = max(changed, again = 2), again = 0, owner = NULL, token = NULL
WHERE id = :photo AND token = :token;

-- name: as_it_was
UPDATE photos SET state = 'recorded', anew_since = NULL
WHERE id = :photo AND state = 'queued' AND recorded AND NOT changed
    AND (sidecars_written OR recorded = 2);

-- name: no_longer_wanted
UPDATE photos SET
    state = CASE
        WHEN state = 'queued' AND anew_since IS NOT NULL AND recorded AND NOT changed
            AND (sidecars_written OR recorded = 2) THEN 'recorded' ELSE state END,
    anew_since = CASE WHEN state = 'claimed' THEN anew_since END,
    wanted_by = NULL, wanted_owner = NULL
WHERE wanted_owner = :owner;

-- name: quarantine
UPDATE photos SET
    state = 'quarantined', since = :now, reason = :reason, retryable = :retryable,
    owner = NULL, token = NULL
WHERE id = :photo AND token = :token AND again = 0
    AND (:final OR attempts >= :max_attempts);

-- name: changed_while_claimed
SELECT again > 0 AS again FROM photos WHERE id = :photo AND token = :token;

-- name: claims_of
SELECT id, token, survived FROM photos WHERE state = 'claimed' AND owner = :owner;

-- name: owners
SELECT owner FROM photos WHERE state = 'claimed'
UNION SELECT owner FROM outbox WHERE owner IS NOT NULL;

-- ── Answers and sidecars ─────────────────────────────────────────────────────────────────────────

-- name: answers
SELECT role, questions.question, at, answer
FROM answers JOIN questions ON questions.id = answers.question
WHERE digest = :digest ORDER BY at, answers.question;

-- name: put_question
INSERT INTO questions (role, question) VALUES (:role, :question) ON CONFLICT DO NOTHING;

-- name: put_answer
INSERT INTO answers (digest, question, at, answer)
SELECT :digest, id, :at, :answer FROM questions WHERE role = :role AND question = :question
ON CONFLICT DO UPDATE SET at = excluded.at, answer = excluded.answer;

-- name: sidecars
SELECT name, digest FROM sidecars WHERE photo = :photo;

-- name: undone
UPDATE photos SET sidecars_written = 0, recorded = 2, since = :now
WHERE state = 'recorded' AND sidecars_written AND id = (
    SELECT photo FROM folders
    JOIN files ON files.folder = folders.id AND stem = :stem AND suffix = :suffix
    WHERE folders.path = :folder
);

-- name: undone_within
SELECT photos.id
FROM photos INDEXED BY photos_unwritten CROSS JOIN folders ON folders.id = photos.folder
WHERE state = 'recorded' AND sidecars_written = 0 AND recorded = 2 AND {in_scope};

-- name: written
UPDATE photos SET recorded = recorded AND digest IS :digest, digest = :digest, changed = 0
WHERE id = :photo AND token = :token;

-- name: put_sidecar
INSERT INTO sidecars (photo, name, digest)
SELECT :photo, :name, :digest FROM photos WHERE id = :photo AND token = :token
ON CONFLICT DO UPDATE SET digest = excluded.digest;

-- ── The outbox ───────────────────────────────────────────────────────────────────────────────────

-- name: send
INSERT INTO outbox (record, day, line, stream) VALUES (:record, :day, :line, :stream)
ON CONFLICT DO NOTHING;

-- name: undelivered
SELECT id, record, day, line, stream, owner FROM outbox
WHERE stream = :stream AND (owner IS NULL OR owner = :owner) ORDER BY id LIMIT :limit;

-- name: lend
UPDATE outbox SET owner = :owner WHERE id = :id;

-- name: take_back_lent
UPDATE outbox SET owner = NULL WHERE owner = :owner;

-- name: delivered
DELETE FROM outbox WHERE record = :record;

-- ── How things stand ─────────────────────────────────────────────────────────────────────────────

-- name: count_all
SELECT
    (SELECT count(*) FROM photos) AS photos,
    (SELECT count(*) FROM photos WHERE state = 'queued') AS queued,
    (SELECT count(*) FROM photos WHERE state = 'claimed') AS claimed,
    (SELECT count(*) FROM photos WHERE state = 'quarantined') AS quarantined,
    (SELECT count(*) FROM photos WHERE state = 'recorded' AND sidecars_written = 0) AS unwritten;

-- name: count_within
SELECT
    count(*) AS photos,
    coalesce(sum(state = 'queued'), 0) AS queued,
    coalesce(sum(state = 'claimed'), 0) AS claimed,
    coalesce(sum(state = 'quarantined'), 0) AS quarantined,
    coalesce(sum(state = 'recorded' AND sidecars_written = 0), 0) AS unwritten
FROM photos CROSS JOIN folders ON folders.id = photos.folder WHERE {in_scope};

-- name: quarantined
SELECT photos.id, reason, since
FROM photos INDEXED BY photos_quarantined CROSS JOIN folders ON folders.id = photos.folder
WHERE photos.state = 'quarantined' AND {in_scope}
ORDER BY since DESC, photos.id DESC LIMIT :limit;

-- name: next_due
SELECT min(not_before) AS due FROM {claimable};

-- name: quiet
SELECT NOT EXISTS (SELECT 1 FROM {claimable})
    AND NOT EXISTS (SELECT 1 FROM photos WHERE state = 'claimed' AND owner = :owner) AS quiet;

-- ── Notes ────────────────────────────────────────────────────────────────────────────────────────

-- name: note
INSERT INTO notes (key, value) VALUES (:key, :value)
ON CONFLICT DO UPDATE SET value = excluded.value;

-- name: recall
SELECT value FROM notes WHERE key = :key;
