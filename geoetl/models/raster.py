"""What the raster tasks take and return, and what is known about a raster before it is touched."""

import datetime as dt
import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from geoetl.models.base import Model
from geoetl.models.refs import BlobRef

type ProfileName = Literal["auto", "zstd", "deflate", "lzw", "lerc", "webp", "jpeg", "raw"]
type ResamplingName = Literal["nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "rms"]


_NODATA_RULE = "write a number, or nan"


def _read_nodata(value: object) -> object:
    """A number that a float holds exactly, or the word ``nan``: JSON has no word for the others."""
    if isinstance(value, bool) or not isinstance(value, str | float | int):
        raise ValueError(_NODATA_RULE)  # noqa: TRY004 - pydantic reports only ValueError
    try:
        number = float(value)
        exact = int(value) if str(value).strip().lstrip("+-").isdigit() else number
    except ValueError:
        raise ValueError(_NODATA_RULE) from None
    if math.isnan(number):
        return "nan"
    if math.isinf(number):
        raise ValueError("infinity marks no pixels; write a finite number, or nan")
    if exact != number:
        raise ValueError(f"a float does not hold {exact} exactly, and nodata is one")
    return number


#: What a job may say of pixels without data.
type NoData = Annotated[float | Literal["nan"], BeforeValidator(_read_nodata)]


class BlobFacts(Model):
    """What the store says about a source blob."""

    size_bytes: int
    etag: str
    content_type: str = ""
    last_modified: dt.datetime | None = None


class BandFacts(Model):
    """One band as the header describes it."""

    dtype: str
    """A numpy name, or ``cint16`` / ``cint32`` for GDAL's complex integers."""
    nodata: int | float | Literal["nan", "inf", "-inf"] | None = None
    """An ``int`` for integer bands."""
    color_interpretation: str = "undefined"
    description: str = ""
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    bits: int | None = None
    """``NBITS`` where fewer than the dtype's, for example 1."""
    has_palette: bool = False
    palette_digest: str = ""
    """Of the palette, where there is one: equal palettes have equal ones."""


class RasterFacts(Model):
    """What a raster's header says: nothing here needed a pixel to be read."""

    driver: str
    width: int
    height: int
    bands: tuple[BandFacts, ...]
    crs: str | None
    """WKT2 of the raster's own CRS (or of its GCPs'), None where it has none."""
    epsg: int | None = None
    transform: tuple[float, float, float, float, float, float] | None
    """Affine in rasterio's order (a, b, c, d, e, f); None where the raster has no geotransform."""
    bounds: tuple[float, float, float, float] | None
    """left, bottom, right, top in the raster's CRS; of the outer box where it is rotated."""
    is_rotated: bool = False
    gcp_count: int = 0
    approximate_transform: tuple[float, float, float, float, float, float] | None = None
    """Affine fitted to the GCPs where there is no geotransform; good enough for a footprint, not for measuring."""
    block_shape: tuple[int, int]
    """Rows, columns of a block."""
    compression: str = ""
    interleave: str = ""
    mask_kind: Literal["none", "nodata", "alpha", "internal"] = "none"
    subdatasets: tuple[str, ...] = ()
    datetime_tag: str = ""
    """The TIFF's own ``TIFFTAG_DATETIME``, as written."""
    tags: dict[str, str] = Field(default_factory=dict[str, str])
    """The dataset's own tags, short ones only: long ones stay in the file."""
    lost_domains: tuple[str, ...] = ()
    """Metadata domains of other software, which GDAL's COG driver does not carry over."""
    blob: BlobFacts

    @property
    def decoded_bytes(self) -> int:
        """Size of all pixels in memory."""
        return self.width * self.height * sum(_itemsize(band.dtype) for band in self.bands)


def _itemsize(dtype: str) -> int:
    sizes = {
        "bool": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "float16": 2, "uint32": 4, "int32": 4, "float32": 4,
        "uint64": 8, "int64": 8, "float64": 8, "cint16": 4, "complex_int16": 4, "cint32": 8, "complex64": 8,
        "complex128": 16,
    }  # fmt: skip
    return sizes[dtype]


class InspectInput(Model):
    """Check one source whole: header and every block."""

    source: BlobRef
    etag: str
    """The source's ETag at submit: a source that has changed since is refused."""
    source_crs: str | None = None
    """CRS to use where the file has none (anything PROJ reads, for example ``EPSG:32618``)."""
    nodata: float | Literal["nan"] | None = None
    item_id: str
    start_datetime: dt.datetime | None = None
    end_datetime: dt.datetime | None = None
    datetime: dt.datetime | None = None
    header_only: bool = False
    """A very large source: its pixels are checked by the tasks that encode them, band by band."""


class BandStatistics(Model):
    """Of the valid pixels of one band, at full resolution."""

    minimum: float
    maximum: float
    mean: float
    stddev: float
    valid_percent: float


class InspectOutput(Model):
    """Facts of a source that passed."""

    facts: RasterFacts
    statistics: tuple[BandStatistics | None, ...]
    """Per band; None where the dtype has no order (complex). Empty where the header alone was read."""
    header_only: bool = False
    datetime: dt.datetime | None = None
    """Acquisition: from the job's options, else from the TIFF's own tag; None with start and end given."""
    start_datetime: dt.datetime | None = None
    end_datetime: dt.datetime | None = None
    warnings: tuple[str, ...] = ()


class ConvertInput(Model):
    """Make one COG of one source."""

    source: BlobRef
    etag: str
    target: BlobRef
    """Where the COG goes; the path names the run, nothing is ever overwritten."""
    facts: RasterFacts
    source_crs: str | None = None
    target_crs: str | None = None
    """Reproject to this CRS; None keeps the source's pixels as they are."""
    profile: ProfileName = "auto"
    resampling: ResamplingName | None = None
    """None: by data type (nearest for palettes and classes, else average for overviews, bilinear for warps)."""
    nodata: float | Literal["nan"] | None = None


class CogProduct(Model):
    """A COG that has been written, validated and uploaded."""

    source: BlobRef
    cog: BlobRef
    thumbnail: BlobRef
    sources: tuple[BlobRef, ...] = ()
    """All sources of a mosaic, of which ``source`` is the first; empty where there is one."""
    etag: str
    size_bytes: int
    sha256: str
    """Empty where many tasks wrote it: nobody has seen all its bytes in one place."""
    facts: RasterFacts
    """Read back from the written file."""
    footprint: dict[str, object]
    """GeoJSON geometry in WGS84, split at the antimeridian where it crosses (RFC 7946 section 3.1.9)."""
    bbox: tuple[float, float, float, float]
    """West, south, east, north in degrees; west > east where it crosses the antimeridian (RFC 7946 section 5.2)."""
    profile: str
    overview_resampling: str
    is_reprojected: bool = False
    software: dict[str, str] = Field(default_factory=dict[str, str])
    """Name and version of what wrote it, for the item's provenance."""
    checks: dict[str, bool]
    """Named checks of the written file and their outcome, for example ``strict_cog`` and ``pixels_equal``."""
    peak_rss_bytes: int = 0


class ItemInput(Model):
    """One item to build: a product and what the job says about it."""

    item_id: str
    product: CogProduct
    inspected: InspectOutput


class CatalogueInput(Model):
    """Publish the products of a run as items of one collection."""

    collection: str
    items: tuple[ItemInput, ...] = Field(min_length=1)
    create_collection: bool = False
    """Make the collection where it does not exist."""
    job_id: str
    processed_by: str
    """Software and version, for the items' processing provenance."""


class PublishedItem(Model):
    """One item that a search has found after the publication."""

    item_id: str
    href: str
    """https (or http of the embedded stack) address of the COG."""
    etag: str


class CatalogueOutput(Model):
    """What was published, in the order of the sources."""

    collection: str
    items: tuple[PublishedItem, ...]
