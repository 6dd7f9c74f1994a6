-- Sessions of the server: how many there may be, how many are of other roles and of ours, and what workers have declared
-- in the name of their first session. That name is seen by its own role.
SELECT
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
    count(*) FILTER (WHERE usename <> ALL (%(roles)s)),
    count(*) FILTER (WHERE usename = ANY (%(roles)s)),
    coalesce(array_agg(application_name) FILTER (WHERE application_name LIKE 'geoetl worker %%'), '{}')
FROM pg_stat_activity
WHERE usename IS NOT NULL AND pid <> pg_backend_pid()
