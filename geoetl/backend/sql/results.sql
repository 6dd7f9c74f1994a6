-- store --
-- A result that has ended is not overwritten, unless by the transaction that ends it (%(ending)s); a state that a task
-- stores of itself only by the attempt that owns it. A final state that comes from outside ends the task.
INSERT INTO geoetl.result AS r (task_id, state, meta, phase)
VALUES (%(task_id)s, %(state)s, %(meta)s, CASE WHEN %(final)s THEN 'ended' ELSE 'open' END)
ON CONFLICT (task_id) DO UPDATE
SET state = excluded.state, meta = excluded.meta, done_at = now(),
    phase = CASE WHEN r.phase = 'running' OR %(ending)s THEN r.phase
                 WHEN %(final)s THEN 'ended' ELSE r.phase END
WHERE %(ending)s OR (r.phase <> 'ended' AND coalesce(%(attempt)s::int, r.attempt) = r.attempt)

-- load --
SELECT meta FROM geoetl.result WHERE task_id = %(task_id)s AND meta IS NOT NULL

-- load_final --
SELECT task_id, meta FROM geoetl.result
WHERE task_id = ANY(%(task_ids)s) AND state IN ('SUCCESS', 'FAILURE', 'REVOKED') AND meta IS NOT NULL

-- forget --
-- The row of a task that ran stays until it expires: a late duplicate must still find that there is nothing to do.
WITH kept AS (
    UPDATE geoetl.result SET state = 'PENDING', meta = NULL WHERE task_id = %(task_id)s AND attempt > 0
    RETURNING task_id
)
DELETE FROM geoetl.result WHERE task_id = %(task_id)s AND NOT EXISTS (SELECT FROM kept)

-- expire_results --
DELETE FROM geoetl.result
WHERE done_at < now() - make_interval(secs => %(age_s)s)
  AND coalesce(lease_until, '-infinity') < now() - make_interval(secs => %(age_s)s)

-- expire_groups --
DELETE FROM geoetl.task_group WHERE made_at < now() - make_interval(secs => %(age_s)s)

-- expire_chords --
-- A chord that has not fired may still do so: it is kept ten times as long.
WITH gone AS (
    DELETE FROM geoetl.chord
    WHERE made_at < now() - make_interval(secs => %(age_s)s)
      AND (fired_at < now() - make_interval(secs => %(age_s)s)
           OR made_at < now() - make_interval(secs => 10 * %(age_s)s))
    RETURNING group_id
)
DELETE FROM geoetl.chord_part WHERE group_id IN (SELECT group_id FROM gone)

-- store_group --
INSERT INTO geoetl.task_group (group_id, meta) VALUES (%(group_id)s, %(meta)s)
ON CONFLICT (group_id) DO UPDATE SET meta = excluded.meta

-- load_group --
SELECT meta FROM geoetl.task_group WHERE group_id = %(group_id)s

-- forget_group --
DELETE FROM geoetl.task_group WHERE group_id = %(group_id)s
