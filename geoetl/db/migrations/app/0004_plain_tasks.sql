-- Leases of plain Celery tasks, and native chords: what geoetl/backend/sql/schema.sql has beyond 0001.

-- 'task id:version' of a copy that waits for the end of a lease; one per task.
ALTER TABLE geoetl.outbox ADD COLUMN dedupe text;
-- Serves put_aside (one copy) and remove_copy.
CREATE UNIQUE INDEX outbox_dedupe ON geoetl.outbox (dedupe) WHERE dedupe IS NOT NULL;

ALTER TABLE geoetl.result ALTER COLUMN meta DROP NOT NULL;
-- The fence. open: nobody has claimed this version; running: `owner` has, until `lease_until`; waiting: this version
-- has ended in a retry or a replacement, only a later one may run; ended: only another send may run it again.
ALTER TABLE geoetl.result
    ADD COLUMN phase       text NOT NULL DEFAULT 'open'
        CONSTRAINT result_phase CHECK (phase IN ('open', 'running', 'waiting', 'ended')),
    -- Replacements * 10000 + retries: both reuse the task id.
    ADD COLUMN version     integer NOT NULL DEFAULT 0,
    -- Grows with every claim: the fencing token.
    ADD COLUMN attempt     integer NOT NULL DEFAULT 0,
    ADD COLUMN owner       text,
    ADD COLUMN lease_until timestamptz,
    -- A copy of the message waits in the outbox for the end of the lease.
    ADD COLUMN has_copy    boolean NOT NULL DEFAULT false,
    -- Whose messages belong to this run: a message of another send, after the end, is a new run.
    ADD COLUMN sends       text[] NOT NULL DEFAULT '{}';
UPDATE geoetl.result SET phase = 'ended' WHERE state IN ('SUCCESS', 'FAILURE', 'REVOKED');

-- Barrier of a native chord. `size` arrives while header tasks may already have returned: `remaining` starts at 0 and
-- may be below it until then.
CREATE TABLE geoetl.chord (
    group_id  text PRIMARY KEY,
    size      integer,
    remaining integer NOT NULL DEFAULT 0,
    fired_at  timestamptz,
    made_at   timestamptz NOT NULL DEFAULT now()
);
-- Serves the removal of chords that have fired.
CREATE INDEX chord_made_at ON geoetl.chord (made_at);

-- What each header task returned, once.
CREATE TABLE geoetl.chord_part (
    group_id text NOT NULL,
    task_id  text NOT NULL,
    -- Place in the header; -1 where Celery gave none.
    idx      integer NOT NULL,
    state    text NOT NULL,
    result   bytea NOT NULL,
    PRIMARY KEY (group_id, task_id, idx)
);
