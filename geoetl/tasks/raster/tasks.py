"""Registers the raster cores."""

from collections.abc import Callable
from typing import Any

from geoetl.models.tasks import TaskName
from geoetl.tasks.raster.convert import convert_raster
from geoetl.tasks.raster.inspect import inspect_raster

CORES: dict[TaskName, Callable[..., Any]] = {
    TaskName.RASTER_INSPECT: inspect_raster,
    TaskName.RASTER_CONVERT: convert_raster,
}
