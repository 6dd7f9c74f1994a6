"""Bringing both databases up to date: pgSTAC, its hardening, and our migrations."""

from dataclasses import dataclass

from geoetl.config.database import DatabaseSettings
from geoetl.db.connections import connect, database_errors
from geoetl.db.pgstac import bootstrap_pgstac
from geoetl.db.schema import load_migrations, migrate, schema_status
from geoetl.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class UpgradeReport:
    """What was applied, or would be."""

    app: tuple[str, ...]
    business: tuple[str, ...]
    pgstac: str
    """The version there afterwards; empty where it was not looked at."""


def upgrade(settings: DatabaseSettings, *, dry_run: bool = False) -> UpgradeReport:
    """Apply every pending migration to both databases; each step in a transaction of its own, data stays.

    Args:
        settings: With ``business_owner``; with ``admin`` as well where pgSTAC itself must be installed or upgraded.
        dry_run: Only say what is pending.

    Raises:
        InvalidInput: ``business_owner`` is not set.
        PgstacFault, SchemaFault: A step failed and was rolled back; those before it stay.
        DatabaseUnavailable: A database is away.
    """
    owner = settings.business_owner
    if owner is None:
        raise InvalidInput(
            "The settings do not name the owner of the business database, who alone may migrate it.",
            code="owner-missing",
            hint="Set GEOETL_DATABASE__BUSINESS_OWNER__HOST, …__DBNAME and …__USER for this command.",
        )
    targets = (("app", settings.app), ("business", owner))
    pgstac = ""
    if not dry_run:
        admin = settings.admin and settings.admin.model_copy(update={"dbname": owner.dbname})
        pgstac = bootstrap_pgstac(owner, admin=admin)
    applied: dict[str, tuple[str, ...]] = {}
    for name, target in targets:
        migrations = load_migrations("app" if name == "app" else "business")
        with database_errors(f"migrate {target}"), connect(target, application_name="geoetl migrate") as connection:
            pending = schema_status(connection, migrations).pending if dry_run else migrate(connection, migrations)
        applied[name] = tuple(map(str, pending))
    return UpgradeReport(app=applied["app"], business=applied["business"], pgstac=pgstac)
