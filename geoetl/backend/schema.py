"""Creates the backend's tables in a database that is not migrated by geoetl."""

from importlib.resources import files
from typing import LiteralString, cast

from geoetl.backend.ledger import Connection


def install(conn: Connection) -> None:
    """Create the schema ``geoetl`` with the backend's tables, or bring an older one up to date.

    Needs the right to create in the database; runs in one transaction, and changes nothing the second time.
    """
    text = files("geoetl.backend.sql").joinpath("schema.sql").read_text(encoding="utf-8")
    with conn.transaction():
        # Two workers that start together must not both find the tables missing.
        conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('geoetl.backend.schema', 0))")
        conn.execute(cast("LiteralString", text))
