"""Both databases: can be written to, are up to date, hold what must hold."""

import time
from collections.abc import Iterator

from geoetl.config.database import DatabaseSettings, DatabaseTarget
from geoetl.db.canary import try_database
from geoetl.db.catalogue import Catalogue
from geoetl.db.status import DatabaseStatus, app_status, business_status
from geoetl.health.diagnosis import Diagnosis

#: Clocks further apart than this make leases and signatures unreliable, in seconds.
CLOCK_LIMIT_S = 5.0


def check_database(name: str, target: DatabaseTarget) -> Iterator[Diagnosis]:
    """Sign in, make a temporary table, write and read a row; compare clocks."""
    component = f"database {name}"
    canary = try_database(target)
    yield Diagnosis(
        component,
        "healthy",
        f"PostgreSQL {canary.server_version}, {target}: a temporary table was written and read "
        f"in {canary.seconds * 1000:.0f} ms",
    )
    yield clock_diagnosis(f"clock of database {name}", canary.clock_ahead_s)


def check_schema(name: str, settings: DatabaseSettings) -> Iterator[Diagnosis]:
    """Migrations applied, nothing changed by hand, pgSTAC of the right version."""
    component = f"schema {name}"
    status = app_status(settings.app) if name == "app" else business_status(settings.business, owner=None)
    yield _schema_diagnosis(component, status)


def check_catalogue(catalogue: Catalogue) -> Iterator[Diagnosis]:
    """Search, as every reader of the catalogue does."""
    started = time.monotonic()
    catalogue.search({"limit": 1})
    took = time.monotonic() - started
    yield Diagnosis("catalogue", "healthy", f"pgSTAC answered a search in {took * 1000:.0f} ms")


def clock_diagnosis(component: str, ahead_s: float) -> Diagnosis:
    """Whether a service's clock agrees with this machine's."""
    direction = "ahead of" if ahead_s > 0 else "behind"
    detail = f"{abs(ahead_s):.1f} s {direction} this machine"
    if abs(ahead_s) <= CLOCK_LIMIT_S:
        return Diagnosis(component, "healthy", detail)
    return Diagnosis(
        component,
        "degraded",
        detail,
        cause="clock-skew",
        hint="Synchronise this machine's clock (NTP): leases, tokens and signatures compare times.",
    )


def _schema_diagnosis(component: str, status: DatabaseStatus) -> Diagnosis:
    if status.problems:
        return Diagnosis(
            component, "unhealthy", status.problems[0], cause="schema-unreadable", hint="See `geoetl db status`."
        )
    if not status.applied:
        return Diagnosis(
            component,
            "unhealthy",
            f"{status.target} has no tables of geoetl; {len(status.pending)} migrations are pending",
            cause="schema-missing",
            hint="Run `geoetl db migrate`; after a nuke `geoetl db redeploy`.",
        )
    if status.pending:
        return Diagnosis(
            component,
            "unhealthy",
            f"{len(status.pending)} migrations are pending, the first is {status.pending[0]}",
            cause="migrations-pending",
            hint="Run `geoetl db migrate`.",
        )
    if status.drift:
        return Diagnosis(
            component,
            "degraded",
            f"{len(status.drift)} objects are not as the migrations made them: {status.drift[0]}",
            cause="schema-drift",
            hint="`geoetl db status` lists them; put changes into a migration.",
        )
    pgstac = f", pgSTAC {status.pgstac}" if status.pgstac else ""
    return Diagnosis(component, "healthy", f"{len(status.applied)} migrations applied, none pending{pgstac}")
