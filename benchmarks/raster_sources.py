"""Rasters to be converted, made by code."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

#: Rows of a band, as by default.
BAND_ROWS = 4096


@dataclass(frozen=True)
class Raster:
    """A source to be made: noise on a wave, which compresses about as imagery does."""

    name: str
    dtype: str
    count: int
    decoded_bytes: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width: about a square of as many bands for either of two workers, and a few rows.

        Sizes are odd, which makes the costlier overviews.
        """
        pixels = self.decoded_bytes // self.count // np.dtype(self.dtype).itemsize
        height = 2 * BAND_ROWS * max(1, round(pixels**0.5 / BAND_ROWS / 2)) + 11
        return height, pixels // height | 1

    def write(self, path: Path) -> None:
        rng = np.random.default_rng(7)
        height, width = self.shape
        profile = {
            "driver": "GTiff", "width": width, "height": height, "count": self.count, "dtype": self.dtype,
            "tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "pixel",
            "compress": "zstd", "zstd_level": 1, "BIGTIFF": "IF_SAFER", "crs": "EPSG:32633",
            "transform": from_origin(300_000, 5_000_000, 10, 10),
        }  # fmt: skip
        with rasterio.open(path, "w", num_threads=2, **profile) as dst:
            columns = np.sin(np.arange(width) / 700) * 2000 + 4000
            for top in range(0, height, 512):
                rows = min(512, height - top)
                wave = columns[None, :] + np.cos(np.arange(top, top + rows) / 900)[:, None] * 1500
                noise = rng.integers(0, 40, (self.count, rows, width), dtype=np.int16)
                dst.write((wave[None] + noise).astype(self.dtype), window=Window(0, top, width, rows))
