"""Installing pgSTAC, bringing it up to date, and taking back the rights it grants too freely."""

import json
from importlib.metadata import version

from psycopg import sql
from psycopg.types.json import set_json_dumps, set_json_loads

from geoetl.config.database import DatabaseTarget
from geoetl.db.connections import connect, database_errors
from geoetl.db.statements import read_statement
from geoetl.errors import SystemFault


class PgstacFault(SystemFault):
    """pgSTAC could not be installed or brought up to date."""

    default_code = "pgstac-fault"


def package_version() -> str:
    """The pgSTAC version that this installation of geoetl works with."""
    return version("pypgstac")


def installed_version(target: DatabaseTarget) -> str | None:
    """The pgSTAC version of a database; None where it has none."""
    with database_errors("read pgSTAC's version"), connect(target, application_name="geoetl pgstac") as connection:
        exists = connection.execute("SELECT to_regclass('pgstac.migrations') IS NOT NULL").fetchone()
        if exists is None or not exists[0]:
            return None
        row = connection.execute("SELECT version FROM pgstac.migrations ORDER BY datetime DESC LIMIT 1").fetchone()
    return row[0] if row else None


def bootstrap_pgstac(migrator: DatabaseTarget, *, admin: DatabaseTarget | None = None) -> str:
    """Install or upgrade pgSTAC in the business database, and harden it; the version there afterwards.

    Args:
        migrator: The business database as its owner, prepared by ``provision``.
        admin: The same database as the server's administrator, who lends the migrator CREATEROLE for the time of the
            migration (it runs CREATE ROLE even where the roles exist). Not needed where the version is right already.

    Raises:
        PgstacFault: The migration failed and was rolled back, or needs ``admin``.
        DatabaseUnavailable: The database went away.
    """
    wanted = package_version()
    found = installed_version(migrator)
    if found != wanted:
        if admin is None:
            raise PgstacFault(
                f"{migrator} has pgSTAC {found or '(none)'}, this version of geoetl needs {wanted}.",
                hint="Run the migration with the administrator's connection: pgSTAC's own needs CREATEROLE once.",
            )
        _set_createrole(admin, role=migrator.user, may=True)
        try:
            _run_migration(migrator, wanted)
        finally:
            _set_createrole(admin, role=migrator.user, may=False)
    with (
        database_errors("harden pgSTAC"),
        connect(migrator, application_name="geoetl pgstac") as connection,
        connection.transaction(),
    ):
        connection.execute(read_statement("harden_pgstac"))
    return wanted


def _run_migration(migrator: DatabaseTarget, wanted: str) -> None:
    try:
        # Imported late: pypgstac takes half a second, and replaces psycopg's JSON functions for the whole process.
        from pypgstac.db import PgstacDB  # noqa: PLC0415
        from pypgstac.migrate import Migrate  # noqa: PLC0415
    finally:
        set_json_dumps(json.dumps)
        set_json_loads(json.loads)
    # A connection of its own, closed afterwards: the migration ends inside SET ROLE pgstac_ingest.
    with connect(migrator, application_name="geoetl pgstac migration") as connection:
        try:
            Migrate(PgstacDB(connection=connection)).run_migration(wanted)
        # pypgstac raises bare Exception besides psycopg's; all of them mean: rolled back.
        except Exception as exc:
            raise PgstacFault(f"Migrating pgSTAC of {migrator} to {wanted} failed: {str(exc).strip()}.") from exc


def _set_createrole(admin: DatabaseTarget, *, role: str, may: bool) -> None:
    statement = sql.SQL("ALTER ROLE {} CREATEROLE" if may else "ALTER ROLE {} NOCREATEROLE")
    with connect(admin, application_name="geoetl pgstac") as connection:
        connection.execute(statement.format(sql.Identifier(role)))
