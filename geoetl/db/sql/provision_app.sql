-- Inside the app database, as the server's administrator. May be run again.
-- All of this is outside schema geoetl, which a nuke drops: the marker and the record survive it.
SET LOCAL ROLE {app};
CREATE SCHEMA IF NOT EXISTS geoetl_meta;

-- The marker: only a database that has it may be emptied by `geoetl db full-rebuild` or `nuke`.
CREATE TABLE IF NOT EXISTS geoetl_meta.nukeable (
    is_nukeable boolean     PRIMARY KEY DEFAULT true CHECK (is_nukeable),
    marked_at   timestamptz NOT NULL DEFAULT now()
);
INSERT INTO geoetl_meta.nukeable DEFAULT VALUES ON CONFLICT DO NOTHING;

-- Who emptied or redeployed this database, and what became of it.
CREATE TABLE IF NOT EXISTS geoetl_meta.maintenance (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action      text        NOT NULL,
    person      text        NOT NULL,
    host        text        NOT NULL,
    role        text        NOT NULL DEFAULT current_user,
    version     text        NOT NULL,
    state       text        NOT NULL DEFAULT 'started' CHECK (state IN ('started', 'done', 'failed')),
    detail      jsonb       NOT NULL DEFAULT '{{}}',
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);
