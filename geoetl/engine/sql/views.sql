-- find_jobs --
-- Ids that begin with a prefix; two rows are enough to know that it is ambiguous.
SELECT id FROM geoetl.job WHERE id LIKE %(prefix)s || '%%' ORDER BY created_at DESC LIMIT 2

-- list_jobs --
SELECT j.id, j.job_type, r.id, r.no, r.state, r.cur_stage, r.stage_count, r.created_at, r.started_at, r.finished_at, r.error
FROM geoetl.job j JOIN geoetl.run r ON r.id = j.current_run
WHERE (%(state)s::text IS NULL OR r.state = %(state)s) AND (%(job_type)s::text IS NULL OR j.job_type = %(job_type)s)
ORDER BY r.created_at DESC LIMIT %(limit)s

-- job --
SELECT j.id, j.job_type, r.id, r.no, r.state, r.cur_stage, r.stage_count, r.created_at, r.started_at, r.finished_at, r.error,
       r.result, j.spec, r.deadline, r.pruned_at
FROM geoetl.job j JOIN geoetl.run r ON r.id = j.current_run
WHERE j.id = %(id)s

-- stages --
-- Stages of a run with their tasks counted by state, and what the running ones have done, in tasks.
SELECT s.no, s.name, s.state, s.size, s.remaining, s.created_at, s.finished_at,
       count(*) FILTER (WHERE t.state = 'ready'), count(*) FILTER (WHERE t.state = 'running'),
       count(*) FILTER (WHERE t.state = 'succeeded'), count(*) FILTER (WHERE t.state = 'failed'),
       count(*) FILTER (WHERE t.state = 'cancelled'), count(*) FILTER (WHERE t.state = 'skipped'),
       coalesce(sum(t.progress[2]::float8 / nullif(t.progress[3], 0))
                FILTER (WHERE t.state = 'running' AND t.progress[1] = t.attempt), 0)
FROM geoetl.stage s LEFT JOIN geoetl.task t ON t.run_id = s.run_id AND t.stage_no = s.no AND t.idx >= 0
WHERE s.run_id = %(run_id)s
GROUP BY s.run_id, s.no
ORDER BY s.no

-- tasks --
-- Callbacks only where they failed: then they are why the job did.
SELECT t.stage_no, t.idx, t.id, t.name, t.label, t.queue, t.reason, t.state, t.attempt, t.max_attempts, t.worker,
       t.started_at, t.finished_at, t.error, CASE WHEN %(results)s THEN t.result END,
       CASE WHEN t.state = 'running' AND t.progress[1] = t.attempt THEN t.progress[2:3] END
FROM geoetl.task t
WHERE t.run_id = %(run_id)s AND (t.idx >= 0 OR t.state = 'failed')
  AND (%(states)s::text[] IS NULL OR t.state = ANY (%(states)s))
ORDER BY t.stage_no, t.idx

-- task --
-- One task of a run, by its place.
SELECT t.stage_no, t.idx, t.id, t.name, t.label, t.queue, t.reason, t.state, t.attempt, t.max_attempts, t.worker,
       t.started_at, t.finished_at, t.error, t.result,
       CASE WHEN t.state = 'running' AND t.progress[1] = t.attempt THEN t.progress[2:3] END,
       s.name, t.input, t.memory_bytes, t.time_limit_s
FROM geoetl.task t JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
WHERE t.run_id = %(run_id)s AND t.stage_no = %(stage_no)s AND t.idx = %(idx)s

-- task_places --
-- Where the tasks of a run are that a person may mean by a word: the beginning of an id, or a whole label.
SELECT t.stage_no, t.idx FROM geoetl.task t
WHERE t.run_id = %(run_id)s AND (t.id::text LIKE %(word)s || '%%' OR t.label = %(word)s)
ORDER BY t.stage_no, t.idx LIMIT 2

-- task_events --
SELECT e.at, e.attempt, e.worker, e.what, e.data FROM geoetl.event e
WHERE e.run_id = %(run_id)s AND e.task_id = %(task_id)s
ORDER BY e.id

-- events --
SELECT e.id, e.at, e.what, e.stage_no, s.name, e.task_id, e.idx, t.label, e.attempt, e.worker, e.data
FROM geoetl.event e
LEFT JOIN geoetl.stage s ON s.run_id = e.run_id AND s.no = e.stage_no
LEFT JOIN geoetl.task t ON t.id = e.task_id
WHERE e.run_id = %(run_id)s AND e.id > %(after)s AND NOT e.id = ANY (%(told)s)
ORDER BY e.id LIMIT %(limit)s

-- runs --
SELECT no, id, state, created_at, started_at, finished_at FROM geoetl.run WHERE job_id = %(job_id)s ORDER BY no
