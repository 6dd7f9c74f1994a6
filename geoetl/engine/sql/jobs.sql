-- add_job --
INSERT INTO geoetl.job (id, job_type, definition_version, spec, facts, submitted_by)
VALUES (%(id)s, %(job_type)s, %(version)s, %(spec)s, %(facts)s, %(submitted_by)s)
ON CONFLICT (id) DO NOTHING

-- lock_job --
-- Two submits, or a submit and a cancel, of the same job meet here. Nothing is read from other rows by the statement that
-- waits: they would be those of its snapshot, from before the wait.
SELECT id FROM geoetl.job WHERE id = %(job_id)s FOR NO KEY UPDATE

-- current_run --
-- After lock_job.
SELECT r.id, r.no, r.state FROM geoetl.job j JOIN geoetl.run r ON r.id = j.current_run WHERE j.id = %(job_id)s

-- add_run --
WITH made AS (
    INSERT INTO geoetl.run (id, job_id, no, stage_count, deadline_s, deadline)
    SELECT %(run_id)s, %(job_id)s, coalesce(max(no), 0) + 1, %(stage_count)s,
           %(deadline_s)s::float8, now() + make_interval(secs => %(deadline_s)s::float8)
    FROM geoetl.run WHERE job_id = %(job_id)s
    RETURNING no
), pointed AS (
    UPDATE geoetl.job SET current_run = %(run_id)s, facts = %(facts)s WHERE id = %(job_id)s
), logged AS (
    INSERT INTO geoetl.event (job_id, run_id, what, data)
    SELECT %(job_id)s, %(run_id)s, 'job submitted', jsonb_strip_nulls(jsonb_build_object(
        'run', no, 'by', %(submitted_by)s::text, 'deadline_s', %(deadline_s)s::float8)) FROM made
)
SELECT no FROM made

-- add_stage --
-- Under the primary key, never an upsert: a stage starts once (R1).
INSERT INTO geoetl.stage (run_id, no, name, state, size, remaining, callback_id)
VALUES (%(run_id)s, %(no)s, %(name)s, CASE WHEN %(size)s::int = 0 THEN 'completing' ELSE 'running' END,
        %(size)s, %(size)s, %(callback_id)s)

-- enter_stage --
WITH entered AS (
    UPDATE geoetl.run SET cur_stage = %(no)s WHERE id = %(run_id)s RETURNING job_id
)
INSERT INTO geoetl.event (job_id, run_id, stage_no, what, data)
SELECT job_id, %(run_id)s, %(no)s, 'stage started', jsonb_build_object('stage', %(name)s::text, 'tasks', %(size)s::int)
FROM entered

-- add_template --
INSERT INTO geoetl.template (run_id, envelope, body) VALUES (%(run_id)s, %(envelope)s, %(body)s) RETURNING id

-- copy_tasks --
COPY geoetl.task (id, run_id, stage_no, idx, name, label, queue, reason, memory_bytes, time_limit_s, template_id, input,
                  max_attempts)
FROM STDIN (FORMAT BINARY)

-- ring_stage --
-- The tasks of a stage, or its callback where it has none.
INSERT INTO geoetl.outbox (source, ref)
SELECT 'task', id FROM geoetl.task
WHERE run_id = %(run_id)s AND stage_no = %(no)s AND (idx >= 0 OR %(size)s::int = 0)
ORDER BY idx

-- lock_run --
-- First statement of a callback's finishing transaction (R1).
SELECT r.cur_stage, s.state
FROM geoetl.run r JOIN geoetl.stage s ON s.run_id = r.id AND s.no = r.cur_stage
WHERE r.id = %(run_id)s AND r.state IN ('queued', 'running')
FOR NO KEY UPDATE OF r

-- complete_stage --
WITH closed AS (
    UPDATE geoetl.stage SET state = 'completed', finished_at = clock_timestamp()
    WHERE run_id = %(run_id)s AND no = %(no)s AND state = 'completing'
    RETURNING run_id, no, name, created_at, finished_at
)
INSERT INTO geoetl.event (job_id, run_id, stage_no, what, data)
SELECT r.job_id, c.run_id, c.no, 'stage completed',
       jsonb_build_object('stage', c.name, 'seconds', round(extract(epoch FROM c.finished_at - c.created_at)::numeric, 3))
FROM closed c JOIN geoetl.run r ON r.id = c.run_id
RETURNING id

-- complete_run --
WITH ended AS (
    UPDATE geoetl.run SET state = 'completed', result = %(result)s, finished_at = clock_timestamp()
    WHERE id = %(run_id)s AND state IN ('queued', 'running')
    RETURNING id, job_id, created_at, finished_at
)
INSERT INTO geoetl.event (job_id, run_id, what, data)
SELECT job_id, id, 'job completed',
       jsonb_build_object('seconds', round(extract(epoch FROM finished_at - created_at)::numeric, 3))
FROM ended
RETURNING id

-- run_to_plan --
SELECT j.id, j.job_type, j.definition_version, j.spec, j.facts, r.sequence
FROM geoetl.run r JOIN geoetl.job j ON j.id = r.job_id WHERE r.id = %(run_id)s

-- stage_results --
-- Every result of a stage in index order, by its name.
SELECT s.size, t.idx, t.state, t.result
FROM geoetl.stage s LEFT JOIN geoetl.task t ON t.run_id = s.run_id AND t.stage_no = s.no AND t.idx >= 0
WHERE s.run_id = %(run_id)s AND s.name = %(name)s
ORDER BY t.idx

-- lock_current_run --
-- After lock_job: job first, then its run, the order of every statement that opens or closes one.
SELECT r.id, r.state, r.cur_stage FROM geoetl.job j JOIN geoetl.run r ON r.id = j.current_run
WHERE j.id = %(job_id)s
FOR NO KEY UPDATE OF r

-- run_of_task --
SELECT r.job_id, r.id FROM geoetl.task t JOIN geoetl.run r ON r.id = t.run_id WHERE t.id = %(id)s

-- is_resumed --
-- After lock_job: whether the run was resumed or retried within the last seconds.
SELECT EXISTS (
    SELECT 1 FROM geoetl.event e
    WHERE e.run_id = %(run_id)s AND e.what IN ('job resumed', 'job retried')
      AND e.at > clock_timestamp() - make_interval(secs => %(age_s)s))

-- cancel --
-- One transaction for the run, its open stage, and every waiting task with the callback (R10). %(overdue)s: the reaper's
-- form repeats its condition (R11).
WITH ended AS (
    UPDATE geoetl.run SET state = 'cancelled', error = %(error)s, finished_at = clock_timestamp()
    WHERE id = %(run_id)s AND state IN ('queued', 'running') AND (NOT %(overdue)s OR deadline < now())
    RETURNING id, job_id, cur_stage, deadline_s
), closed AS (
    UPDATE geoetl.stage s SET state = 'cancelled', finished_at = clock_timestamp()
    FROM ended WHERE s.run_id = ended.id AND s.no = ended.cur_stage AND s.state IN ('running', 'completing')
    RETURNING s.run_id, s.no
), waiting AS MATERIALIZED (
    SELECT t.id FROM geoetl.task t JOIN closed ON t.run_id = closed.run_id AND t.stage_no = closed.no
    WHERE t.state = 'ready' FOR UPDATE OF t SKIP LOCKED
), skipped AS (
    UPDATE geoetl.task t SET state = 'skipped', finished_at = clock_timestamp()
    FROM waiting WHERE t.id = waiting.id
    RETURNING t.idx
)
INSERT INTO geoetl.event (job_id, run_id, stage_no, what, data)
SELECT e.job_id, e.id, e.cur_stage, 'job cancelled',
       jsonb_strip_nulls(jsonb_build_object('skipped', (SELECT count(*) FROM skipped WHERE idx >= 0), 'by', %(by)s::text,
                                            'deadline_s', CASE WHEN %(overdue)s THEN deadline_s END))
FROM ended e
RETURNING id

-- failed_tasks --
-- Of the stage where a run failed; after lock_current_run.
SELECT id::text, stage_no, idx, label FROM geoetl.task
WHERE run_id = %(run_id)s AND stage_no = %(no)s AND state = 'failed' ORDER BY idx

-- resume_run --
-- The deadline is counted anew: the time until now was not the job's (R9).
UPDATE geoetl.run
SET state = 'running', error = NULL, started_at = coalesce(started_at, now()), finished_at = NULL,
    deadline = now() + make_interval(secs => deadline_s)
WHERE id = %(run_id)s

-- resume_tasks --
-- Every unfinished task of the stage, running ones too, gets a higher attempt and a new budget (R7); in id order, as
-- whatever waits for many rows (R14).
WITH unfinished AS (
    SELECT id FROM geoetl.task
    WHERE run_id = %(run_id)s AND stage_no = %(no)s AND state <> 'succeeded'
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE geoetl.task t
SET state = 'ready', attempt = t.attempt + 1, max_attempts = t.attempt + 1 + %(budget)s, lease_until = NULL,
    worker = NULL, error = NULL, next_attempt_at = now(), published_at = NULL, resends = 0, finished_at = NULL
FROM unfinished u WHERE t.id = u.id
RETURNING t.id

-- resume_stage --
-- The barrier already counts the unfinished tasks; at zero only the callback is missing (R8, R9).
UPDATE geoetl.stage
SET state = CASE WHEN remaining = 0 THEN 'completing' ELSE 'running' END, failed_task = NULL, finished_at = NULL
WHERE run_id = %(run_id)s AND no = %(no)s
RETURNING remaining

-- resume_ring --
WITH bell AS (
    INSERT INTO geoetl.outbox (source, ref)
    SELECT 'task', id FROM geoetl.task
    WHERE run_id = %(run_id)s AND stage_no = %(no)s AND state = 'ready' AND (idx >= 0) = (%(remaining)s::int > 0)
    ORDER BY idx RETURNING ref
)
INSERT INTO geoetl.event (job_id, run_id, stage_no, what, data)
SELECT r.job_id, r.id, %(no)s, %(what)s, jsonb_build_object('tasks', (SELECT count(*) FROM bell), 'by', %(by)s::text)
FROM geoetl.run r WHERE r.id = %(run_id)s
RETURNING pg_notify('geoetl_outbox', '')
