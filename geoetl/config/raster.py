"""How rasters are treated: what is too large for the standard queue, and where to work."""

import tempfile
from pathlib import Path

from pydantic import Field

from geoetl.config.section import Section


class RasterSettings(Section):
    """Routing limits and the room a raster task may take."""

    gdal_threshold_bytes: int = Field(default=2 * 1024**3, gt=0)
    """Decoded size (width x height x bands x itemsize) above which a raster goes to the ``gdal`` queue."""
    scratch_dir: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()))
    """Folder for the files of running attempts; must have room for a source and its product."""
    gdal_cache_bytes: int = Field(default=128 * 1024**2, ge=16 * 1024**2)
    """GDAL's block cache per task, in bytes."""
