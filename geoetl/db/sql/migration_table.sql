-- What has been applied to this database, one row per migration.
CREATE SCHEMA IF NOT EXISTS geoetl_meta;
CREATE TABLE IF NOT EXISTS geoetl_meta.migration (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text        NOT NULL DEFAULT current_user
);
