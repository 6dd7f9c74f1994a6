-- Who may enter the business database. pgSTAC's roles count in every database of the server, so the door is what
-- separates one installation from another.
REVOKE ALL ON DATABASE {business_db} FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE {business_db} TO {worker};
-- pgSTAC's migration and loader make temporary tables as these roles.
GRANT TEMPORARY ON DATABASE {business_db} TO pgstac_admin, pgstac_ingest;
