"""Encoding rows of tiles: by GDAL itself, in memory, so that every codec, predictor and bit depth is its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from geoetl.errors import SystemFault
from geoetl.gdal.open import gdal_words
from geoetl.tasks.raster.cog.pixels import Pixels
from geoetl.tasks.raster.cog.template import CogTemplate
from geoetl.tasks.raster.cog.tiff import Directory, Image, read_directories, tile_ranges, write_header
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
    template: CogTemplate | None = None
    """The COG's tags, under which tiles are read back; None where whoever checks the whole file does that."""

    def encode(self, pixels: Pixels) -> list[Tile]:
        """The tiles of up to ``blocksize`` rows, from left to right.

        Where this has a template, they are decoded again as a reader of the COG will, and compared: of a COG by many
        tasks, nobody looks at all tiles again before it is published. Called by several threads at once.

        Raises:
            SystemFault: ``cog-differs``: what was written does not read back.
        """
        with MemoryFile() as memory:
            self._write(memory, pixels)
            data = bytes(memory.getbuffer())
        directories = read_directories(data)
        if self.template is not None:
            _verify(_with_tags(self.template, data, directories, pixels), pixels)
        return _tiles_of(data, directories, has_mask=pixels.mask is not None)

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


def tile_encoder(profile: CogProfile, dtype: str, *, blocksize: int, template: CogTemplate | None) -> TileEncoder:
    """The encoder that writes what the COG driver would with this profile."""
    options: dict[str, Any] = {"compress": profile.options["COMPRESS"]}
    if level := profile.options.get("LEVEL"):
        options[_LEVEL_OPTIONS[profile.options["COMPRESS"]]] = level
    if profile.options.get("PREDICTOR") == "YES":
        options["predictor"] = 3 if dtype.startswith("float") else 2
    for name in ("NBITS", "MAX_Z_ERROR"):
        if value := profile.options.get(name):
            options[name.lower()] = value
    return TileEncoder(dtype, options, blocksize, template)


def _tiles_of(data: bytes, directories: Sequence[Directory], *, has_mask: bool) -> list[Tile]:
    images = [data[at : at + size] for at, size in tile_ranges(directories[0])]
    if not has_mask:
        return [Tile(image, None) for image in images]
    masks = [data[at : at + size] for at, size in tile_ranges(directories[1])]
    return [Tile(image, mask) for image, mask in zip(images, masks, strict=True)]


def _with_tags(template: CogTemplate, data: bytes, directories: Sequence[Directory], pixels: Pixels) -> bytes:
    """The tiles in ``data`` as a file with the COG's tags."""
    images: list[Image] = []
    for tags, directory in zip((template.image, template.mask), directories, strict=False):
        if tags is not None:
            offsets, sizes = np.array(tile_ranges(directory), dtype=np.uint64).T
            images.append(Image(tags, pixels.width, pixels.height, offsets, sizes))
    return write_header(b"", images, range(len(images)), data_bytes=len(data)) + data


def _verify(file: bytes, pixels: Pixels) -> None:
    try:
        is_same = _reads_back(file, pixels)
    except RasterioError as exc:
        raise _differs(pixels, f"do not decode ({gdal_words(exc, 'tiles')})") from exc
    if not is_same:
        raise _differs(pixels, "decode to others")


def _reads_back(file: bytes, pixels: Pixels) -> bool:
    with MemoryFile(file) as memory, memory.open(driver="GTiff") as written:
        values = written.read()
        is_same = np.array_equal(pixels.values, values)
        if not is_same and pixels.values.dtype.kind in "fc":
            # Slower, and only needed where there is a NaN, which is not equal to itself.
            is_same = np.array_equal(pixels.values, values, equal_nan=True)
        return is_same and (pixels.mask is None or np.array_equal(pixels.mask, written.read_masks(1)))


def _differs(pixels: Pixels, how: str) -> SystemFault:
    return SystemFault(
        f"Encoding {pixels.width} x {pixels.height} pixels wrote tiles that {how}.",
        code="cog-differs",
        hint="Nothing was published. Report this with the source file.",
    )
