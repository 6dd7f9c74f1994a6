-- Inside the business database, as the server's administrator. May be run again.
CREATE EXTENSION IF NOT EXISTS postgis;
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS unaccent;

-- PostGIS lives in public; nobody but the owner of the database creates there.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- What the migrator creates from now on, the worker may use: rows, not structure. TRUNCATE is structure.
ALTER DEFAULT PRIVILEGES FOR ROLE {migrator} GRANT USAGE ON SCHEMAS TO {worker};
ALTER DEFAULT PRIVILEGES FOR ROLE {migrator} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {worker};
ALTER DEFAULT PRIVILEGES FOR ROLE {migrator} GRANT USAGE, SELECT ON SEQUENCES TO {worker};
