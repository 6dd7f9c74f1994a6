"""Drift: how the live schema differs from what the applied migrations make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import Rollback

from geoetl.db.connections import Connection, database_errors
from geoetl.db.schema import Migration, apply_migration, schema_status
from geoetl.db.statements import read_statement


@dataclass(frozen=True, slots=True)
class Difference:
    """One object that is not as the migrations make it."""

    what: str
    """For example ``column task.attempt``."""
    expected: str
    """As the migrations make it; empty where they make none."""
    found: str
    """As it is; empty where it is gone."""

    def __str__(self) -> str:
        if not self.expected:
            return f"{self.what} is there, no migration makes it"
        if not self.found:
            return f"{self.what} is missing"
        return f"{self.what} is {_brief(self.found)}, the migrations make {_brief(self.expected)}"


def find_drift(connection: Connection, migrations: Sequence[Migration]) -> tuple[Difference, ...]:
    """Compare schema ``geoetl`` with one that the applied migrations make beside it, in a transaction rolled back.

    Only the name of the live schema is touched, invisibly to others, so workers go on.

    Args:
        connection: As the owner of the database, in autocommit mode.
        migrations: All that this version ships.

    Raises:
        SchemaFault: See `schema_status`.
        DatabaseUnavailable: The database went away.
    """
    with database_errors("compare the schema with the migrations"):
        applied = schema_status(connection, migrations).applied
        found = _snapshot(connection)
        expected: Mapping[str, str] = {}
        with connection.transaction() as transaction:
            connection.execute("SET LOCAL client_min_messages = warning")
            if found:
                connection.execute("ALTER SCHEMA geoetl RENAME TO geoetl_live")
            for migration in applied:
                apply_migration(connection, migration)
            expected = _snapshot(connection)
            raise Rollback(transaction)
    return tuple(
        Difference(what, expected.get(what, ""), found.get(what, ""))
        for what in sorted({*expected, *found})
        if expected.get(what) != found.get(what)
    )


def _snapshot(connection: Connection) -> Mapping[str, str]:
    return dict(connection.execute(read_statement("catalogue_snapshot")).fetchall())


def _brief(definition: str) -> str:
    text = " ".join(definition.split())
    return repr(text if len(text) <= 80 else f"{text[:77]}…")
