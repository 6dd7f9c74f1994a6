"""What the tasks take and return that make one COG of a very large raster together."""

from typing import Literal

from pydantic import Field

from geoetl.models.base import Model
from geoetl.models.mosaic import MosaicGrid
from geoetl.models.raster import BandStatistics, CogProduct, ProfileName, RasterFacts, ResamplingName
from geoetl.models.refs import BlobRef


class SharedCog(Model):
    """What every task of one COG knows: with the source it decides every byte of the COG."""

    source: BlobRef
    etag: str
    """The source's ETag at submit: a source that has changed since is refused."""
    target: BlobRef
    """The one blob; the path names the run, nothing is ever overwritten."""
    band_rows: int
    """Rows of the raster that one task encodes: ``blocksize`` times a power of two."""
    blocksize: int = 512
    """Pixels per side of a tile."""
    chunk_bytes: int = 24 * 1024 * 1024
    """Decoded size of what a task works on at once: one row of tiles of part of the width. Bounds its memory."""
    is_striped: bool
    """Whether the source's blocks reach over its whole width, so that it is read in whole rows."""
    mosaic: MosaicGrid | None = None
    """Made of many sources, of which ``source`` is the first: its header is the mosaic's."""
    source_crs: str | None = None
    profile: ProfileName = "auto"
    resampling: ResamplingName | None = None
    nodata: float | Literal["nan"] | None = None


class MosaicInput(Model):
    """Make a whole mosaic in one task."""

    cog: SharedCog
    facts: RasterFacts
    """Of the mosaic, as if it were one raster."""


class BandInput(Model):
    """Encode one band of rows."""

    cog: SharedCog
    band: int = Field(ge=0)


class BandMoments(Model):
    """Statistics of some rows of one band of the raster, such that those of several can be put together."""

    pixels: int
    valid: int
    counted: int
    """Valid and finite."""
    mean: float = 0.0
    squares: float = 0.0
    """Sum of the squared deviations from the mean."""
    minimum: float | None = None
    maximum: float | None = None


class BandReceipt(Model):
    """A band that was encoded and staged."""

    target: BlobRef
    band: int
    part: BlobRef
    """What it left for the assembler; the name has the content's hash."""
    staged_bytes: int
    moments: tuple[BandMoments, ...]
    """Of each band of the raster."""
    peak_rss_bytes: int = 0


class AssembleInput(Model):
    """Make the blob of the blocks that the bands staged."""

    cog: SharedCog
    facts: RasterFacts
    """Of the source."""
    receipts: tuple[BandReceipt, ...] = Field(min_length=1)
    """Of all bands, in their order."""


class AssembledCog(Model):
    """The COG, and what was learned about the source while it was encoded."""

    product: CogProduct
    statistics: tuple[BandStatistics | None, ...]
    """Per band; None where the dtype has no order (complex)."""
    encoded_again: int = 0
    """Bands whose blocks were gone, so that the assembler encoded them itself."""
    moved_bytes: int = 0
    """What the assembler read and wrote, encoding again aside."""
