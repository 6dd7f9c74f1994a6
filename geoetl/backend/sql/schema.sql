-- Celery on PostgreSQL: what the backend needs in any application. The schema name is fixed. Safe to run again: it
-- also brings the tables of an older version up to date.
CREATE SCHEMA IF NOT EXISTS geoetl;

-- Messages that are committed but not yet published. A row is deleted by the transaction that publishes it, so a
-- crash publishes again (harmless: every consumer is fenced) and the table stays small.
CREATE TABLE IF NOT EXISTS geoetl.outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Who can build the message: 'message' = it is in this row; any other word names a source that knows `ref`.
    source     text NOT NULL DEFAULT 'message',
    ref        uuid,
    envelope   jsonb,
    body       bytea,
    not_before timestamptz NOT NULL DEFAULT now(),
    -- A row that cannot be published is set aside, so that it never blocks the others.
    parked_at  timestamptz,
    -- What was found; without parked_at: the queue refuses now, and the row is tried again.
    problem    text,
    CHECK (CASE source WHEN 'message' THEN envelope IS NOT NULL AND body IS NOT NULL ELSE ref IS NOT NULL END)
);
-- 'task id:version' of a copy that waits for the end of a lease; one per task.
ALTER TABLE geoetl.outbox ADD COLUMN IF NOT EXISTS dedupe text;
-- Serves take_due and next_due.
CREATE INDEX IF NOT EXISTS outbox_due ON geoetl.outbox (not_before, id) WHERE parked_at IS NULL;
-- Serves "has this task a message waiting?".
CREATE INDEX IF NOT EXISTS outbox_ref ON geoetl.outbox (ref) WHERE ref IS NOT NULL;
-- Serves put_aside (one copy) and remove_copy.
CREATE UNIQUE INDEX IF NOT EXISTS outbox_dedupe ON geoetl.outbox (dedupe) WHERE dedupe IS NOT NULL;

-- Plain Celery tasks (those without a ledger of their own): what is known of the result, and who works on it.
CREATE TABLE IF NOT EXISTS geoetl.result (
    task_id text PRIMARY KEY,
    -- Celery's word, and all that Celery knows; no meta: as if the row were not there (ignored or forgotten result).
    state   text NOT NULL,
    meta    bytea NOT NULL,
    done_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE geoetl.result ALTER COLUMN meta DROP NOT NULL;
-- The fence. open: nobody has claimed this version; running: `owner` has, until `lease_until`; waiting: this version
-- has ended in a retry or a replacement, only a later one may run; ended: only another send may run it again.
ALTER TABLE geoetl.result
    ADD COLUMN IF NOT EXISTS phase       text NOT NULL DEFAULT 'open'
        CONSTRAINT result_phase CHECK (phase IN ('open', 'running', 'waiting', 'ended')),
    -- Replacements * 10000 + retries: both reuse the task id.
    ADD COLUMN IF NOT EXISTS version     integer NOT NULL DEFAULT 0,
    -- Grows with every claim: the fencing token.
    ADD COLUMN IF NOT EXISTS attempt     integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS owner       text,
    ADD COLUMN IF NOT EXISTS lease_until timestamptz,
    -- A copy of the message waits in the outbox for the end of the lease.
    ADD COLUMN IF NOT EXISTS has_copy    boolean NOT NULL DEFAULT false,
    -- Whose messages belong to this run: a message of another send, after the end, is a new run.
    ADD COLUMN IF NOT EXISTS sends       text[] NOT NULL DEFAULT '{}';
-- Results of a version that knew no phases.
UPDATE geoetl.result SET phase = 'ended'
WHERE phase = 'open' AND attempt = 0 AND state IN ('SUCCESS', 'FAILURE', 'REVOKED');
-- Serves the removal of expired results.
CREATE INDEX IF NOT EXISTS result_done_at ON geoetl.result (done_at);

CREATE TABLE IF NOT EXISTS geoetl.task_group (
    group_id text PRIMARY KEY,
    meta     bytea NOT NULL,
    made_at  timestamptz NOT NULL DEFAULT now()
);

-- Barrier of a native chord. `size` arrives while header tasks may already have returned: `remaining` starts at 0 and
-- may be below it until then.
CREATE TABLE IF NOT EXISTS geoetl.chord (
    group_id  text PRIMARY KEY,
    size      integer,
    remaining integer NOT NULL DEFAULT 0,
    fired_at  timestamptz,
    made_at   timestamptz NOT NULL DEFAULT now()
);
-- Serves the removal of chords that have fired.
CREATE INDEX IF NOT EXISTS chord_made_at ON geoetl.chord (made_at);

-- What each header task returned, once.
CREATE TABLE IF NOT EXISTS geoetl.chord_part (
    group_id text NOT NULL,
    task_id  text NOT NULL,
    -- Place in the header; -1 where Celery gave none.
    idx      integer NOT NULL,
    state    text NOT NULL,
    result   bytea NOT NULL,
    PRIMARY KEY (group_id, task_id, idx)
);
