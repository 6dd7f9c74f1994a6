"""Encoding rows of tiles: by GDAL itself, in memory, so that every codec, predictor and bit depth is its own."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from rasterio.io import MemoryFile

from geoetl.errors import SystemFault
from geoetl.tasks.raster.cog.pixels import Pixels
from geoetl.tasks.raster.cog.tiff import read_directories, tile_ranges
from geoetl.tasks.raster.profiles import CogProfile

#: What the COG driver calls LEVEL, in the words of the GTiff driver.
_LEVEL_OPTIONS = {"ZSTD": "zstd_level", "DEFLATE": "zlevel", "LERC_ZSTD": "zstd_level"}


@dataclass(frozen=True, slots=True)
class Tile:
    """One encoded tile, with that of the mask."""

    image: bytes
    mask: bytes | None


@dataclass(frozen=True, slots=True)
class TileEncoder:
    """Encodes tiles of one raster."""

    dtype: str
    """As rasterio names it: complex integers have no numpy type."""
    options: dict[str, Any]
    """Of GDAL's GTiff driver."""
    blocksize: int
    verifies: bool

    def encode(self, pixels: Pixels) -> list[Tile]:
        """The tiles of up to ``blocksize`` rows, from left to right.

        Where this ``verifies``, they are decoded again and compared: of a COG by many tasks, nobody looks at all tiles
        again before it is published. Called by several threads at once.

        Raises:
            SystemFault: ``cog-differs``: what was written does not read back.
        """
        with MemoryFile() as memory:
            self._write(memory, pixels)
            if self.verifies:
                _verify(memory, pixels)
            return _tiles_of(bytes(memory.getbuffer()), has_mask=pixels.mask is not None)

    def _write(self, memory: MemoryFile, pixels: Pixels) -> None:
        # Settings of GDAL belong to a thread, and this may be another than the one that opened the source.
        # Left to itself GDAL takes a fourth band of bytes for alpha, and LERC keeps alpha apart from the bands.
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            memory.open(
                driver="GTiff", width=pixels.width, height=pixels.height, count=len(pixels.values),
                dtype=self.dtype, tiled=True, blockxsize=self.blocksize, blockysize=self.blocksize,
                interleave="pixel", photometric="MINISBLACK", **self.options,
            ) as dst,
        ):  # fmt: skip
            dst.write(pixels.values)
            if pixels.mask is not None:
                dst.write_mask(pixels.mask)


def tile_encoder(profile: CogProfile, dtype: str, *, blocksize: int, verifies: bool) -> TileEncoder:
    """The encoder that writes what the COG driver would with this profile."""
    options: dict[str, Any] = {"compress": profile.options["COMPRESS"]}
    if level := profile.options.get("LEVEL"):
        options[_LEVEL_OPTIONS[profile.options["COMPRESS"]]] = level
    if profile.options.get("PREDICTOR") == "YES":
        options["predictor"] = 3 if dtype.startswith("float") else 2
    for name in ("NBITS", "MAX_Z_ERROR"):
        if value := profile.options.get(name):
            options[name.lower()] = value
    return TileEncoder(dtype, options, blocksize, verifies)


def _tiles_of(data: bytes, *, has_mask: bool) -> list[Tile]:
    directories = read_directories(data)
    images = [data[at : at + size] for at, size in tile_ranges(directories[0])]
    if not has_mask:
        return [Tile(image, None) for image in images]
    masks = [data[at : at + size] for at, size in tile_ranges(directories[1])]
    return [Tile(image, mask) for image, mask in zip(images, masks, strict=True)]


def _verify(memory: MemoryFile, pixels: Pixels) -> None:
    with memory.open() as written:
        values = written.read()
        is_same = np.array_equal(pixels.values, values)
        if not is_same and pixels.values.dtype.kind in "fc":
            # Slower, and only needed where there is a NaN, which is not equal to itself.
            is_same = np.array_equal(pixels.values, values, equal_nan=True)
        if pixels.mask is not None:
            is_same = is_same and np.array_equal(pixels.mask, written.read_masks(1))
    if not is_same:
        raise SystemFault(
            f"Encoding {pixels.width} x {pixels.height} pixels wrote tiles that decode to others.",
            code="cog-differs",
            hint="Nothing was published. Report this with the source file.",
        )
