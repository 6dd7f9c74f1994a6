-- return_expired --
-- Attempts whose lease ran out and that may try again, in stages that are open.
WITH expired AS MATERIALIZED (
    SELECT t.id, t.attempt FROM geoetl.task t
    JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
    WHERE t.state = 'running' AND t.lease_until < now() AND t.attempt < t.max_attempts
      AND s.state IN ('running', 'completing')
    ORDER BY t.lease_until LIMIT 500
    FOR UPDATE OF t SKIP LOCKED
), back AS (
    UPDATE geoetl.task t
    SET state = 'ready', lease_until = NULL, next_attempt_at = now(), published_at = NULL, resends = 0
    FROM expired e WHERE t.id = e.id
    RETURNING t.id, t.run_id, t.stage_no, t.idx, t.attempt, t.worker
), bell AS (
    INSERT INTO geoetl.outbox (source, ref) SELECT 'task', id FROM back RETURNING pg_notify('geoetl_outbox', '')
)
INSERT INTO geoetl.event (job_id, run_id, stage_no, task_id, idx, attempt, worker, what)
SELECT r.job_id, b.run_id, b.stage_no, b.id, b.idx, b.attempt, b.worker, 'lease expired'
FROM back b JOIN geoetl.run r ON r.id = b.run_id
RETURNING id

-- exhausted --
-- Expired attempts with none left: each is failed by `fail`, which repeats the condition (R11).
SELECT id, attempt FROM geoetl.task
WHERE state = 'running' AND lease_until < now() AND attempt >= max_attempts
ORDER BY lease_until LIMIT 100

-- stop_expired --
-- Expired attempts of closed stages.
WITH expired AS MATERIALIZED (
    SELECT t.id FROM geoetl.task t JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
    WHERE t.state = 'running' AND t.lease_until < now() AND s.state NOT IN ('running', 'completing')
    ORDER BY t.lease_until LIMIT 500 FOR UPDATE OF t SKIP LOCKED
), gone AS (
    UPDATE geoetl.task t SET state = 'cancelled', lease_until = NULL, finished_at = now()
    FROM expired e WHERE t.id = e.id
    RETURNING t.id, t.run_id, t.stage_no, t.idx, t.attempt, t.worker
)
INSERT INTO geoetl.event (job_id, run_id, stage_no, task_id, idx, attempt, worker, what)
SELECT r.job_id, g.run_id, g.stage_no, g.id, g.idx, g.attempt, g.worker, 'task stopped'
FROM gone g JOIN geoetl.run r ON r.id = g.run_id

-- skip_closed --
-- Ready tasks of closed stages (R4). Decided from the stage's row, so fenced by attempt: a resume raises it (R5, R7).
-- Locked in the order of a resume, for which it may have to wait (R14).
WITH closed AS MATERIALIZED (
    SELECT t.id, t.attempt FROM geoetl.task t JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
    WHERE t.state = 'ready' AND s.state IN ('failed', 'cancelled') LIMIT 500
), mine AS MATERIALIZED (
    SELECT t.id FROM geoetl.task t JOIN closed c ON t.id = c.id AND t.attempt = c.attempt AND t.state = 'ready'
    ORDER BY t.id FOR NO KEY UPDATE OF t
)
UPDATE geoetl.task t SET state = 'skipped', finished_at = now() FROM mine WHERE t.id = mine.id

-- backlog --
-- Queues with tasks that are ready, due, published long ago and never claimed (the wait doubles per task): how many
-- messages the broker should hold for all tasks of that queue (a running task's message stays until it is done), whether
-- somebody works or did lately, and whether a task that was sent again is still to be waited for.
WITH asked AS (
    SELECT t.queue, t.state, t.resends,
           t.state = 'running' OR coalesce(t.started_at > now() - make_interval(secs => %(resend_s)s), false) AS is_work,
           t.state = 'ready' AND coalesce(t.published_at, t.next_attempt_at)
               < now() - make_interval(secs => least(%(resend_s)s * 2 ^ least(t.resends, 12), %(resend_cap_s)s)) AS is_silent
    FROM geoetl.task t JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
    WHERE s.state IN ('running', 'completing')
      AND (t.state IN ('running', 'succeeded')
           OR (t.state = 'ready' AND t.next_attempt_at <= now() AND (t.idx >= 0 OR s.state = 'completing')
               AND NOT EXISTS (SELECT 1 FROM geoetl.outbox o WHERE o.ref = t.id AND o.parked_at IS NULL)))
)
SELECT queue, count(*) FILTER (WHERE state IN ('ready', 'running')), bool_or(is_work),
       coalesce(bool_or(NOT is_silent) FILTER (WHERE state = 'ready' AND resends > 0), false)
FROM asked GROUP BY queue HAVING count(*) FILTER (WHERE is_silent) > 0

-- resend --
-- Silent tasks of a queue, those first that were sent again before: their messages may be lost.
WITH silent AS MATERIALIZED (
    SELECT t.id FROM geoetl.task t JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
    WHERE t.state = 'ready' AND t.next_attempt_at <= now() AND t.queue = %(queue)s
      AND s.state = CASE WHEN t.idx = -1 THEN 'completing' ELSE 'running' END
      AND coalesce(t.published_at, t.next_attempt_at)
          < now() - make_interval(secs => least(%(resend_s)s * 2 ^ least(t.resends, 12), %(resend_cap_s)s))
      AND NOT EXISTS (SELECT 1 FROM geoetl.outbox o WHERE o.ref = t.id AND o.parked_at IS NULL)
    ORDER BY t.resends DESC, coalesce(t.published_at, t.next_attempt_at) LIMIT least(%(missing)s, 500)
    FOR UPDATE OF t SKIP LOCKED
), again AS (
    UPDATE geoetl.task t SET resends = t.resends + 1, published_at = now() FROM silent WHERE t.id = silent.id
    RETURNING t.id
)
INSERT INTO geoetl.outbox (source, ref) SELECT 'task', id FROM again
RETURNING pg_notify('geoetl_outbox', '')

-- overdue --
-- Runs past their deadline: each is cancelled by `cancel`, which repeats the condition.
SELECT job_id, id, deadline_s FROM geoetl.run
WHERE state IN ('queued', 'running') AND deadline < now()
ORDER BY deadline LIMIT 100
