-- violations --
-- The view is defined with the tables it speaks of.
SELECT kind, run_id, stage_no, task_id, detail FROM geoetl.violation
WHERE %(run_id)s::uuid IS NULL OR run_id = %(run_id)s
ORDER BY kind, run_id, stage_no, task_id
