"""What a COG is made of, open: one source, or many on one grid."""

from collections.abc import Generator
from contextlib import contextmanager

from rasterio.io import DatasetReader

from geoetl.errors import BadData
from geoetl.gdal.header import nodata_value
from geoetl.gdal.mosaic_vrt import open_mosaic
from geoetl.gdal.sources import open_blob_source, require_unchanged
from geoetl.models.bigcog import SharedCog
from geoetl.models.mosaic import MosaicGrid
from geoetl.tasks.context import TaskContext


@contextmanager
def open_shared(cog: SharedCog, ctx: TaskContext) -> Generator[DatasetReader]:
    """Open the source or sources of a COG where they lie.

    Raises:
        BadData: ``source-changed``, ``unreadable-raster``.
        InvalidInput: ``source_crs`` or ``nodata`` cannot be.
        TransientError: The storage did not answer.
    """
    with open_blob_source(
        ctx.store,
        cog.source,
        ctx.scratch,
        etag=cog.etag,
        life_s=ctx.access_life_s,
        source_crs=cog.source_crs,
        nodata=nodata_value(cog.nodata),
        threads=ctx.threads,
    ) as first:
        if cog.mosaic is None:
            yield first
            return
        _require_unchanged(cog.mosaic, ctx)
        access = ctx.store.gdal_access_to([each.source for each in cog.mosaic.sources], life_s=ctx.access_life_s)
        try:
            with open_mosaic(
                first,
                cog.mosaic,
                access.paths,
                ctx.scratch,
                options=access.options,
                threads=ctx.threads,
                cache_bytes=ctx.cache_bytes,
            ) as src:
                yield src
        except BadData:
            _require_unchanged(cog.mosaic, ctx)
            raise
        # GDAL itself does not look at ETags.
        _require_unchanged(cog.mosaic, ctx)


def _require_unchanged(mosaic: MosaicGrid, ctx: TaskContext) -> None:
    for each in mosaic.sources:
        ctx.checkpoint()
        require_unchanged(ctx.store, each.source, each.etag)
