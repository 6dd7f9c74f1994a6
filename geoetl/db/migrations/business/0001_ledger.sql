-- The ledger of artefacts: which product is the published one of an item, and what was published before.

CREATE SCHEMA IF NOT EXISTS geoetl;

-- One row per item: its published product. (token_run, token_attempt) is the publication token: it orders publications
-- and never decreases, so a run or an attempt that wakes up late is refused.
CREATE TABLE geoetl.artefact (
    collection text NOT NULL,
    item_id text NOT NULL,
    artefact_uri text NOT NULL,
    etag text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    sha256 text NOT NULL,
    run_id text NOT NULL,
    job_id text NOT NULL,
    token_run bigint NOT NULL,
    token_attempt integer NOT NULL,
    state text NOT NULL DEFAULT 'published' CHECK (state IN ('published', 'withdrawn')),
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection, item_id)
);

-- Serves: which artefacts of a run are still the published ones.
CREATE INDEX artefact_run_id ON geoetl.artefact (run_id);
-- Serves: is this blob published? (sweeper, catalogue check)
CREATE INDEX artefact_artefact_uri ON geoetl.artefact (artefact_uri);

-- What was published before, and what took its place: the audit trail, and the sweeper's list of candidates.
CREATE TABLE geoetl.artefact_history (
    history_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection text NOT NULL,
    item_id text NOT NULL,
    artefact_uri text NOT NULL,
    etag text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    run_id text NOT NULL,
    job_id text NOT NULL,
    token_run bigint NOT NULL,
    token_attempt integer NOT NULL,
    state text NOT NULL,
    published_at timestamptz NOT NULL,
    superseded_at timestamptz NOT NULL DEFAULT now(),
    superseded_by_run text NOT NULL
);

-- Serves: has anything of this run been superseded?
CREATE INDEX artefact_history_run_id ON geoetl.artefact_history (run_id);
-- Serves: the history of an item.
CREATE INDEX artefact_history_item ON geoetl.artefact_history (collection, item_id);

-- A trigger, so that no statement can replace an artefact and forget its history.
CREATE FUNCTION geoetl.keep_artefact_history_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO geoetl.artefact_history (
        collection, item_id, artefact_uri, etag, size_bytes, sha256, run_id, job_id, token_run, token_attempt, state,
        published_at, superseded_by_run
    ) VALUES (
        old.collection, old.item_id, old.artefact_uri, old.etag, old.size_bytes, old.sha256, old.run_id, old.job_id,
        old.token_run, old.token_attempt, old.state, old.published_at, new.run_id
    );
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_artefact_history AFTER UPDATE ON geoetl.artefact
FOR EACH ROW WHEN ((old.artefact_uri, old.etag, old.run_id, old.state)
    IS DISTINCT FROM (new.artefact_uri, new.etag, new.run_id, new.state))
EXECUTE FUNCTION geoetl.keep_artefact_history_v1();
