"""How rasters are treated: what is too large for the standard queue, and where to work."""

import tempfile
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from geoetl.config.section import Section


class RasterSettings(Section):
    """Routing limits and the room a raster task may take."""

    gdal_threshold_bytes: int = Field(default=2 * 1024**3, gt=0)
    """Decoded size (width x height x bands x itemsize) above which a raster goes to the ``gdal`` queue."""
    bands_threshold_bytes: int = Field(default=8 * 1024**3, gt=0)
    """Decoded size above which a raster is encoded by many tasks, a band of rows each, where that is exact."""
    band_rows: int = Field(default=4096, ge=512)
    """Rows that one task encodes: 512 times a power of two. Fewer make more tasks, and more work for the last one."""
    scratch_dir: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()))
    """Folder for the files of running attempts; must have room for a source and its product."""
    gdal_cache_bytes: int = Field(default=128 * 1024**2, ge=16 * 1024**2)
    """GDAL's block cache per task, in bytes."""

    @model_validator(mode="after")
    def _is_whole_tiles(self) -> Self:
        tiles = self.band_rows // 512
        if self.band_rows != tiles * 512 or tiles & (tiles - 1):
            raise ValueError(f"band_rows is {self.band_rows}; use 512 times a power of two, for example 4096")
        return self
