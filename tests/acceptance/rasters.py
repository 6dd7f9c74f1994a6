"""Small rasters, right and wrong, made by code."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

TIME_TAG = {"TIFFTAG_DATETIME": "2024:05:01 12:00:00"}


def write_raster(
    path: Path,
    *,
    size: int = 600,
    count: int = 1,
    dtype: str = "uint8",
    seed: int = 7,
    crs: str | None = "EPSG:32618",
    **options: Any,
) -> Path:
    """Noise on a gradient, tiled, with a time tag."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 180, size)[None, None, :] + rng.integers(0, 60, (count, size, size))
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": size, "height": size, "count": count, "dtype": dtype, "crs": crs,
        "transform": from_origin(500_000, 4_000_000, 30, 30), "tiled": True, "blockxsize": 256, "blockysize": 256,
        "compress": "deflate", **options,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(ramp.astype(dtype))
        dst.update_tags(**TIME_TAG)
    return path


def corrupt_a_block(path: Path) -> Path:
    """Overwrite the begin of the first block's data: header and layout stay right.

    Bytes in the middle of a block would not do: libtiff stops when the block is full and never looks at deflate's
    checksum, so it decodes them to other pixels without a word.
    """
    with rasterio.open(path) as src:
        offset = int(src.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + 64] = hashlib.sha512(b"noise").digest()
    path.write_bytes(bytes(content))
    return path
