"""COGs encoded band by band, and the files that GDAL's COG driver makes of the same sources."""

import random

import rasterio
import rasterio.shutil

from geoetl.gdal.bands import bands_problem
from geoetl.gdal.env import gdal_env
from geoetl.models.bigcog import AssembleInput, BandInput, SharedCog
from geoetl.models.refs import BlobRef
from geoetl.tasks.raster.cog.assemble import assemble_cog
from geoetl.tasks.raster.cog.bands import encode_band
from geoetl.tasks.raster.profiles import choose_profile
from tests.integration.raster.rasters import facts_at

SOURCE = BlobRef("bronze://raw/original.tif")
TARGET = BlobRef("silver://cogs/demo/5f0c3d9e/original.tif")
#: Small tiles, so that small rasters have many and several overviews.
BLOCKSIZE = 128
#: Makes panels of the least width: as many columns as a band has rows.
NARROW = 1


def put(ctx, path, **options) -> SharedCog:
    etag = ctx.store.upload(SOURCE, path, content_type="image/tiff", overwrite=True).etag
    wanted = {"band_rows": 256, "blocksize": BLOCKSIZE, "is_striped": False, **options}
    return SharedCog(source=SOURCE, etag=etag, target=TARGET, **wanted)


def encode_all(ctx, cog, height, *, seed=3):
    """Every band, in random order."""
    order = list(range(-(-height // cog.band_rows)))
    random.Random(seed).shuffle(order)
    receipts = {band: encode_band(BandInput(cog=cog, band=band), ctx) for band in order}
    return tuple(receipts[band] for band in sorted(receipts))


def make(ctx, path, **options):
    cog = put(ctx, path, **options)
    facts = facts_at(path)
    receipts = encode_all(ctx, cog, facts.height)
    return assemble_cog(AssembleInput(cog=cog, facts=facts, receipts=receipts), ctx)


def written(ctx) -> bytes:
    return ctx.store.path(TARGET).read_bytes()


def by_driver(path, folder, *, profile="auto", resampling=None) -> bytes:
    facts = facts_at(path)
    chosen = choose_profile(
        profile, facts, "x", threads=1, resampling=resampling, has_nodata=facts.mask_kind == "nodata"
    )
    with gdal_env(), rasterio.open(path) as src:
        options = {**chosen.options, "BLOCKSIZE": str(BLOCKSIZE)}
        rasterio.shutil.copy(src, str(folder / "driver.tif"), driver="COG", **options)
    return (folder / "driver.tif").read_bytes()


def problem_of(path, *, profile="auto", resampling=None):
    facts = facts_at(path)
    return bands_problem(facts, profile=profile, resampling=resampling, target_crs=None, nodata=None)
