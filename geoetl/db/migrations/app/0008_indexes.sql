-- PostgreSQL takes the cheapest index whose predicate a statement implies. Where few rows are believed to be running, that
-- was the one of all running tasks for every statement about one of them (`id = … AND state = 'running'`): it read them
-- all. So a partial index either begins with the primary key, or is of rows where its first column is not null, which only
-- a statement that compares that column implies.
DROP INDEX geoetl.task_lease, geoetl.task_ready, geoetl.run_open, geoetl.run_ended;
-- Serves the reaper.
CREATE INDEX task_lease ON geoetl.task (lease_until) WHERE lease_until IS NOT NULL;
-- Serves the resend and the sweep of closed stages.
CREATE INDEX task_ready ON geoetl.task (id) WHERE state = 'ready';
-- Serves the list of open runs.
CREATE INDEX run_open ON geoetl.run (id) WHERE state IN ('queued', 'running');
-- Serves the search for runs that ended long ago.
CREATE INDEX run_ended ON geoetl.run (finished_at) WHERE finished_at IS NOT NULL;
