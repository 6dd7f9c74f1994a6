-- Roles belong to the server, not to a database. Run as its administrator. May be run again.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[{app_name}, {migrator_name}, {worker_name}] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', wanted);
        END IF;
        -- Only where something is set: taking back what was never given needs a superuser, which Azure has not.
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = wanted AND (rolsuper OR rolreplication OR rolbypassrls)) THEN
            EXECUTE format('ALTER ROLE %I NOSUPERUSER NOREPLICATION NOBYPASSRLS', wanted);
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = wanted AND (rolcreatedb OR rolcreaterole)) THEN
            EXECUTE format('ALTER ROLE %I NOCREATEDB NOCREATEROLE', wanted);
        END IF;
        -- Who is no superuser must be a member of a role to make a database of its own for it.
        IF NOT pg_has_role(current_user, wanted, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO %I', wanted, current_user);
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

-- A process that is frozen in the middle of a transaction keeps its locks: a run's, or a whole collection's. None of our
-- transactions thinks for long; the longest silence is a relay's that waits for the broker.
ALTER ROLE {app} SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE {worker} SET idle_in_transaction_session_timeout = '60s';

-- The migrator installs pgSTAC: it acts as each of these roles and grants them on.
GRANT pgstac_admin, pgstac_read, pgstac_ingest TO {migrator} WITH ADMIN OPTION;
-- The worker loads and searches.
GRANT pgstac_read, pgstac_ingest TO {worker};
