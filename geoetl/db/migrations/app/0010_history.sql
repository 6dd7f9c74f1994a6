-- What a list, a prefix and a scrape read is what they show, however much has ended before. Lists are sorted by the run,
-- so the index on jobs served none.
DROP INDEX geoetl.job_created_at;
-- Serves find_jobs. LIKE uses the primary key's index only where the database's collation is C.
CREATE INDEX job_prefix ON geoetl.job (id text_pattern_ops);
-- Both serve list_jobs: from the newest run on, each with the job whose current run it is.
CREATE INDEX run_created_at ON geoetl.run (created_at);
CREATE INDEX job_current_run ON geoetl.job (current_run);
-- Serves stage_seconds.
CREATE INDEX stage_ended ON geoetl.stage (finished_at) WHERE finished_at IS NOT NULL;
