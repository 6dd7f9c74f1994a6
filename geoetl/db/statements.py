"""SQL that ships with this package, with names filled in."""

from importlib.resources import files
from typing import LiteralString, cast

from psycopg import sql


def read_statement(name: str) -> LiteralString:
    """The text of ``sql/<name>.sql``."""
    # psycopg asks for a literal so that nobody builds SQL from input; a file of the package is as good as one.
    return cast("LiteralString", (files("geoetl.db") / "sql" / f"{name}.sql").read_text(encoding="utf-8"))


def compose_statement(name: str, **parts: sql.Composable) -> sql.Composed:
    """The text of ``sql/<name>.sql`` with each ``{part}`` quoted as what it is."""
    return sql.SQL(read_statement(name)).format(**parts)
