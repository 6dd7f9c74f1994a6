"""Ordered migrations: which there are, which have been applied, and applying the rest."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, LiteralString, cast

from psycopg.errors import DatabaseError

from geoetl.db.connections import Connection, database_errors
from geoetl.db.statements import read_statement
from geoetl.errors import SystemFault

type DatabaseName = Literal["app", "business"]

_FILE_NAME = re.compile(r"^(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.sql$")
#: Key of the advisory lock that lets one process change the schema at a time; any constant of our own will do.
LOCK_KEY = 0x67656F65746C0001


class SchemaFault(SystemFault):
    """The migrations on disk and those applied to the database contradict each other, or one of them failed."""

    default_code = "schema-fault"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.number:04d}_{self.name}"


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """How far a database is."""

    applied: tuple[Migration, ...]
    pending: tuple[Migration, ...]


def load_migrations(database: DatabaseName) -> tuple[Migration, ...]:
    """The migrations that this version of geoetl ships for a database, in order.

    Raises:
        SchemaFault: A file name is malformed, or a number is missing or used twice.
    """
    migrations: list[Migration] = []
    folder = files("geoetl.db") / "migrations" / database
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.name.endswith(".sql"):
            match = _FILE_NAME.match(entry.name)
            if match is None:
                raise SchemaFault(f"migrations/{database}/{entry.name} is not named like 0001_what_it_adds.sql.")
            migrations.append(
                Migration(number=int(match["number"]), name=match["name"], sql=entry.read_text(encoding="utf-8"))
            )
    migrations.sort(key=lambda migration: migration.number)
    _check_numbers(migrations)
    return tuple(migrations)


def schema_status(connection: Connection, migrations: Sequence[Migration]) -> SchemaStatus:
    """Which of ``migrations`` have been applied. Changes nothing.

    Raises:
        SchemaFault: An applied migration was edited afterwards, or this version of geoetl does not know it.
        DatabaseUnavailable: The database went away.
    """
    with database_errors("read which migrations have been applied"):
        exists = connection.execute("SELECT to_regclass('geoetl_meta.migration') IS NOT NULL").fetchone()
        if exists is None or not exists[0]:
            return SchemaStatus(applied=(), pending=tuple(migrations))
        rows = connection.execute("SELECT number, name, checksum FROM geoetl_meta.migration ORDER BY number").fetchall()
    known = {migration.number: migration for migration in migrations}
    for number, name, checksum in rows:
        migration = known.get(number)
        if migration is None:
            raise SchemaFault(
                f"The database has migration {number:04d}_{name}, which this version of geoetl does not know.",
                hint="Use the version of geoetl that applied it, or a later one.",
            )
        if migration.checksum != checksum:
            raise SchemaFault(
                f"Migration {migration} was edited after it had been applied (its checksum differs).",
                hint="Restore the file, and put the change into a new migration.",
            )
    count = len(rows)
    return SchemaStatus(applied=tuple(migrations[:count]), pending=tuple(migrations[count:]))


def migrate(connection: Connection, migrations: Sequence[Migration]) -> tuple[Migration, ...]:
    """Apply what is missing, each step in a transaction of its own; the steps applied now, in order.

    Waits while another process migrates this database.

    Args:
        connection: As the owner of the database, in autocommit mode.
        migrations: All of them, numbered 1, 2, … in order.

    Raises:
        SchemaFault: See `schema_status`; or a migration failed: it was rolled back, those before it stay.
        DatabaseUnavailable: The database went away.
    """
    _check_numbers(migrations)
    with database_errors("migrate the database"):
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        try:
            pending = apply_pending(connection, migrations)
        finally:
            if not connection.closed:
                connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])
    return pending


def apply_pending(connection: Connection, migrations: Sequence[Migration]) -> tuple[Migration, ...]:
    """Apply what is missing; the caller holds the lock. In a transaction of the caller: all or nothing."""
    connection.execute(read_statement("migration_table"))
    pending = schema_status(connection, migrations).pending
    for migration in pending:
        with connection.transaction():
            apply_migration(connection, migration)
            connection.execute(
                "INSERT INTO geoetl_meta.migration (number, name, checksum) VALUES (%s, %s, %s)",
                [migration.number, migration.name, migration.checksum],
            )
    return pending


def apply_migration(connection: Connection, migration: Migration) -> None:
    """Run one migration's SQL, without recording it.

    Raises:
        SchemaFault: It failed and was rolled back.
    """
    try:
        with connection.transaction():
            connection.execute(cast("LiteralString", migration.sql))
    except DatabaseError as exc:
        if connection.closed:
            raise
        raise SchemaFault(
            f"Migration {migration} failed and was rolled back: {str(exc).strip()}.",
            hint="Those before it stay applied.",
        ) from exc


def _check_numbers(migrations: Sequence[Migration]) -> None:
    for expected, migration in enumerate(migrations, start=1):
        if migration.number != expected:
            raise SchemaFault(f"Migration {migration} comes where number {expected:04d} is expected.")
