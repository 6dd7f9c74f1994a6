"""Rasters of every data type and feature, made by code."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import Affine, from_origin

from geoetl.gdal.header import facts_of
from geoetl.models.raster import BlobFacts, RasterFacts

UTM = from_origin(500_000, 4_600_000, 10, 10)
RNG = np.random.default_rng(20240501)


def facts_at(path: Path) -> RasterFacts:
    """The facts of a file."""
    with rasterio.open(path) as src:
        return facts_of(src, BlobFacts(size_bytes=1, etag="e"))


def write(
    path: Path, dtype: str, *, count: int = 1, height: int = 530, width: int = 601, fill=None, then=None, **options
):
    """A GeoTIFF in UTM 33N with values that differ from pixel to pixel."""
    settings = {"driver": "GTiff", "crs": "EPSG:32633", "transform": UTM, **options}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", height=height, width=width, count=count, dtype=dtype, **settings) as dst,
    ):
        if then:
            then(dst)
        dst.write(values(dtype, (count, height, width)) if fill is None else fill)


def values(dtype: str, shape: tuple[int, ...], top: int = 100):
    numbers = RNG.integers(0, top, shape)
    if "complex" in dtype:
        wide = "complex128" if dtype == "complex128" else "complex64"
        return (numbers + 1j * RNG.integers(0, top, shape)).astype(wide)
    return numbers.astype(dtype)


def extremes(path: Path, dtype: str) -> None:
    limits = np.iinfo(dtype)
    fill = values(dtype, (1, 530, 601))
    fill[0, 0, :2] = limits.min, limits.max
    write(path, dtype, fill=fill)


def one_bit(path: Path, **options) -> None:
    write(path, "uint8", fill=values("uint8", (1, 530, 601), top=2), nbits=1, **options)


def one_bit_palette(path: Path) -> None:
    colors = {0: (255, 255, 255, 255), 1: (200, 30, 0, 255)}
    write(path, "uint8", fill=values("uint8", (1, 530, 601), top=2), nbits=1, photometric="PALETTE",
          then=lambda dst: dst.write_colormap(1, colors))  # fmt: skip


def palette(path: Path) -> None:
    colors = {value: (value, 255 - value, (value * 7) % 256, 255) for value in range(256)}
    write(path, "uint8", nodata=3, photometric="PALETTE", then=lambda dst: dst.write_colormap(1, colors))


def rgba(path: Path) -> None:
    fill = values("uint8", (4, 530, 601))
    fill[3] = np.where(np.arange(601) < 200, 0, 255)
    write(path, "uint8", count=4, fill=fill, photometric="RGB", alpha="YES")


def grey_alpha(path: Path) -> None:
    def name_bands(dst):
        dst.colorinterp = [ColorInterp.gray, ColorInterp.alpha]

    fill = values("uint16", (2, 530, 601))
    fill[1] = np.where(np.arange(601) < 200, 0, 65535)
    write(path, "uint16", count=2, fill=fill, alpha="YES", then=name_bands)


def alpha_before(path: Path) -> None:
    def name_bands(dst):
        dst.colorinterp = [ColorInterp.alpha, ColorInterp.gray, ColorInterp.gray]

    fill = values("uint16", (3, 530, 601))
    fill[0] = np.where(np.arange(601) < 200, 0, 65535)
    write(path, "uint16", count=3, fill=fill, then=name_bands)


def internal_mask(path: Path) -> None:
    write(path, "uint8", count=3, photometric="RGB",
          then=lambda dst: dst.write_mask(np.arange(530 * 601).reshape(530, 601) % 7 > 2))  # fmt: skip


def nan_nodata(path: Path) -> None:
    fill = values("float32", (1, 530, 601))
    fill[0, :100] = np.nan
    fill[0, 200, 200], fill[0, 201, 201] = np.inf, -0.0
    write(path, "float32", fill=fill, nodata=float("nan"))


def nan_without_nodata(path: Path) -> None:
    fill = values("float64", (1, 530, 601))
    fill[0, 5:9] = np.nan
    write(path, "float64", fill=fill)


def all_metadata(path: Path) -> None:
    def describe(dst):
        dst.descriptions = ("near infrared", "rouge é")
        dst.units = ("W m-2", "K")
        dst.scales, dst.offsets = (0.0001, 2.0), (-0.1, 273.15)
        dst.update_tags(SENSOR="MSI", TIFFTAG_SOFTWARE="maker 1", TIFFTAG_DATETIME="2020:02:29 01:02:03", TITLE="größe")
        dst.update_tags(2, WAVELENGTH="665")

    write(path, "int16", count=2, nodata=-9999, then=describe)


def huge_tags(path: Path) -> None:
    def describe(dst):
        dst.update_tags(HISTORY="x" * 200_000, **{f"KEY{number}": str(number) for number in range(500)})

    write(path, "uint8", then=describe)


def rotated(path: Path) -> None:
    write(path, "uint8", transform=Affine.translation(500_000, 4_600_000) @ Affine.rotation(30) @ Affine.scale(10, -10))


def gcps(path: Path) -> None:
    corners = [(0, 0, 15.0, 42.0), (0, 601, 15.1, 42.01), (530, 0, 15.01, 41.9), (530, 601, 15.11, 41.91)]
    points = [GroundControlPoint(row=row, col=col, x=x, y=y) for row, col, x, y in corners]
    write(path, "uint8", crs=None, transform=None, then=lambda dst: setattr(dst, "gcps", (points, CRS.from_epsg(4326))))


def antimeridian(path: Path) -> None:
    write(path, "uint16", crs="EPSG:32660", transform=from_origin(690_000, 5_800_000, 100, 100))


def with_overviews(path: Path) -> None:
    write(path, "uint8", tiled=True, blockxsize=256, blockysize=256)
    with rasterio.open(path, "r+") as dst:
        dst.write(np.zeros((1, 530, 601), dtype="uint8"))
        dst.build_overviews([2, 4])
        dst.write(values("uint8", (1, 530, 601)))


def jpeg2000(path: Path) -> None:
    plain = path.with_suffix(".plain.tif")
    write(plain, "uint16")
    # By its suffix GDAL decides between a JP2 file, with georeference, and a bare codestream.
    written = path.with_suffix(".jp2")
    rasterio.shutil.copy(str(plain), str(written), driver="JP2OpenJPEG", REVERSIBLE="YES", QUALITY="100")
    written.rename(path)


def wide_nodata(path: Path) -> None:
    """With a nodata value that only text can hold: rasterio would round it."""
    fill = values("int64", (1, 530, 601)) + 2**60
    fill[0, :300, :300] = 2**63 - 1
    plain, described = path.with_suffix(".plain.tif"), path.with_suffix(".vrt")
    write(plain, "int64", fill=fill, nodata=7)
    rasterio.shutil.copy(str(plain), str(described), driver="VRT")
    text = described.read_text()
    described.write_text(text.replace("<NoDataValue>7</NoDataValue>", f"<NoDataValue>{2**63 - 1}</NoDataValue>"))
    rasterio.shutil.copy(str(described), str(path), driver="GTiff")


def sparse(path: Path) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", height=1100, width=1300, count=1, dtype="uint8", crs="EPSG:32633", transform=UTM,
        tiled=True, blockxsize=256, blockysize=256, SPARSE_OK="TRUE", nodata=0,
    ) as dst:  # fmt: skip
        dst.write(values("uint8", (1, 256, 256)) + 1, window=((0, 256), (0, 256)))


def simple(dtype: str, **options) -> Callable[[Path], None]:
    return lambda path: write(path, dtype, **options)


INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
CASES: dict[str, Callable[[Path], None]] = {
    **{dtype: lambda path, dtype=dtype: extremes(path, dtype) for dtype in INTEGERS},
    **{dtype: simple(dtype) for dtype in ("float16", "float32", "float64", "complex_int16", "complex64", "complex128")},
    "int64 with a large nodata": simple("int64", nodata=2**53),
    "int64 with the largest nodata": wide_nodata,
    "12 bit": lambda path: write(path, "uint16", fill=values("uint16", (1, 530, 601), top=4096), nbits=12),
    "1 bit": one_bit, "1 bit palette": one_bit_palette, "palette": palette,
    "rgb": simple("uint8", count=3, photometric="RGB"), "rgba": rgba, "grey and alpha": grey_alpha,
    "alpha before all others": alpha_before,
    "internal mask": internal_mask, "NaN nodata": nan_nodata, "NaN without nodata": nan_without_nodata,
    "float32 nodata of old software": simple("float32", nodata=-3.4028234663852886e38),
    "all metadata": all_metadata, "huge tags": huge_tags,
    "rotated": rotated, "GCPs only": gcps, "crosses the antimeridian": antimeridian,
    "south-up": simple("uint8", transform=Affine(10, 0, 500_000, 0, 10, 4_500_000)),
    "point pixels": lambda path: write(path, "uint8", then=lambda dst: dst.update_tags(AREA_OR_POINT="Point")),
    "1 x 1": simple("uint16", height=1, width=1), "1 x 1500": simple("uint16", height=1, width=1500),
    "1500 x 1": simple("uint16", height=1500, width=1), "17 x 33": simple("uint8", height=17, width=33),
    "1025 x 1023": simple("uint8", height=1025, width=1023),
    "big-endian": simple("int16", ENDIANNESS="BIG"), "BigTIFF": simple("uint8", BIGTIFF="YES"),
    "pixel interleave": simple("uint16", count=5, interleave="pixel"),
    "band interleave": simple("uint16", count=5, interleave="band"),
    "tiled": simple("uint8", tiled=True, blockxsize=128, blockysize=64),
    "one strip": simple("uint8", blockysize=530), "sparse": sparse,
    "LZW": simple("uint16", compress="lzw", predictor=2), "deflate": simple("float32", compress="deflate", predictor=3),
    "zstd": simple("uint8", compress="zstd"), "packbits": simple("uint8", compress="packbits"),
    "LERC": simple("float32", compress="lerc"),
    "JPEG": simple("uint8", count=3, compress="jpeg", photometric="YCBCR", tiled=True),
    "CCITT fax": lambda path: one_bit(path, compress="ccittfax4"),
    "has overviews": with_overviews, "JPEG 2000": jpeg2000,
    "CRS without a code": simple("uint8", crs="+proj=laea +lat_0=45 +lon_0=-100 +datum=WGS84"),
    "geographic": simple("float32", crs="EPSG:4326", transform=from_origin(15, 42, 0.001, 0.001)),
    "whole globe": simple("uint8", crs="EPSG:4326", transform=from_origin(-180, 90, 360 / 601, 180 / 530)),
}  # fmt: skip
