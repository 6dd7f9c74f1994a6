"""Many rasters on one grid that become one COG."""

from typing import Literal, Self

from geoetl.models.base import Model
from geoetl.models.raster import RasterFacts
from geoetl.models.refs import BlobRef

#: Which source a pixel is of where several have data, as in ``rio merge``; ``last`` is GDAL's own rule (gdalbuildvrt).
type OverlapRule = Literal["first", "last", "highest", "lowest"]


class MosaicSource(Model):
    """A source, and where its upper left pixel lies in the mosaic."""

    source: BlobRef
    etag: str
    """At submit: a source that has changed since is refused."""
    column: int
    row: int
    width: int
    height: int


class MosaicGrid(Model):
    """The common grid, and the sources on it."""

    width: int
    height: int
    transform: tuple[float, float, float, float, float, float]
    """Affine in rasterio's order (a, b, c, d, e, f)."""
    overlap: OverlapRule
    has_overlap: bool
    mask: Literal["none", "alpha", "internal"] = "none"
    """How sources mark pixels without data, where not by a nodata value; ``internal``: some of them at least."""
    tags: dict[str, str]
    """The dataset's tags: those that all sources share."""
    sources: tuple[MosaicSource, ...]
    """In the order of the job."""

    def between(self, start: int, stop: int) -> Self:
        """The same grid with the sources that have rows ``start`` to ``stop`` (exclusive) alone."""
        inside = tuple(each for each in self.sources if each.row < stop and each.row + each.height > start)
        return self.model_copy(update={"sources": inside})


class MosaicFacts(Model):
    """What preflight learned of the sources of a mosaic."""

    etag: str
    """Of all of them together: another one means other sources."""
    headers: tuple[RasterFacts, ...]
    """In the order of the job."""
