-- Who may enter the app database: its owner alone.
REVOKE ALL ON DATABASE {app_db} FROM PUBLIC;
