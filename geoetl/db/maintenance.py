"""Emptying and rebuilding the app database. The business database is never touched, and never accepted.

A full rebuild is one transaction: other sessions see the old schema, then a new and empty one, never none.
"""

import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from psycopg import sql
from psycopg.errors import DatabaseError, DeadlockDetected, LockNotAvailable
from psycopg.types.json import Jsonb

from geoetl.config.database import DatabaseTarget
from geoetl.db.connections import Connection, DatabaseUnavailable, connect, database_errors
from geoetl.db.schema import LOCK_KEY, Migration, apply_pending, load_migrations
from geoetl.errors import InvalidInput

type Action = Literal["redeploy", "full-rebuild", "nuke"]

#: How long an attempt waits for running transactions, which are short; waiting itself holds up new ones.
_LOCK_TIMEOUT = "3s"
#: Attempts to get all locks at once, against transactions that lock in another order.
_ATTEMPTS = 5


class NotNukeable(InvalidInput):
    """The database does not carry the marker, or holds what must never be dropped."""

    default_code = "not-nukeable"


class NotConfirmed(InvalidInput):
    """The name that was typed is not the name of the database."""

    default_code = "not-confirmed"


class MaintenanceRunning(DatabaseUnavailable):
    """Another process migrates or rebuilds this database."""

    default_code = "maintenance-running"


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What was done to the app database."""

    action: Action
    database: str
    dropped_rows: dict[str, int]
    """By table of schema ``geoetl``; empty where nothing was dropped."""
    applied: tuple[str, ...]
    """Migrations applied."""


def redeploy(app: DatabaseTarget, *, person: str, migrations: Sequence[Migration] | None = None) -> MaintenanceReport:
    """Bring the app database up to date, also after a nuke; data stays.

    Args:
        app: The app database as its owner.
        person: Who asked, for the record.
        migrations: Instead of those this version ships.

    Raises:
        NotNukeable: It is not an app database that was provisioned, or holds the catalogue.
        SchemaFault: A migration was edited, is unknown, or failed.
        MaintenanceRunning: Another process is at it.
    """
    return _maintain(app, "redeploy", person, lambda connection: ({}, _apply(connection, migrations)))


def full_rebuild(
    app: DatabaseTarget, *, confirm: str, person: str, migrations: Sequence[Migration] | None = None
) -> MaintenanceReport:
    """Drop everything in the app database and make it anew, in one transaction: jobs and history are gone.

    Args:
        app: The app database as its owner.
        confirm: The database's name, as typed by whoever asked.
        person: Who asked, for the record.
        migrations: Instead of those this version ships.

    Raises:
        NotConfirmed, NotNukeable, MaintenanceRunning, SchemaFault: Nothing was changed.
    """
    _require_confirmation(app, confirm)
    return _maintain(
        app, "full-rebuild", person, lambda connection: (_drop(connection), _apply(connection, migrations))
    )


def nuke(app: DatabaseTarget, *, confirm: str, person: str) -> MaintenanceReport:
    """Drop everything in the app database; workers wait until `redeploy`.

    Args:
        app: The app database as its owner.
        confirm: The database's name, as typed by whoever asked.
        person: Who asked, for the record.

    Raises:
        NotConfirmed, NotNukeable, MaintenanceRunning: Nothing was changed.
    """
    _require_confirmation(app, confirm)
    return _maintain(app, "nuke", person, lambda connection: (_drop(connection), ()))


type _Work = Callable[[Connection], tuple[dict[str, int], tuple[Migration, ...]]]


def _require_confirmation(app: DatabaseTarget, confirm: str) -> None:
    if confirm != app.dbname:
        raise NotConfirmed(
            f"Nothing was changed: {confirm!r} was typed to confirm, the database is {app.dbname!r}.",
            hint="Type the database's name.",
        )


def _maintain(app: DatabaseTarget, action: Action, person: str, work: _Work) -> MaintenanceReport:
    with (
        database_errors(f"{action} {app}"),
        connect(app, application_name=f"geoetl {action}") as connection,
        _alone(connection, app),
    ):
        _require_app_database(connection, app)
        record = _begin_record(connection, action, person)
        try:
            dropped, applied = _attempt(connection, record, work)
        except BaseException as exc:  # an interrupt as well: the record must not stay at "started"
            if not connection.closed:
                _end_record(connection, record, "failed", {"error": str(exc)})
            raise
    return MaintenanceReport(action, app.dbname, dropped, tuple(map(str, applied)))


def _attempt(connection: Connection, record: int, work: _Work) -> tuple[dict[str, int], tuple[Migration, ...]]:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_LOCK_TIMEOUT))
                dropped, applied = work(connection)
                _end_record(
                    connection, record, "done", {"dropped_rows": dropped, "applied": [str(each) for each in applied]}
                )
        except (DeadlockDetected, LockNotAvailable):
            if attempt == _ATTEMPTS:
                raise
        else:
            return dropped, applied
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _alone(connection: Connection, app: DatabaseTarget) -> Generator[None]:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone()
    if row is None or not row[0]:
        raise MaintenanceRunning(
            f"Another process migrates or rebuilds {app}.", hint="Wait for it; `geoetl db status` shows the record."
        )
    yield
    # No unlock on an error: the lock ends with the session, which the caller closes.
    connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])


def _require_app_database(connection: Connection, app: DatabaseTarget) -> None:
    row = connection.execute(
        "SELECT to_regnamespace('pgstac') IS NOT NULL OR to_regclass('geoetl.artefact') IS NOT NULL,"
        " to_regclass('geoetl_meta.nukeable') IS NOT NULL AND to_regclass('geoetl_meta.maintenance') IS NOT NULL"
    ).fetchone()
    holds_products, is_marked = row or (True, False)
    if holds_products:
        raise NotNukeable(
            f"Nothing was changed: {app} holds the catalogue or the ledger of artefacts.",
            hint="GEOETL_DATABASE__APP__… must name the app database; the business database is never rebuilt.",
        )
    if is_marked:
        marker = connection.execute("SELECT FROM geoetl_meta.nukeable").fetchone()
        is_marked = marker is not None
    if not is_marked:
        raise NotNukeable(
            f"Nothing was changed: {app} does not carry the marker of a database that may be rebuilt.",
            hint="`geoetl db provision` sets it (table geoetl_meta.nukeable) in the app database.",
        )


def _drop(connection: Connection) -> dict[str, int]:
    """Drop schema ``geoetl`` and forget its migrations; how many rows each table had."""
    tables = [
        row[0]
        for row in connection.execute(
            # The order in which the engine locks; what is locked first everywhere cannot deadlock.
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('geoetl') AND relkind IN ('r', 'p')"
            " ORDER BY array_position(ARRAY['outbox', 'job', 'run', 'task', 'stage']::name[], relname), relname"
        )
    ]
    counts: dict[str, int] = {}
    for table in tables:
        name = sql.Identifier("geoetl", table)
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name))
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
        counts[table] = row[0] if row else 0
    connection.execute("DROP SCHEMA IF EXISTS geoetl CASCADE")
    row = connection.execute("SELECT to_regclass('geoetl_meta.migration') IS NOT NULL").fetchone()
    if row is not None and row[0]:
        connection.execute("DELETE FROM geoetl_meta.migration")
    return counts


def _apply(connection: Connection, migrations: Sequence[Migration] | None) -> tuple[Migration, ...]:
    return apply_pending(connection, load_migrations("app") if migrations is None else migrations)


def _begin_record(connection: Connection, action: Action, person: str) -> int:
    row = connection.execute(
        "INSERT INTO geoetl_meta.maintenance (action, person, host, version) VALUES (%s, %s, %s, %s) RETURNING id",
        [action, person, socket.gethostname(), version("geoetl")],
    ).fetchone()
    assert row is not None
    return row[0]


def _end_record(connection: Connection, record: int, state: str, detail: dict[str, Any]) -> None:
    try:
        connection.execute(
            "UPDATE geoetl_meta.maintenance SET state = %s, detail = %s, finished_at = clock_timestamp() WHERE id = %s",
            [state, Jsonb(detail), record],
        )
    except DatabaseError:
        if state == "done":
            raise
        # The error that is being recorded is the one to tell; "started" says that it did not end.
