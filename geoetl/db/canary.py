"""Does a database really work for a role: sign in, write, read."""

import datetime as dt
import time
from dataclasses import dataclass

from psycopg.errors import InsufficientPrivilege

from geoetl.config.database import DatabaseTarget
from geoetl.db.connections import connect, database_errors
from geoetl.errors import SystemFault


class DatabaseDenied(SystemFault):
    """The role may enter the database, and lacks a right in it."""

    default_code = "database-denied"


@dataclass(frozen=True, slots=True)
class DatabaseCanary:
    """What was seen."""

    server_version: str
    seconds: float
    clock_ahead_s: float
    """The server's clock minus this machine's."""


def try_database(target: DatabaseTarget) -> DatabaseCanary:
    """Write and read a row of a temporary table; nothing stays.

    Raises:
        DatabaseUnavailable, DatabaseRefused: See `connect`.
        DatabaseDenied: No right to make temporary tables, which pgSTAC and the loader need.
    """
    started = time.monotonic()
    try:
        with (
            database_errors(f"write to {target}"),
            connect(target, application_name="geoetl doctor") as connection,
            connection.transaction(force_rollback=True),
        ):
            connection.execute("CREATE TEMPORARY TABLE geoetl_canary (word text) ON COMMIT DROP")
            connection.execute("INSERT INTO geoetl_canary VALUES ('tweet')")
            before = dt.datetime.now(dt.UTC)
            row = connection.execute(
                "SELECT current_setting('server_version'), clock_timestamp(), word FROM geoetl_canary"
            ).fetchone()
            after = dt.datetime.now(dt.UTC)
    except InsufficientPrivilege as exc:
        raise DatabaseDenied(
            f"Writing to {target} was refused: {str(exc).strip()}.",
            hint="Run `geoetl db provision` as the administrator: it sets this role's rights.",
        ) from exc
    assert row is not None
    version, there, _ = row
    here = before + (after - before) / 2
    return DatabaseCanary(version.split(" ")[0], time.monotonic() - started, (there - here).total_seconds())
