"""The checks of a whole installation, as this process reaches it."""

from functools import partial

from geoetl.engine.services import Services
from geoetl.health.broker import check_broker
from geoetl.health.databases import (
    check_app_schema,
    check_business_schema,
    check_catalogue,
    check_connections,
    check_database,
)
from geoetl.health.diagnosis import ComponentCheck
from geoetl.health.machine import check_gdal, check_identity, check_memory, check_scratch, scopes_in_use
from geoetl.health.storage import check_tier


def installation_checks(services: Services) -> dict[str, ComponentCheck]:
    """Every component check, by component; for ``geoetl doctor``, and part of them for probes.

    Args:
        services: The parts of this process: what a worker with the same settings would use.
    """
    settings = services.settings
    checks: dict[str, ComponentCheck] = {
        "database app": partial(check_database, "app", settings.database.app),
        "database business": partial(check_database, "business", settings.database.business),
        "schema app": partial(check_app_schema, settings.database, services.connections),
        "schema business": partial(check_business_schema, settings.database),
        "sessions": partial(check_connections, settings),
        "catalogue": partial(check_catalogue, services.catalogue),
        "storage bronze": partial(check_tier, services.store, "bronze", settings.storage.bronze),
        "storage silver": partial(check_tier, services.store, "silver", settings.storage.silver),
        "broker": partial(check_broker, services.app, settings.broker),
        "gdal": check_gdal,
        "scratch": partial(check_scratch, settings),
        "memory": partial(check_memory, settings),
    }
    if scopes_in_use(settings):
        checks["identity"] = partial(check_identity, settings)
    return checks
