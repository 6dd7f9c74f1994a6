-- Jobs, runs, stages, tasks and events (docs/explanation/engine.md).

-- What a user submitted. `id` is a hash of everything that makes the work the same work.
CREATE TABLE geoetl.job (
    id                 text PRIMARY KEY,
    job_type           text NOT NULL,
    definition_version int NOT NULL,
    spec               jsonb NOT NULL,
    -- What preflight learned of the sources; planning reads it, it never asks again.
    facts              jsonb NOT NULL,
    current_run        uuid,
    submitted_by       text NOT NULL DEFAULT '',
    created_at         timestamptz NOT NULL DEFAULT now()
);
-- Serves list_jobs.
CREATE INDEX job_created_at ON geoetl.job (created_at DESC);

-- One execution of a job. A forced re-run is a new row; old ones are history. This is the row that is locked first by
-- everything that opens or closes a job (R14).
CREATE TABLE geoetl.run (
    id          uuid PRIMARY KEY,
    job_id      text NOT NULL REFERENCES geoetl.job,
    no          int NOT NULL,
    -- Orders publications of all runs of all jobs: the first half of the publication token (R13).
    sequence    bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    state       text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    cur_stage   int NOT NULL DEFAULT 0,
    stage_count int NOT NULL,
    result      jsonb,
    error       jsonb,
    created_at  timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz,
    UNIQUE (job_id, no)
);
-- Serves the list of open runs.
CREATE INDEX run_open ON geoetl.run (created_at) WHERE state IN ('queued', 'running');

CREATE TABLE geoetl.stage (
    run_id      uuid NOT NULL REFERENCES geoetl.run,
    no          int NOT NULL,
    name        text NOT NULL,
    -- running -> completing (all tasks succeeded, callback pending) -> completed; any open one -> failed | cancelled
    state       text NOT NULL CHECK (state IN ('running', 'completing', 'completed', 'failed', 'cancelled')),
    size        int NOT NULL,
    -- The barrier: unfinished tasks, in every state of the stage.
    remaining   int NOT NULL CHECK (remaining >= 0),
    callback_id uuid NOT NULL,
    failed_task uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (run_id, no)
);

-- One message shape per kind of task of a stage: headers, properties and body as Celery built them, without the id.
CREATE TABLE geoetl.template (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id   uuid NOT NULL REFERENCES geoetl.run,
    envelope jsonb NOT NULL,
    body     bytea NOT NULL
);
-- Serves the removal of a run.
CREATE INDEX template_run ON geoetl.template (run_id);

CREATE TABLE geoetl.task (
    id              uuid PRIMARY KEY,
    run_id          uuid NOT NULL,
    stage_no        int NOT NULL,
    -- 0 … size-1 in the order of the plan; -1 is the chord callback that completes the stage.
    idx             int NOT NULL,
    name            text NOT NULL,
    -- What a person reads in lists and in Flower.
    label           text NOT NULL DEFAULT '',
    queue           text NOT NULL,
    -- Why this queue, and what the task is expected to need.
    reason          text NOT NULL DEFAULT '',
    memory_bytes    bigint,
    time_limit_s    int NOT NULL,
    template_id     bigint NOT NULL,
    input           jsonb NOT NULL,
    -- ready -> running -> succeeded | failed | cancelled; ready -> skipped; running -> ready (retry, lost lease)
    state           text NOT NULL DEFAULT 'ready'
                    CHECK (state IN ('ready', 'running', 'succeeded', 'failed', 'cancelled', 'skipped')),
    -- The fencing token: it only ever grows (R7).
    attempt         int NOT NULL DEFAULT 0,
    max_attempts    int NOT NULL,
    lease_until     timestamptz,
    worker          text,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    published_at    timestamptz,
    resends         int NOT NULL DEFAULT 0,
    result          jsonb,
    error           jsonb,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    UNIQUE (run_id, stage_no, idx)
) WITH (fillfactor = 70);
-- Serves the reaper.
CREATE INDEX task_lease ON geoetl.task (lease_until) WHERE state = 'running';
-- Serves the resend and the sweep of closed stages.
CREATE INDEX task_ready ON geoetl.task (next_attempt_at) WHERE state = 'ready';

-- The audit trail. No foreign keys: one to run would lock it where the order of locks forbids that (R14).
CREATE TABLE geoetl.event (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    job_id   text,
    run_id   uuid NOT NULL,
    stage_no int,
    task_id  uuid,
    idx      int,
    attempt  int,
    worker   text,
    what     text NOT NULL,
    data     jsonb NOT NULL DEFAULT '{}'
);
-- Serves the events of a run, in order.
CREATE INDEX event_run ON geoetl.event (run_id, id);

-- The same table of transitions as geoetl/models/states.py (a test compares them).
CREATE FUNCTION geoetl.legal_transitions(kind text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind
        WHEN 'run' THEN ARRAY[
            'queued>running', 'queued>completed', 'queued>failed', 'queued>cancelled',
            'running>completed', 'running>failed', 'running>cancelled', 'failed>running', 'cancelled>running']
        WHEN 'stage' THEN ARRAY[
            'running>completing', 'running>failed', 'running>cancelled',
            'completing>completed', 'completing>failed', 'completing>cancelled',
            'failed>running', 'failed>completing', 'cancelled>running', 'cancelled>completing']
        WHEN 'task' THEN ARRAY[
            'ready>running', 'ready>skipped', 'ready>failed',
            'running>succeeded', 'running>failed', 'running>cancelled', 'running>ready',
            'failed>ready', 'cancelled>ready', 'skipped>ready']
    END
$$;

CREATE FUNCTION geoetl.refuse_illegal_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (OLD.state || '>' || NEW.state) = ANY (geoetl.legal_transitions(TG_ARGV[0])) THEN
        RAISE EXCEPTION 'illegal transition of a %: % to %', TG_ARGV[0], OLD.state, NEW.state;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER legal_transition BEFORE UPDATE OF state ON geoetl.run
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION geoetl.refuse_illegal_transition('run');
CREATE TRIGGER legal_transition BEFORE UPDATE OF state ON geoetl.stage
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION geoetl.refuse_illegal_transition('stage');
CREATE TRIGGER legal_transition BEFORE UPDATE OF state ON geoetl.task
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION geoetl.refuse_illegal_transition('task');
