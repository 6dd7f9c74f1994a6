-- store --
-- A finished result is never overwritten by a late one.
INSERT INTO geoetl.result AS r (task_id, state, meta)
VALUES (%(task_id)s, %(state)s, %(meta)s)
ON CONFLICT (task_id) DO UPDATE SET state = excluded.state, meta = excluded.meta, done_at = now()
WHERE r.state NOT IN ('SUCCESS', 'FAILURE', 'REVOKED')

-- load --
SELECT meta FROM geoetl.result WHERE task_id = %(task_id)s

-- forget --
DELETE FROM geoetl.result WHERE task_id = %(task_id)s

-- expire --
DELETE FROM geoetl.result WHERE done_at < now() - make_interval(secs => %(age_s)s)

-- store_group --
INSERT INTO geoetl.task_group (group_id, meta) VALUES (%(group_id)s, %(meta)s)
ON CONFLICT (group_id) DO UPDATE SET meta = excluded.meta

-- load_group --
SELECT meta FROM geoetl.task_group WHERE group_id = %(group_id)s

-- forget_group --
DELETE FROM geoetl.task_group WHERE group_id = %(group_id)s
