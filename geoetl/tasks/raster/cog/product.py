"""A COG that is in its place: read back, checked, described."""

import rasterio
from rasterio.io import DatasetReader

from geoetl.gdal.footprint import footprint
from geoetl.gdal.header import facts_of
from geoetl.gdal.open import open_raster
from geoetl.models.bigcog import SharedCog
from geoetl.models.raster import BlobFacts, CogProduct
from geoetl.resources.process_memory import peak_rss_bytes
from geoetl.storage.base import BlobProperties
from geoetl.storage.paths import thumbnail_ref
from geoetl.tasks.context import TaskContext
from geoetl.tasks.raster.profiles import CogProfile
from geoetl.tasks.raster.thumbnail import thumbnail_png
from geoetl.tasks.raster.validate import compare_headers, is_strict_cog, require_all


def describe_product(
    cog: SharedCog, src: DatasetReader, profile: CogProfile, stored: BlobProperties, ctx: TaskContext
) -> CogProduct:
    """Open the blob as a reader would, compare it with the source, make its thumbnail.

    Pixels were compared when they were encoded, tile by tile; here it is shown that the file describes them.

    Raises:
        SystemFault: ``cog-differs``.
    """
    access = ctx.store.gdal_access(cog.target, life_s=ctx.access_life_s)
    checks = {"strict_cog": is_strict_cog(access, width=src.width)}
    blob = BlobFacts(
        size_bytes=stored.size_bytes,
        etag=stored.etag,
        content_type=stored.content_type,
        last_modified=stored.last_modified,
    )
    with open_raster(access, cog.target) as dst:
        checks |= compare_headers(src, dst)
        facts = facts_of(dst, blob)
    checks |= {"every_block_decoded": True, "pixels_equal": True, "mask_equal": True}
    require_all(checks, cog.source)
    outline = footprint(facts, cog.source)
    thumbnail = thumbnail_ref(cog.target)
    ctx.store.upload(thumbnail, thumbnail_png(access, cog.target), content_type="image/png", overwrite=True)
    return CogProduct(
        source=cog.source,
        cog=cog.target,
        thumbnail=thumbnail,
        etag=stored.etag,
        size_bytes=stored.size_bytes,
        sha256="",
        facts=facts,
        footprint=outline.geometry,
        bbox=outline.bbox,
        profile=profile.name,
        overview_resampling=profile.overview_resampling,
        software={"GDAL": rasterio.__gdal_version__, "rasterio": rasterio.__version__},
        checks=checks,
        peak_rss_bytes=peak_rss_bytes(),
    )
