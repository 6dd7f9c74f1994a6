-- Deadlines of jobs: until when a run must have ended, else it is cancelled. Counted from the submit, and anew from a
-- resume or a retry; the clock is the database's.
ALTER TABLE geoetl.run
    ADD COLUMN deadline_s double precision CONSTRAINT run_deadline_s CHECK (deadline_s > 0),
    ADD COLUMN deadline   timestamptz,
    ADD CONSTRAINT run_deadline CHECK ((deadline IS NULL) = (deadline_s IS NULL));
-- Serves the reaper.
CREATE INDEX run_overdue ON geoetl.run (deadline) WHERE deadline IS NOT NULL AND state IN ('queued', 'running');
