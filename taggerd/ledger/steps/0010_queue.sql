-- Slow photos, and those that were deferred: few among the queued ones, and asked for at every claim.
CREATE INDEX photos_slow ON photos (queued_at) WHERE state = 'queued' AND slow = 1;

CREATE INDEX photos_deferred ON photos (not_before) WHERE state = 'queued' AND not_before > 0;
