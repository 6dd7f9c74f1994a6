"""The table of tasks: what each takes, returns, where it runs and how long it may take. Read this first."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from geoetl.models import bigcog, inventory, noop, raster
from geoetl.models.base import Model


class TaskName(StrEnum):
    """Every task there is. The value is the Celery task name."""

    INVENTORY_LIST = "inventory.list"
    INVENTORY_CHECKSUM = "inventory.checksum"
    INVENTORY_WRITE = "inventory.write"
    NOOP_COUNT = "noop.count"
    NOOP_WORK = "noop.work"
    RASTER_INSPECT = "raster.inspect"
    RASTER_CONVERT = "raster.convert"
    RASTER_ENCODE_BAND = "raster.encode_band"
    RASTER_ASSEMBLE = "raster.assemble"
    RASTER_MOSAIC = "raster.mosaic"
    STAC_PUBLISH = "stac.publish"


#: The chord callback of every stage.
COMPLETE_STAGE = "geoetl.complete_stage"


@dataclass(frozen=True, slots=True)
class TaskContract:
    """What the planner and the workers agree on."""

    input: type[Model]
    output: type[Model]
    queue: str = "standard"
    """Where it runs unless the route of a call says otherwise: ``standard`` or ``gdal``, however these are named."""
    time_limit_s: int = 3600
    """Hard limit of one attempt: a hung child is ended then."""
    max_attempts: int = 3


TASKS: Mapping[TaskName, TaskContract] = {
    TaskName.INVENTORY_LIST: TaskContract(inventory.ListInput, inventory.ListOutput, time_limit_s=600),
    TaskName.INVENTORY_CHECKSUM: TaskContract(inventory.ChecksumInput, inventory.ChecksumOutput, time_limit_s=4 * 3600),
    TaskName.INVENTORY_WRITE: TaskContract(inventory.WriteInput, inventory.WriteOutput, time_limit_s=600),
    TaskName.NOOP_COUNT: TaskContract(noop.CountInput, noop.CountOutput, time_limit_s=60),
    TaskName.NOOP_WORK: TaskContract(noop.WorkInput, noop.WorkOutput, time_limit_s=3600),
    TaskName.RASTER_INSPECT: TaskContract(raster.InspectInput, raster.InspectOutput, time_limit_s=4 * 3600),
    TaskName.RASTER_CONVERT: TaskContract(raster.ConvertInput, raster.CogProduct, time_limit_s=12 * 3600),
    TaskName.RASTER_ENCODE_BAND: TaskContract(
        bigcog.BandInput, bigcog.BandReceipt, queue="gdal", time_limit_s=12 * 3600
    ),
    TaskName.RASTER_ASSEMBLE: TaskContract(
        bigcog.AssembleInput, bigcog.AssembledCog, queue="gdal", time_limit_s=12 * 3600
    ),
    TaskName.RASTER_MOSAIC: TaskContract(bigcog.MosaicInput, bigcog.AssembledCog, time_limit_s=12 * 3600),
    TaskName.STAC_PUBLISH: TaskContract(raster.CatalogueInput, raster.CatalogueOutput, time_limit_s=3600),
}


def contract_of(task: str) -> TaskContract:
    """The contract of a task.

    Raises:
        KeyError: No such task; the message lists those there are.
    """
    try:
        return TASKS[TaskName(task)]
    except ValueError:
        known: Any = ", ".join(TASKS)
        raise KeyError(f"no task {task!r} in geoetl/models/tasks.py; there are {known}") from None
