"""Every core there is, checked against the task table."""

from collections.abc import Callable, Mapping
from typing import Any

from geoetl.backend.app import OutboxCelery
from geoetl.engine.services import Services
from geoetl.models.tasks import TASKS, TaskName
from geoetl.tasks.attempt import Effects
from geoetl.tasks.inventory.tasks import CORES as INVENTORY
from geoetl.tasks.noop.tasks import CORES as NOOP
from geoetl.tasks.raster.tasks import CORES as RASTER
from geoetl.tasks.shell import register_completion, register_core
from geoetl.tasks.stac.tasks import CORES as STAC

CORES: Mapping[TaskName, Callable[..., Any]] = {**INVENTORY, **NOOP, **RASTER, **STAC}


def register_all(app: OutboxCelery, services: Services, effects: Effects) -> None:
    """Make every core a Celery task.

    Raises:
        TypeError: A task of the table has no core, or a core does not keep to its contract.
    """
    if missing := TASKS.keys() - CORES.keys():
        raise TypeError(f"tasks without a core: {', '.join(sorted(missing))}")
    register_completion(app, services)
    for name, core in CORES.items():
        register_core(app, services, effects, name, core)
