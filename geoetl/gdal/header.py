"""What a raster's header says, read without touching a pixel."""

import hashlib
import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError
from rasterio.io import DatasetReader
from rasterio.transform import Affine, from_gcps

from geoetl.gdal.open import gdal_errors, open_raster
from geoetl.models.raster import BandFacts, BlobFacts, RasterFacts
from geoetl.storage.base import GdalAccess

type Nodata = int | float | None
type NodataWord = int | float | str | None

#: Tags travel in task rows: what is longer is left in the file, where the COG driver keeps it.
_MAX_TAG_CHARS = 512
_MAX_TAGS = 64
#: rasterio reads and writes nodata values of these as floats, which hold integers exactly up to 2**53.
_WIDE_DTYPES = {"int64", "uint64"}
_EXACT = 2**53
#: Domains GDAL derives from the file itself, and those its GeoTIFF writer carries over.
_KEPT_DOMAINS = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "COLOR_PROFILE", "RPC", "xml:XMP", "TIFF"}


def read_facts(access: GdalAccess, blob: BlobFacts, ref: str, *, driver: str = "GTiff") -> RasterFacts:
    """Open a raster and read its header.

    Raises:
        BadData: ``unreadable-raster``: GDAL cannot open it.
        TransientError: The storage did not answer.
    """
    with open_raster(access, ref, driver=driver) as src, gdal_errors(ref, "Reading the header of", access=access):
        return facts_of(src, blob)


def facts_of(src: DatasetReader, blob: BlobFacts) -> RasterFacts:
    """The facts of a raster that is open already."""
    gcps, gcps_crs = src.gcps
    crs = src.crs or gcps_crs
    # rasterio returns the identity where there is none, and an explicit one (null island, rows going north, a degree
    # per pixel) is no georeference that anybody means.
    transform = None if src.transform.is_identity else _placement(src.transform)
    structure = src.tags(ns="IMAGE_STRUCTURE")
    tags = src.tags()
    return RasterFacts(
        driver=src.driver,
        width=src.width,
        height=src.height,
        bands=tuple(_band(src, index) for index in src.indexes),
        crs=crs_wkt(crs) if crs else None,
        epsg=crs.to_epsg(confidence_threshold=100) if crs else None,
        transform=transform,
        bounds=_bounds(src) if transform else None,
        is_rotated=transform is not None and not src.transform.is_rectilinear,
        gcp_count=len(gcps),
        approximate_transform=_placement(from_gcps(gcps)) if gcps and not transform else None,
        block_shape=src.block_shapes[0],
        compression=structure.get("COMPRESSION", ""),
        interleave=structure.get("INTERLEAVE", ""),
        mask_kind=_mask_kind(src),
        subdatasets=tuple(src.subdatasets),
        datetime_tag=tags.get("TIFFTAG_DATETIME", ""),
        tags=_short(tags),
        lost_domains=tuple(sorted(set(src.tag_namespaces()) - _KEPT_DOMAINS)),
        blob=blob,
    )


def crs_wkt(crs: CRS) -> str:
    """WKT2:2019 of a CRS; WKT1 where GDAL has no WKT2 for it."""
    try:
        return crs.to_wkt(version="WKT2_2019")
    except CRSError:
        return crs.to_wkt()


def is_map(crs: CRS) -> bool:
    """Whether a CRS says where on the globe something lies; that of a building site does not."""
    return crs.is_geographic or crs.is_projected


def nodata_word(value: Nodata, dtype: str) -> NodataWord:
    """A nodata value that JSON can hold: an ``int`` where the bands hold integers.

    rasterio gives every nodata value as a float: one of a 64-bit band beyond 2**53 is rounded here. The file's own is
    not touched by that.
    """
    if value is None or math.isfinite(value):
        return int(value) if value is not None and "int" in dtype and float(value).is_integer() else value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


def nodata_value(word: NodataWord) -> Nodata:
    """The number behind a nodata value from JSON."""
    return float(word) if isinstance(word, str) else word


def band_holds(band: BandFacts, value: float) -> bool:
    """Whether a band can have ``value`` as nodata. GDAL itself stores any, and then no pixel matches."""
    if band.dtype.startswith(("complex", "cint")):
        return True
    if band.dtype.startswith("float"):
        return not math.isfinite(value) or math.isfinite(as_stored(value, band.dtype))
    limits = np.iinfo(band.dtype)
    low, high = (0, 2**band.bits - 1) if band.bits else (limits.min, limits.max)
    is_exact = band.dtype not in _WIDE_DTYPES or abs(value) <= _EXACT
    return float(value).is_integer() and low <= value <= high and is_exact


def as_stored(value: float, dtype: str) -> float:
    """A nodata value as pixels of this type have it: -9999.9 is no float32."""
    if dtype not in {"float16", "float32"}:
        return value
    with np.errstate(over="ignore"):
        return float(np.dtype(dtype).type(value))


def unable(bands: Iterable[BandFacts], value: float) -> str:
    """In words, bands that cannot have ``value`` as nodata; empty where all can."""
    return " and ".join(
        sorted(
            {
                f"{_kind(band)}{' beyond 2**53' if band.dtype in _WIDE_DTYPES else ''}"
                for band in bands
                if not band_holds(band, value)
            }
        )
    )


def unusable_nodata(facts: RasterFacts) -> str:
    """In words, bands whose own nodata value would be written as another; empty where there is none.

    GDAL compares pixels with any value, but rasterio hands on what a float holds, and no pixel of a band of 12 bits can
    be marked with 65535.
    """
    if facts.mask_kind != "nodata":
        return ""
    return " and ".join(
        sorted(
            {
                f"{_kind(band)} with nodata {'beyond 2**53' if value is None else band.nodata}"
                for band in facts.bands
                if (value := nodata_value(band.nodata)) is None or not band_holds(band, value)
            }
        )
    )


def has_wide_nodata(facts: RasterFacts) -> bool:
    """Whether a nodata value is one of 64 bits that a float does not hold for sure."""
    if facts.mask_kind != "nodata":
        return False
    wide = [nodata_value(band.nodata) for band in facts.bands if band.dtype in _WIDE_DTYPES]
    return any(value is None or abs(value) > _EXACT for value in wide)


def bits_of(src: DatasetReader, index: int) -> int | None:
    """``NBITS`` of a band, where fewer than its data type's."""
    bits = src.tags(index, ns="IMAGE_STRUCTURE").get("NBITS")
    return int(bits) if bits else None


def _kind(band: BandFacts) -> str:
    return f"{band.dtype} of {band.bits} bits" if band.bits else band.dtype


def _band(src: DatasetReader, index: int) -> BandFacts:
    at = index - 1
    color = src.colorinterp[at]
    return BandFacts(
        dtype=src.dtypes[at],
        nodata=nodata_word(src.nodatavals[at], src.dtypes[at]),  # pyright: ignore[reportArgumentType]  # the words of the model
        color_interpretation=color.name,
        description=_clean(src.descriptions[at] or ""),
        unit=_clean(src.units[at] or ""),
        scale=src.scales[at],
        offset=src.offsets[at],
        bits=bits_of(src, index),
        has_palette=color is ColorInterp.palette,
        palette_digest=_palette_digest(src, index),
    )


def _palette_digest(src: DatasetReader, index: int) -> str:
    try:
        palette = sorted(src.colormap(index).items())
    except ValueError:  # rasterio's way to say that there is none
        return ""
    return hashlib.sha256(repr(palette).encode()).hexdigest()[:16]


def _mask_kind(src: DatasetReader) -> Literal["none", "nodata", "alpha", "internal"]:
    if ColorInterp.alpha in src.colorinterp:
        return "alpha"
    if any(MaskFlags.per_dataset in flags for flags in src.mask_flag_enums):
        return "internal"
    # Of 2**63 - 1 rasterio has no value, as it is none of int64 when read as a float.
    return "nodata" if any(MaskFlags.nodata in flags for flags in src.mask_flag_enums) else "none"


def _bounds(src: DatasetReader) -> tuple[float, float, float, float]:
    corners = [src.transform @ (x, y) for x in (0, src.width) for y in (0, src.height)]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _placement(affine: Affine) -> tuple[float, float, float, float, float, float] | None:
    """The six numbers of a transform; None where it maps all pixels to one line, as GCPs on one line do."""
    return None if affine.is_degenerate else (affine.a, affine.b, affine.c, affine.d, affine.e, affine.f)


def _short(tags: dict[str, str]) -> dict[str, str]:
    kept = [(_clean(key), _clean(value)) for key, value in tags.items() if len(key) + len(value) <= _MAX_TAG_CHARS]
    return dict(sorted(kept)[:_MAX_TAGS])


def _clean(text: str) -> str:
    """Without NUL characters, which PostgreSQL's jsonb cannot hold."""
    return text.replace("\0", "")
