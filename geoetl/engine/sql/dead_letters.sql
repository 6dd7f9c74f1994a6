-- known --
SELECT id::text FROM geoetl.task WHERE id = ANY(%(ids)s::uuid[])

-- record --
-- After lock_run_of_task.
INSERT INTO geoetl.event (job_id, run_id, stage_no, task_id, idx, attempt, worker, what, data)
SELECT r.job_id, t.run_id, t.stage_no, t.id, t.idx, t.attempt, t.worker, 'message dead-lettered', %(data)s
FROM geoetl.task t JOIN geoetl.run r ON r.id = t.run_id WHERE t.id = %(id)s

-- judge --
-- Whether a task waits for a message, whether it may be claimed once more, and how many of its messages have died since
-- its job was submitted, resumed or retried.
SELECT t.state = 'ready' AND s.state = CASE WHEN t.idx = -1 THEN 'completing' ELSE 'running' END,
       t.attempt < t.max_attempts,
       (SELECT count(*) FROM geoetl.event e
        WHERE e.run_id = t.run_id AND e.task_id = t.id AND e.what = 'message dead-lettered'
          AND e.id > coalesce((SELECT max(b.id) FROM geoetl.event b
                               WHERE b.run_id = t.run_id AND b.what IN ('job resumed', 'job retried')), 0))
FROM geoetl.task t JOIN geoetl.stage s ON s.run_id = t.run_id AND s.no = t.stage_no
WHERE t.id = %(id)s
FOR NO KEY UPDATE OF t

-- ring --
-- Unless a message waits already; a parked one will never be sent.
INSERT INTO geoetl.outbox (source, ref, not_before)
SELECT 'task', %(id)s, now() + make_interval(secs => %(delay_s)s)
WHERE NOT EXISTS (SELECT 1 FROM geoetl.outbox o WHERE o.ref = %(id)s AND o.parked_at IS NULL)
RETURNING pg_notify('geoetl_outbox', '')
