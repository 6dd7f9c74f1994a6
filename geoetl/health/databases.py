"""Both databases: can be written to, are up to date, hold what must hold."""

import time
from collections.abc import Callable, Iterator, Sequence

from geoetl.config.database import DatabaseSettings, DatabaseTarget
from geoetl.config.settings import Settings
from geoetl.db.budget import Demand, look_at_servers
from geoetl.db.canary import try_database
from geoetl.db.catalogue import Catalogue
from geoetl.db.connections import Connection, DatabaseRefused, DatabaseUnavailable, database_errors
from geoetl.db.status import DatabaseStatus, app_status, business_status
from geoetl.engine.invariants import Violation, violations
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


def check_app_schema(settings: DatabaseSettings, connections: Callable[[], Connection]) -> Iterator[Diagnosis]:
    """Migrations applied, nothing changed by hand, and what must hold in the rows holds."""
    status = app_status(settings.app)
    yield _schema_diagnosis("schema app", status)
    if status.applied and not status.pending:
        with database_errors("look for violated invariants"):
            broken = violations(connections())
        yield _invariants_diagnosis(broken)


def check_business_schema(settings: DatabaseSettings) -> Iterator[Diagnosis]:
    """Migrations applied, pgSTAC of the right version."""
    yield _schema_diagnosis("schema business", business_status(settings.business, owner=None))


def check_catalogue(catalogue: Catalogue) -> Iterator[Diagnosis]:
    """Search, as every reader of the catalogue does."""
    started = time.monotonic()
    catalogue.search({"limit": 1})
    took = time.monotonic() - started
    yield Diagnosis("catalogue", "healthy", f"pgSTAC answered a search in {took * 1000:.0f} ms")


def check_connections(settings: Settings) -> Iterator[Diagnosis]:
    """Whether one more worker like the settings describe would find room."""
    try:
        uses = look_at_servers(settings.database, Demand.of_worker(settings.worker.concurrency))
    except (DatabaseUnavailable, DatabaseRefused):
        return  # the check of that database says it
    for use in uses:
        component = f"sessions of {use.databases}"
        if use.fits:
            yield Diagnosis(component, "healthy", f"One more worker fits. {use}")
        else:
            yield Diagnosis(
                component,
                "degraded",
                f"One more worker would not start. {use}",
                cause="connections-exceeded",
                hint="Run fewer or smaller workers, raise max_connections of the server, or allow more with "
                "GEOETL_DATABASE__CONNECTIONS_SHARE.",
            )


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


def _invariants_diagnosis(broken: Sequence[Violation]) -> Diagnosis:
    if not broken:
        return Diagnosis("invariants", "healthy", "every rule of the engine holds")
    return Diagnosis(
        "invariants",
        "unhealthy",
        f"{len(broken)} rules of the engine are broken: {broken[0]}",
        cause="invariant-broken",
        hint="View geoetl.violation lists them: somebody changed rows by hand, or this is a defect of geoetl.",
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
