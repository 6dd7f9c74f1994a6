"""How the two databases are: reachable, up to date, as the migrations made them."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from geoetl.config.database import DatabaseSettings, DatabaseTarget
from geoetl.db.connections import Connection, connect, database_errors
from geoetl.db.drift import find_drift
from geoetl.db.pgstac import installed_version, package_version
from geoetl.db.schema import DatabaseName, load_migrations, schema_status
from geoetl.errors import GeoEtlError


@dataclass(frozen=True, slots=True)
class MaintenanceRecord:
    """A line of the record that survives a nuke."""

    action: str
    state: str
    person: str
    host: str
    started_at: dt.datetime
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """One database, as it is now."""

    name: DatabaseName
    target: str
    applied: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    drift: tuple[str, ...] | None = None
    """What is not as the migrations made it; None: only its owner can tell, and is not configured."""
    is_nukeable: bool = False
    pgstac: str = ""
    """Version of pgSTAC; empty in the app database, and where it is missing."""
    maintenance: tuple[MaintenanceRecord, ...] = ()
    """The newest first."""
    problems: tuple[str, ...] = field(default=())

    @property
    def is_ready(self) -> bool:
        """Whether this version of geoetl can work with it."""
        return not self.problems and not self.pending and not self.drift


def database_statuses(settings: DatabaseSettings) -> tuple[DatabaseStatus, DatabaseStatus]:
    """The app database and the business database; what is wrong is in the answer, nothing is raised for it."""
    return app_status(settings.app), business_status(settings.business, owner=settings.business_owner)


def app_status(app: DatabaseTarget) -> DatabaseStatus:
    """The app database, looked at by its owner."""
    try:
        with database_errors(f"look at {app}"), connect(app, application_name="geoetl status") as connection:
            schema = schema_status(connection, load_migrations("app"))
            drift = find_drift(connection, load_migrations("app"))
            is_marked, records = _maintenance(connection)
    except GeoEtlError as exc:
        return DatabaseStatus("app", str(app), problems=(str(exc),))
    return DatabaseStatus(
        "app",
        str(app),
        applied=tuple(map(str, schema.applied)),
        pending=tuple(map(str, schema.pending)),
        drift=tuple(map(str, drift)),
        is_nukeable=is_marked,
        maintenance=records,
    )


def business_status(business: DatabaseTarget, *, owner: DatabaseTarget | None) -> DatabaseStatus:
    """The business database, looked at by the worker, and by its owner where one is given."""
    migrations = load_migrations("business")
    try:
        with database_errors(f"look at {business}"), connect(business, application_name="geoetl status") as connection:
            schema = schema_status(connection, migrations)
        found = installed_version(business) or ""
        drift = None
        if owner is not None:
            with database_errors(f"look at {owner}"), connect(owner, application_name="geoetl status") as connection:
                drift = tuple(map(str, find_drift(connection, migrations)))
    except GeoEtlError as exc:
        return DatabaseStatus("business", str(business), problems=(str(exc),))
    wanted = package_version()
    wrong = () if found == wanted else (f"It has pgSTAC {found or '(none)'}, this version of geoetl needs {wanted}.",)
    return DatabaseStatus(
        "business",
        str(business),
        applied=tuple(map(str, schema.applied)),
        pending=tuple(map(str, schema.pending)),
        drift=drift,
        pgstac=found,
        problems=wrong,
    )


def _maintenance(connection: Connection) -> tuple[bool, tuple[MaintenanceRecord, ...]]:
    row = connection.execute("SELECT to_regclass('geoetl_meta.nukeable') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return False, ()
    is_marked = connection.execute("SELECT FROM geoetl_meta.nukeable").fetchone() is not None
    rows = connection.execute(
        "SELECT action, state, person, host, started_at, detail FROM geoetl_meta.maintenance ORDER BY id DESC LIMIT 5"
    ).fetchall()
    return is_marked, tuple(MaintenanceRecord(*row) for row in rows)
