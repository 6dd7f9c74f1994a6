"""geoetl: geospatial ETL on Azure.

The public Python API, loaded lazily: importing one stand-alone room (``geoetl.transport``, ``geoetl.emulator``,
``geoetl.backend``) must load nothing else of the package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoetl.chains.mosaic import Mosaic
    from geoetl.chains.process_raster import ProcessRaster
    from geoetl.worker.client import Job, get_job, list_jobs, submit

__all__ = ["Job", "Mosaic", "ProcessRaster", "get_job", "list_jobs", "submit"]

_HOMES = {
    "Job": "geoetl.worker.client",
    "Mosaic": "geoetl.chains.mosaic",
    "ProcessRaster": "geoetl.chains.process_raster",
    "get_job": "geoetl.worker.client",
    "list_jobs": "geoetl.worker.client",
    "submit": "geoetl.worker.client",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'geoetl' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
