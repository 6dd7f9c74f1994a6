-- Roles belong to the server, not to a database. Run as its administrator. May be run again.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[{app_name}, {migrator_name}, {worker_name}] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', wanted);
        END IF;
    END LOOP;
    -- pgSTAC's own: its migration would create them, which only a role with CREATEROLE may do.
    FOREACH wanted IN ARRAY ARRAY['pgstac_admin', 'pgstac_read', 'pgstac_ingest'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END
$$;

ALTER ROLE {app} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE {migrator} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE {worker} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- A process that is frozen in the middle of a transaction keeps its locks: a run's, or a whole collection's. None of our
-- transactions thinks for long; the longest silence is a relay's that waits for the broker.
ALTER ROLE {app} SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE {worker} SET idle_in_transaction_session_timeout = '60s';

-- The migrator installs pgSTAC: it acts as each of these roles and grants them on.
GRANT pgstac_admin, pgstac_read, pgstac_ingest TO {migrator} WITH ADMIN OPTION;
-- The worker loads and searches.
GRANT pgstac_read, pgstac_ingest TO {worker};
