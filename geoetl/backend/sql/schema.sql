-- Celery on PostgreSQL: what the backend needs in any application. The schema name is fixed.
CREATE SCHEMA IF NOT EXISTS geoetl;

-- Messages that are committed but not yet published. A row is deleted by the transaction that publishes it, so a
-- crash publishes again (harmless: every consumer is fenced) and the table stays small.
CREATE TABLE geoetl.outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Who can build the message: 'message' = it is in this row; any other word names a source that knows `ref`.
    source     text NOT NULL DEFAULT 'message',
    ref        uuid,
    envelope   jsonb,
    body       bytea,
    not_before timestamptz NOT NULL DEFAULT now(),
    -- A row that cannot be published is set aside, so that it never blocks the others.
    parked_at  timestamptz,
    problem    text,
    CHECK (CASE source WHEN 'message' THEN envelope IS NOT NULL AND body IS NOT NULL ELSE ref IS NOT NULL END)
);
-- Serves take_due and next_due.
CREATE INDEX outbox_due ON geoetl.outbox (not_before, id) WHERE parked_at IS NULL;
-- Serves "has this task a message waiting?".
CREATE INDEX outbox_ref ON geoetl.outbox (ref) WHERE ref IS NOT NULL;

-- Results of plain Celery tasks (those without a ledger of their own).
CREATE TABLE geoetl.result (
    task_id text PRIMARY KEY,
    state   text NOT NULL,
    meta    bytea NOT NULL,
    done_at timestamptz NOT NULL DEFAULT now()
);
-- Serves the removal of expired results.
CREATE INDEX result_done_at ON geoetl.result (done_at);

CREATE TABLE geoetl.task_group (
    group_id text PRIMARY KEY,
    meta     bytea NOT NULL,
    made_at  timestamptz NOT NULL DEFAULT now()
);
