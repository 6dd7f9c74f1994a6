"""Rasters to be converted, made by code."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin


@dataclass(frozen=True)
class Raster:
    """A source to be made: noise on a wave, which compresses about as imagery does."""

    name: str
    dtype: str
    count: int
    decoded_bytes: int

    @property
    def side(self) -> int:
        return math.isqrt(self.decoded_bytes // self.count // np.dtype(self.dtype).itemsize)

    def write(self, path: Path) -> None:
        rng = np.random.default_rng(7)
        side = self.side + 11  # odd sizes: the costlier overviews
        profile = {
            "driver": "GTiff", "width": side, "height": side, "count": self.count, "dtype": self.dtype, "tiled": True,
            "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1, "interleave": "pixel",
            "crs": "EPSG:32633", "transform": from_origin(300_000, 5_000_000, 10, 10), "BIGTIFF": "IF_SAFER",
        }  # fmt: skip
        with rasterio.open(path, "w", num_threads=2, **profile) as dst:
            columns = np.sin(np.arange(side) / 700) * 2000 + 4000
            for top in range(0, side, 512):
                rows = min(512, side - top)
                wave = columns[None, :] + np.cos(np.arange(top, top + rows) / 900)[:, None] * 1500
                noise = rng.integers(0, 40, (self.count, rows, side), dtype=np.int16)
                values = (wave[None] + noise).astype(self.dtype)
                dst.write(values, window=rasterio.windows.Window(0, top, side, rows))
