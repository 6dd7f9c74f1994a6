-- What has been applied to this database, one row per migration.
CREATE SCHEMA IF NOT EXISTS geoetl_meta;
CREATE TABLE IF NOT EXISTS geoetl_meta.migration (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text        NOT NULL DEFAULT current_user
);

-- Default privileges let runtime roles write what the owner creates. This table they may only read.
DO $$
DECLARE
    other regrole;
BEGIN
    FOR other IN
        SELECT DISTINCT granted.grantee
        FROM pg_class AS c, aclexplode(c.relacl) AS granted
        WHERE c.oid = 'geoetl_meta.migration'::regclass
          AND granted.grantee NOT IN (c.relowner, 0)
          AND granted.privilege_type <> 'SELECT'
    LOOP
        EXECUTE format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON geoetl_meta.migration FROM %s', other);
    END LOOP;
END
$$;
