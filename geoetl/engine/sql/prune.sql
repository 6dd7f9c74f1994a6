-- ended --
-- Runs that ended long ago, those after a sequence number, and whether each is the current one of its job.
SELECT r.sequence, r.id::text, j.id, j.job_type, r.state, r.id = j.current_run
FROM geoetl.run r JOIN geoetl.job j ON j.id = r.job_id
WHERE r.state IN ('completed', 'failed', 'cancelled') AND r.finished_at < now() - make_interval(secs => %(age_s)s)
  AND r.sequence > %(after)s
ORDER BY r.sequence LIMIT %(limit)s

-- count --
SELECT (SELECT count(*) FROM geoetl.task WHERE run_id = %(run_id)s), (SELECT count(*) FROM geoetl.event WHERE run_id = %(run_id)s)

-- lock_ended --
-- After lock_job. No row: it was resumed, or pruned, since it was read.
SELECT r.id = j.current_run FROM geoetl.run r JOIN geoetl.job j ON j.id = r.job_id
WHERE r.id = %(run_id)s AND r.state IN ('completed', 'failed', 'cancelled')
  AND r.finished_at < now() - make_interval(secs => %(age_s)s)
FOR UPDATE OF r

-- delete_bells --
-- Those that a relay holds right now name a task that will be gone: it drops them.
WITH free AS MATERIALIZED (
    SELECT o.id FROM geoetl.outbox o JOIN geoetl.task t ON t.id = o.ref WHERE t.run_id = %(run_id)s FOR UPDATE OF o SKIP LOCKED
)
DELETE FROM geoetl.outbox o USING free WHERE o.id = free.id

-- hold_horizon --
-- What lies behind it has been counted for the metrics, and it stays where it is until the commit.
SELECT event_id FROM geoetl.event_horizon FOR SHARE

-- delete_events --
WITH gone AS (
    DELETE FROM geoetl.event WHERE run_id = %(run_id)s RETURNING id, what
), counted AS (
    INSERT INTO geoetl.event_counted AS t (what, events)
    SELECT what, count(*) FROM gone WHERE id > %(horizon)s GROUP BY what ORDER BY what
    ON CONFLICT (what) DO UPDATE SET events = t.events + excluded.events
)
SELECT what FROM gone

-- delete_tasks --
DELETE FROM geoetl.task WHERE run_id = %(run_id)s

-- delete_templates --
DELETE FROM geoetl.template WHERE run_id = %(run_id)s

-- delete_stages --
DELETE FROM geoetl.stage WHERE run_id = %(run_id)s

-- strip_run --
UPDATE geoetl.run SET pruned_at = now() WHERE id = %(run_id)s AND pruned_at IS NULL

-- delete_run --
DELETE FROM geoetl.run WHERE id = %(run_id)s

-- delete_job --
-- With its last run.
DELETE FROM geoetl.job j WHERE j.id = %(job_id)s AND NOT EXISTS (SELECT 1 FROM geoetl.run r WHERE r.job_id = j.id)

-- count_parked --
SELECT count(*) FROM geoetl.outbox WHERE parked_at < now() - make_interval(secs => %(age_s)s)

-- delete_parked --
DELETE FROM geoetl.outbox WHERE parked_at < now() - make_interval(secs => %(age_s)s)
