-- pgSTAC's migration grants its ingest role everything. Take back what loading does not need. Run as the migrator,
-- after every pgSTAC migration: each one grants it all again.
SET LOCAL ROLE pgstac_admin;

REVOKE TRUNCATE ON ALL TABLES IN SCHEMA pgstac FROM pgstac_ingest;
ALTER DEFAULT PRIVILEGES FOR ROLE pgstac_admin IN SCHEMA pgstac REVOKE TRUNCATE ON TABLES FROM pgstac_ingest;
REVOKE CREATE ON SCHEMA pgstac FROM pgstac_ingest;
REVOKE INSERT, UPDATE, DELETE ON pgstac.pgstac_settings, pgstac.migrations FROM pgstac_ingest;
-- Items may be deleted one by one, a collection with everything in it may not.
REVOKE DELETE ON pgstac.collections FROM pgstac_ingest;
REVOKE EXECUTE ON FUNCTION pgstac.delete_collection(text) FROM pgstac_ingest, PUBLIC;

-- pgSTAC grants ALL on each partition it creates during a load. The catalogue calls this after a load, so that new
-- partitions cannot be truncated either; it takes rights away and can do nothing else.
CREATE OR REPLACE FUNCTION pgstac.geoetl_harden_partitions() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    loose regclass;
BEGIN
    FOR loose IN
        SELECT c.oid::regclass
        FROM pg_class AS c
        WHERE c.relnamespace = 'pgstac'::regnamespace
          AND c.relispartition
          AND c.relkind IN ('r', 'p')
          AND has_table_privilege('pgstac_ingest', c.oid, 'TRUNCATE')
    LOOP
        EXECUTE format('REVOKE TRUNCATE ON %s FROM pgstac_ingest', loose);
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION pgstac.geoetl_harden_partitions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgstac.geoetl_harden_partitions() TO pgstac_ingest;
