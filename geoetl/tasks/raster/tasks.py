"""Registers the raster cores."""

from collections.abc import Callable
from typing import Any

from geoetl.models.tasks import TaskName
from geoetl.tasks.raster.cog.assemble import assemble_cog
from geoetl.tasks.raster.cog.bands import encode_band
from geoetl.tasks.raster.convert import convert_raster
from geoetl.tasks.raster.inspect import inspect_raster
from geoetl.tasks.raster.mosaic import make_mosaic

CORES: dict[TaskName, Callable[..., Any]] = {
    TaskName.RASTER_INSPECT: inspect_raster,
    TaskName.RASTER_CONVERT: convert_raster,
    TaskName.RASTER_ENCODE_BAND: encode_band,
    TaskName.RASTER_ASSEMBLE: assemble_cog,
    TaskName.RASTER_MOSAIC: make_mosaic,
}
