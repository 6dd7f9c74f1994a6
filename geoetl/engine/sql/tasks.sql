-- claim --
-- Take a task that is ready and due, or whose owner's lease has run out. A callback only in a completing stage (R2).
WITH claimed AS (
    UPDATE geoetl.task t
    SET state = 'running', attempt = t.attempt + 1, worker = %(worker)s,
        lease_until = now() + make_interval(secs => %(lease_s)s), started_at = now(), finished_at = NULL
    FROM geoetl.stage s JOIN geoetl.run r ON r.id = s.run_id
    WHERE t.id = %(id)s AND s.run_id = t.run_id AND s.no = t.stage_no
      AND s.state = CASE WHEN t.idx = -1 THEN 'completing' ELSE 'running' END
      AND ((t.state = 'ready' AND t.next_attempt_at <= now()) OR (t.state = 'running' AND t.lease_until < now()))
      AND t.attempt < t.max_attempts
      AND (%(most_bytes)s::bigint IS NULL OR coalesce(t.memory_bytes, 0) <= %(most_bytes)s)
    RETURNING t.id, t.run_id, t.stage_no, t.idx, t.name, t.label, t.attempt, t.max_attempts, t.time_limit_s, t.input,
              t.memory_bytes, coalesce(t.error ->> 'code', '') AS last_error,
              coalesce((t.error ->> 'spared')::int, 0) AS spared, s.name AS stage_name, r.job_id, r.sequence, r.state
), logged AS (
    INSERT INTO geoetl.event (job_id, run_id, stage_no, task_id, idx, attempt, worker, what, data)
    SELECT job_id, run_id, stage_no, id, idx, attempt, %(worker)s, 'task started', jsonb_build_object('label', label)
    FROM claimed
)
SELECT attempt, max_attempts, run_id, stage_no, stage_name, idx, name, label, time_limit_s, input,
       job_id, sequence, state, memory_bytes, last_error, spared
FROM claimed

-- wanted --
-- The memory that a task needs which could be claimed now; no row where it could not.
SELECT t.memory_bytes
FROM geoetl.task t JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
WHERE t.id = %(id)s AND s.state = 'running' AND t.memory_bytes IS NOT NULL AND t.attempt < t.max_attempts
  AND ((t.state = 'ready' AND t.next_attempt_at <= now()) OR (t.state = 'running' AND t.lease_until < now()))

-- postpone --
-- A task cannot be begun here and now: ring again later, here or elsewhere. No attempt is spent.
WITH later AS (
    UPDATE geoetl.task
    SET next_attempt_at = now() + make_interval(secs => %(delay_s)s), published_at = NULL, resends = 0
    WHERE id = %(id)s AND state = 'ready' AND next_attempt_at <= now()
    RETURNING id, run_id, stage_no, idx, attempt, next_attempt_at
), bell AS (
    INSERT INTO geoetl.outbox (source, ref, not_before)
    SELECT 'task', id, next_attempt_at FROM later
    RETURNING pg_notify('geoetl_outbox', '')
), logged AS (
    INSERT INTO geoetl.event (job_id, run_id, stage_no, task_id, idx, attempt, worker, what, data)
    SELECT r.job_id, l.run_id, l.stage_no, l.id, l.idx, l.attempt, %(worker)s, %(what)s,
           %(why)s::jsonb || jsonb_build_object('delay_s', round(%(delay_s)s::numeric, 3))
    FROM later l JOIN geoetl.run r ON r.id = l.run_id
)
SELECT (SELECT count(*) FROM later), (SELECT count(*) FROM bell)

-- finish --
-- Record the result and lower the barrier; the last task rings for the callback. The barrier is lowered in every state
-- of the stage (R8), the bell rings only in a running one.
WITH done AS (
    UPDATE geoetl.task
    SET state = 'succeeded', result = %(result)s, error = NULL, lease_until = NULL, finished_at = clock_timestamp()
    WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s
    RETURNING id, run_id, stage_no, idx, attempt, worker, started_at, finished_at
), barrier AS (
    UPDATE geoetl.stage s
    SET remaining = s.remaining - 1,
        state = CASE WHEN s.remaining = 1 AND s.state = 'running' THEN 'completing' ELSE s.state END
    FROM done
    WHERE done.idx >= 0 AND s.run_id = done.run_id AND s.no = done.stage_no
    RETURNING s.remaining, s.state, s.callback_id
), bell AS (
    INSERT INTO geoetl.outbox (source, ref)
    SELECT 'task', callback_id FROM barrier WHERE remaining = 0 AND state = 'completing'
    RETURNING pg_notify('geoetl_outbox', '')
), logged AS (
    INSERT INTO geoetl.event (job_id, run_id, stage_no, task_id, idx, attempt, worker, what, data)
    SELECT %(job_id)s, run_id, stage_no, id, idx, attempt, worker, 'task succeeded',
           jsonb_build_object('seconds', round(extract(epoch FROM finished_at - started_at)::numeric, 3),
                              'remaining', (SELECT remaining FROM barrier)) || %(measured)s::jsonb
    FROM done
)
SELECT (SELECT count(*) FROM done), (SELECT remaining FROM barrier), (SELECT count(*) FROM bell)

-- retry --
-- Give the task back for a later attempt; its outbox row waits until then. %(more)s: attempts that it gets for that.
WITH back AS (
    UPDATE geoetl.task
    SET state = 'ready', lease_until = NULL, error = %(error)s, published_at = NULL, resends = 0,
        next_attempt_at = now() + make_interval(secs => %(delay_s)s), finished_at = clock_timestamp(),
        max_attempts = max_attempts + %(more)s
    WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s AND attempt < max_attempts + %(more)s
    RETURNING id, run_id, stage_no, idx, attempt, worker, next_attempt_at
), bell AS (
    INSERT INTO geoetl.outbox (source, ref, not_before)
    SELECT 'task', id, next_attempt_at FROM back
    RETURNING pg_notify('geoetl_outbox', '')
), logged AS (
    INSERT INTO geoetl.event (job_id, run_id, stage_no, task_id, idx, attempt, worker, what, data)
    SELECT r.job_id, b.run_id, b.stage_no, b.id, b.idx, b.attempt, b.worker, 'task retried',
           %(error)s::jsonb || jsonb_build_object('delay_s', round(%(delay_s)s::numeric, 3))
    FROM back b JOIN geoetl.run r ON r.id = b.run_id
)
SELECT (SELECT count(*) FROM back), (SELECT count(*) FROM bell)

-- cancel_attempt --
-- An attempt that was told to stop gives up its task.
WITH gone AS (
    UPDATE geoetl.task SET state = 'cancelled', lease_until = NULL, finished_at = clock_timestamp()
    WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s
    RETURNING id, run_id, stage_no, idx, attempt, worker
)
INSERT INTO geoetl.event (job_id, run_id, stage_no, task_id, idx, attempt, worker, what)
SELECT r.job_id, g.run_id, g.stage_no, g.id, g.idx, g.attempt, g.worker, 'task stopped'
FROM gone g JOIN geoetl.run r ON r.id = g.run_id
RETURNING id

-- lock_run_of_task --
-- The first statement of every transaction that may close a run (R14).
SELECT r.id FROM geoetl.run r WHERE r.id = (SELECT run_id FROM geoetl.task WHERE id = %(id)s) FOR NO KEY UPDATE

-- fail --
-- End the task, and with it its stage and its run, each only from an open state (R3). Waiting siblings are skipped;
-- running ones learn of it from their heartbeat. %(expired)s: the reaper's form repeats its condition (R11).
WITH lost AS (
    UPDATE geoetl.task
    SET state = 'failed', error = %(error)s, lease_until = NULL, finished_at = clock_timestamp()
    WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s AND (NOT %(expired)s OR lease_until < now())
    RETURNING id, run_id, stage_no, idx, attempt, worker
), closed AS (
    UPDATE geoetl.stage s SET state = 'failed', failed_task = lost.id, finished_at = clock_timestamp()
    FROM lost
    WHERE s.run_id = lost.run_id AND s.no = lost.stage_no
      AND s.state = CASE WHEN lost.idx = -1 THEN 'completing' ELSE 'running' END
    RETURNING s.run_id, s.no, s.name
), ended AS (
    UPDATE geoetl.run r SET state = 'failed', error = %(error)s, finished_at = clock_timestamp()
    FROM closed WHERE r.id = closed.run_id AND r.state IN ('queued', 'running')
    RETURNING r.id, r.job_id
), waiting AS MATERIALIZED (
    SELECT t.id FROM geoetl.task t JOIN closed ON t.run_id = closed.run_id AND t.stage_no = closed.no
    WHERE t.state = 'ready' FOR UPDATE OF t SKIP LOCKED
), skipped AS (
    UPDATE geoetl.task t SET state = 'skipped', finished_at = clock_timestamp()
    FROM waiting WHERE t.id = waiting.id
    RETURNING t.idx
), logged AS (
    INSERT INTO geoetl.event (job_id, run_id, stage_no, task_id, idx, attempt, worker, what, data)
    SELECT r.job_id, l.run_id, l.stage_no, l.id, l.idx, l.attempt, l.worker, 'task failed', %(error)s::jsonb
    FROM lost l JOIN geoetl.run r ON r.id = l.run_id
    UNION ALL
    SELECT r.job_id, c.run_id, c.no, NULL, NULL, NULL, NULL, 'stage failed',
           jsonb_build_object('stage', c.name, 'skipped', (SELECT count(*) FROM skipped WHERE idx >= 0))
    FROM closed c JOIN geoetl.run r ON r.id = c.run_id
    UNION ALL
    SELECT e.job_id, e.id, NULL, NULL, NULL, NULL, NULL, 'job failed', %(error)s::jsonb FROM ended e
)
SELECT (SELECT count(*) FROM lost), (SELECT count(*) FROM closed), (SELECT count(*) FROM ended)

-- owned_attempt --
-- What a process that died was working on.
SELECT t.attempt, t.max_attempts, r.job_id, r.id, s.name
FROM geoetl.task t
JOIN geoetl.run r ON r.id = t.run_id
JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
WHERE t.id = %(id)s AND t.state = 'running' AND t.worker = %(worker)s

-- heartbeat --
-- Extend the leases of what live processes work on, in one statement (R12). A row that somebody holds waits for the next.
WITH mine AS MATERIALIZED (
    SELECT t.id
    FROM geoetl.task t
    JOIN unnest(%(ids)s::uuid[], %(workers)s::text[]) AS live (id, worker) ON t.id = live.id AND t.worker = live.worker
    WHERE t.state = 'running'
    FOR UPDATE OF t SKIP LOCKED
)
UPDATE geoetl.task t SET lease_until = now() + make_interval(secs => %(lease_s)s)
FROM mine WHERE t.id = mine.id
RETURNING t.id, t.worker

-- report --
-- How far attempts are, in one statement for all of a worker. Fenced by attempt; of a row that somebody holds the next
-- report will do.
WITH mine AS MATERIALIZED (
    SELECT t.id, said.attempt, said.done, said.total
    FROM geoetl.task t
    JOIN unnest(%(ids)s::uuid[], %(attempts)s::int[], %(done)s::int[], %(totals)s::int[])
        AS said (id, attempt, done, total) ON t.id = said.id AND t.attempt = said.attempt
    WHERE t.state = 'running'
    FOR UPDATE OF t SKIP LOCKED
)
UPDATE geoetl.task t SET progress = ARRAY[mine.attempt, mine.done, mine.total] FROM mine WHERE t.id = mine.id

-- held --
-- Which live processes own what they work on, and which of them must stop (R11).
SELECT t.id, t.worker, t.attempt, s.state NOT IN ('running', 'completing')
FROM unnest(%(ids)s::uuid[], %(workers)s::text[]) AS live (id, worker)
JOIN geoetl.task t ON t.id = live.id AND t.worker = live.worker AND t.state = 'running'
JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no

-- expected --
-- What live processes work on, and the memory that it was expected to need.
SELECT t.id, t.worker, t.label, t.attempt, t.memory_bytes
FROM unnest(%(ids)s::uuid[], %(workers)s::text[]) AS live (id, worker)
JOIN geoetl.task t ON t.id = live.id AND t.worker = live.worker AND t.state = 'running'

-- must_stop --
-- Whether an attempt has lost its task or works for a closed stage.
SELECT NOT EXISTS (
    SELECT 1 FROM geoetl.task t JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
    WHERE t.id = %(id)s AND t.state = 'running' AND t.attempt = %(attempt)s AND s.state IN ('running', 'completing'))

-- seize --
-- An attempt that only exists to be failed; where none is left, the last one again: it owns nothing any more.
UPDATE geoetl.task
SET state = 'running', attempt = least(attempt + 1, greatest(attempt, max_attempts)), worker = 'relay', lease_until = now(), started_at = now()
WHERE id = %(id)s AND state = 'ready' RETURNING attempt

-- templates --
SELECT t.id, m.envelope, m.body, t.label, t.run_id, t.idx, s.name, r.job_id
FROM geoetl.task t
JOIN geoetl.template m ON m.id = t.template_id
JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
JOIN geoetl.run r ON r.id = t.run_id
WHERE t.id = ANY (%(ids)s) AND t.state = 'ready'

-- published --
-- Rows that someone holds right now are being claimed: the time of publishing no longer matters there.
WITH free AS MATERIALIZED (
    SELECT id FROM geoetl.task WHERE id = ANY (%(ids)s) AND state = 'ready' FOR UPDATE SKIP LOCKED
)
UPDATE geoetl.task t SET published_at = now() FROM free WHERE t.id = free.id

-- mark_running --
-- A statement of its own after the claim: a claim must not hold a task while it locks the run (R14).
UPDATE geoetl.run SET state = 'running', started_at = now() WHERE id = %(run_id)s AND state = 'queued'
