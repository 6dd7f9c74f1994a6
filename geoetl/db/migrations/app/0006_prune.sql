-- Retention (`geoetl db prune`). A completed run that is still what a job of its kind would publish is stripped of its
-- stages, tasks and events and keeps its own row, so that an equal submit still finds that the work is done.
ALTER TABLE geoetl.run ADD COLUMN pruned_at timestamptz;
-- Serves the search for runs that ended long ago.
CREATE INDEX run_ended ON geoetl.run (finished_at) WHERE state IN ('completed', 'failed', 'cancelled');

-- How many events were removed, by what happened: what is counted for metrics must never fall.
CREATE TABLE geoetl.event_pruned (
    what   text PRIMARY KEY,
    events bigint NOT NULL
);

-- As before, but for runs that were pruned.
CREATE OR REPLACE VIEW geoetl.violation AS
WITH counted AS (
    SELECT s.run_id, s.no, s.state, s.size, s.remaining,
           count(t.id) FILTER (WHERE t.idx >= 0) AS tasks,
           count(t.id) FILTER (WHERE t.idx >= 0 AND t.state <> 'succeeded') AS unfinished,
           count(t.id) FILTER (WHERE t.idx = -1 AND t.state = 'succeeded') AS completions
    FROM geoetl.stage s LEFT JOIN geoetl.task t ON t.run_id = s.run_id AND t.stage_no = s.no
    GROUP BY s.run_id, s.no
), staged AS (
    SELECT r.id, r.state, r.cur_stage, r.stage_count, s.state AS cur_state,
           (SELECT count(*) FROM geoetl.stage x WHERE x.run_id = r.id AND x.state = 'completed') AS completed
    FROM geoetl.run r LEFT JOIN geoetl.stage s ON s.run_id = r.id AND s.no = r.cur_stage
    -- Of a pruned run only its own row is left.
    WHERE r.pruned_at IS NULL
)
-- The barrier counts exactly the unfinished tasks, in every state of the stage (R8).
SELECT 'barrier-wrong' AS kind, run_id, no AS stage_no, NULL::uuid AS task_id,
       format('remaining is %s, unfinished tasks are %s', remaining, unfinished) AS detail
FROM counted WHERE remaining <> unfinished
UNION ALL
SELECT 'tasks-missing', run_id, no, NULL, format('%s tasks of %s', tasks, size)
FROM counted WHERE tasks <> size
UNION ALL
SELECT 'stage-closed-early', run_id, no, NULL, format('%s with %s unfinished tasks', state, unfinished)
FROM counted WHERE state IN ('completing', 'completed') AND unfinished > 0
UNION ALL
SELECT 'barrier-unnoticed', run_id, no, NULL, 'no task is unfinished and the stage still runs'
FROM counted WHERE state = 'running' AND unfinished = 0
UNION ALL
-- A stage is completed by its callback and by nothing else (R1, R3).
SELECT 'callback-and-stage-differ', run_id, no, NULL, format('stage %s, completed by %s callbacks', state, completions)
FROM counted WHERE (state = 'completed') <> (completions = 1)
UNION ALL
-- Nobody will ever run this task, and its stage waits for it.
SELECT 'task-abandoned', t.run_id, t.stage_no, t.id, format('%s in a %s stage', t.state, s.state)
FROM geoetl.task t JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
WHERE t.state IN ('failed', 'cancelled', 'skipped') AND s.state IN ('running', 'completing')
UNION ALL
SELECT 'budget-exceeded', run_id, stage_no, id, format('attempt %s of %s', attempt, max_attempts)
FROM geoetl.task WHERE attempt > max_attempts
UNION ALL
SELECT 'lease-wrong', run_id, stage_no, id, format('%s, lease until %s, worker %s', state, lease_until, worker)
FROM geoetl.task WHERE (state = 'running') <> (lease_until IS NOT NULL) OR (state = 'running' AND worker IS NULL)
UNION ALL
-- Stages start in order, each after the one before.
SELECT 'stage-out-of-order', s.run_id, s.no, NULL, format('%s, but the run is at stage %s', s.state, r.cur_stage)
FROM geoetl.stage s JOIN geoetl.run r ON r.id = s.run_id
WHERE s.no > r.cur_stage OR (s.no < r.cur_stage AND s.state <> 'completed')
UNION ALL
SELECT 'run-and-stage-differ', id, cur_stage, NULL, format('run %s, its stage %s', state, coalesce(cur_state, 'missing'))
FROM staged
WHERE coalesce(CASE state
    WHEN 'completed' THEN cur_state = 'completed'
    WHEN 'failed' THEN cur_state = 'failed'
    WHEN 'cancelled' THEN cur_state = 'cancelled'
    ELSE cur_state IN ('running', 'completing')
END, false) IS NOT TRUE
UNION ALL
SELECT 'run-completed-early', id, cur_stage, NULL, format('%s of %s stages are completed', completed, stage_count)
FROM staged WHERE state = 'completed' AND completed <> stage_count
UNION ALL
SELECT 'two-open-runs', (array_agg(id ORDER BY no))[1], NULL, NULL, format('job %s has %s open runs', job_id, count(*))
FROM geoetl.run WHERE state IN ('queued', 'running') GROUP BY job_id HAVING count(*) > 1
UNION ALL
-- At most one accepted result (the audit trail is written by the transaction that accepts it) …
SELECT 'accepted-twice', run_id, stage_no, task_id, format('%s accepted results', count(*))
FROM geoetl.event WHERE what = 'task succeeded' GROUP BY run_id, stage_no, task_id HAVING count(*) > 1
UNION ALL
-- … always of the newest claim …
SELECT 'stale-result', e.run_id, e.stage_no, e.task_id, format('attempt %s accepted, the task is at %s', e.attempt, t.attempt)
FROM geoetl.event e JOIN geoetl.task t ON t.id = e.task_id
WHERE e.what = 'task succeeded' AND (e.attempt <> t.attempt OR t.state <> 'succeeded')
UNION ALL
-- … and an attempt is given once (R7).
SELECT 'attempt-reused', run_id, stage_no, task_id, format('attempt %s started %s times', attempt, count(*))
FROM geoetl.event WHERE what = 'task started' GROUP BY run_id, stage_no, task_id, attempt HAVING count(*) > 1
UNION ALL
SELECT 'stage-completed-twice', run_id, stage_no, NULL, format('%s times', count(*))
FROM geoetl.event WHERE what = 'stage completed' GROUP BY run_id, stage_no HAVING count(*) > 1;
