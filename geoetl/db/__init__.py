"""Connections, migrations, roles and the catalogue. Nothing else opens a database connection."""
