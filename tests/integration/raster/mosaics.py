"""Sources of mosaics, and the file that GDAL's COG driver makes of a plain one."""

import random

import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

from geoetl.gdal.env import gdal_env
from geoetl.gdal.mosaic import MosaicOptions, lay_out, mosaic_header
from geoetl.models.bigcog import AssembleInput, BandInput, SharedCog
from geoetl.models.refs import BlobRef
from geoetl.tasks.raster.cog.assemble import assemble_cog
from geoetl.tasks.raster.cog.bands import encode_band
from geoetl.tasks.raster.profiles import choose_profile
from tests.integration.raster.rasters import facts_at

TARGET = BlobRef("silver://cogs/demo/5f0c3d9e/mosaic.tif")
RULES = ["first", "last", "highest", "lowest"]
#: Column, row, width, height of each source: overlaps of two and three, gaps, one source inside another.
PLACES = [(0, 0, 330, 300), (300, 10, 320, 290), (0, 280, 340, 310), (305, 320, 250, 240), (40, 50, 90, 60)]
SHAPE = (590, 620)


def write(
    path, values, column=0, row=0, *, nodata=None, x=500_000, crs="EPSG:32633", size=10, then=None, mask=None, **options
):
    count, height, width = values.shape
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=count, dtype=values.dtype, nodata=nodata,
            crs=crs, transform=from_origin(x + column * size, 4_600_000 - row * size, size, size), **options,
        ) as dst,
    ):  # fmt: skip
        if then:
            then(dst)
        dst.write(values)
        if mask is not None:
            dst.write_mask(mask)


class Sources:
    """Blobs of the sources of a mosaic, and what each task is given."""

    def __init__(self, ctx, folder):
        self.ctx, self.folder = ctx, folder
        self.refs, self.headers = [], []

    def add(self, values, column, row, **options):
        path = self.folder / f"{len(self.refs)}.tif"
        write(path, values, column, row, **options)
        ref = BlobRef(f"bronze://raw/{path.name}")
        etag = self.ctx.store.upload(ref, path, content_type="image/tiff").etag
        facts = facts_at(path)
        self.refs.append(ref)
        blob = facts.blob.model_copy(update={"etag": etag, "size_bytes": path.stat().st_size})
        self.headers.append(facts.model_copy(update={"blob": blob}))

    def cog(self, **options):
        self.options = MosaicOptions(overlap=options.pop("overlap", "last"), nodata=options.get("nodata"))
        self.mosaic = lay_out(self.refs, self.headers, self.options)
        self.whole = mosaic_header(self.headers, self.mosaic)
        wanted = {"band_rows": 256, "blocksize": 128, "is_striped": False, "mosaic": self.mosaic, **options}
        return SharedCog(source=self.refs[0], etag=self.headers[0].blob.etag, target=TARGET, **wanted)

    def by_bands(self, cog):
        bands = list(range(-(-self.mosaic.height // cog.band_rows)))
        random.Random(5).shuffle(bands)
        receipts = {}
        for band in bands:
            some = self.mosaic.between(band * cog.band_rows, (band + 2) * cog.band_rows)
            receipts[band] = encode_band(BandInput(cog=cog.model_copy(update={"mosaic": some}), band=band), self.ctx)
        given = AssembleInput(cog=cog, facts=self.whole, receipts=tuple(receipts[band] for band in sorted(receipts)))
        return assemble_cog(given, self.ctx)


def by_driver(path, folder, blocksize=128):
    facts = facts_at(path)
    profile = choose_profile("auto", facts, "x", threads=1, has_nodata=facts.mask_kind == "nodata")
    with gdal_env(), rasterio.open(path) as src:
        options = {**profile.options, "BLOCKSIZE": str(blocksize)}
        rasterio.shutil.copy(src, str(folder / "driver.tif"), driver="COG", **options)
    return (folder / "driver.tif").read_bytes()
