"""A mosaic is, pixel for pixel and byte for byte, the COG of its sources laid one above the other."""

import random

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from geoetl.errors import BadData
from geoetl.gdal.env import gdal_env
from geoetl.gdal.mosaic import MosaicOptions, lay_out, misfits, mosaic_header
from geoetl.models.bigcog import AssembleInput, BandInput, MosaicInput, SharedCog
from geoetl.models.refs import BlobRef
from geoetl.tasks.raster.cog.assemble import assemble_cog
from geoetl.tasks.raster.cog.bands import encode_band
from geoetl.tasks.raster.mosaic import make_mosaic
from geoetl.tasks.raster.profiles import choose_profile
from tests.integration.raster.rasters import facts_at

TARGET = BlobRef("silver://cogs/demo/5f0c3d9e/mosaic.tif")
RULES = ["first", "last", "highest", "lowest"]
#: Column, row, width, height of each source: overlaps of two and three, gaps, one source inside another.
PLACES = [(0, 0, 330, 300), (300, 10, 320, 290), (0, 280, 340, 310), (305, 320, 250, 240), (40, 50, 90, 60)]
SHAPE = (590, 620)
#: Data type, nodata, bands.
KINDS = {
    "uint8 rgb": ("uint8", 0, 3), "uint16": ("uint16", 7, 1), "int16": ("int16", -9999, 2),
    "float32": ("float32", -9999.0, 1), "float64 NaN": ("float64", float("nan"), 1), "int32": ("int32", -1, 1),
}  # fmt: skip


def pixels(dtype, nodata, count, seed):
    """Values of each source, a seventh of them nodata, a block of it too."""
    rng = np.random.default_rng(seed)
    made = []
    for _, _, width, height in PLACES:
        values = rng.integers(0, 100, (count, height, width)).astype(dtype)
        if nodata is not None:
            values[rng.random(values.shape) < 1 / 7] = nodata
            values[:, 20:60, 30:80] = nodata
        made.append(values)
    return made


def reference(values, places, shape, nodata, rule):
    """A plain mosaic, band by band."""
    count, dtype = len(values[0]), values[0].dtype
    whole = np.full((count, *shape), 0 if nodata is None else nodata, dtype=dtype)
    is_set = np.zeros(whole.shape, dtype=bool)
    for own, (column, row, width, height) in zip(values, places, strict=True):
        here = np.s_[:, row : row + height, column : column + width]
        if nodata is None:
            has_data = np.ones(own.shape, dtype=bool)
        else:
            has_data = ~np.isnan(own) if np.isnan(nodata) else own != nodata
        with np.errstate(invalid="ignore"):
            wins = {
                "first": ~is_set[here], "last": has_data, "highest": ~is_set[here] | (own > whole[here]),
                "lowest": ~is_set[here] | (own < whole[here]),
            }[rule]  # fmt: skip
        whole[here] = np.where(has_data & wins, own, whole[here])
        is_set[here] |= has_data
    return whole


def write(path, values, column=0, row=0, *, nodata, x=500_000, crs="EPSG:32633", size=10, then=None, **options):
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=values.dtype, nodata=nodata, crs=crs,
        transform=from_origin(x + column * size, 4_600_000 - row * size, size, size), **options,
    ) as dst:  # fmt: skip
        if then:
            then(dst)
        dst.write(values)


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


@pytest.fixture
def sources(ctx, tmp_path):
    return Sources(ctx, tmp_path)


def placed(sources, kind, seed=11, **options):
    dtype, nodata, count = KINDS[kind]
    values = pixels(dtype, nodata, count, seed)
    for own, (column, row, _, _) in zip(values, PLACES, strict=True):
        sources.add(own, column, row, nodata=nodata, **options)
    return values, nodata


def by_driver(path, folder, blocksize=128):
    facts = facts_at(path)
    profile = choose_profile("auto", facts, "x", threads=1, has_nodata=facts.mask_kind == "nodata")
    with gdal_env(), rasterio.open(path) as src:
        options = {**profile.options, "BLOCKSIZE": str(blocksize)}
        rasterio.shutil.copy(src, str(folder / "driver.tif"), driver="COG", **options)
    return (folder / "driver.tif").read_bytes()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_bands_make_the_drivers_file_of_the_plain_mosaic(kind, rule, sources, ctx, tmp_path):
    values, nodata = placed(sources, kind)
    expected = reference(values, PLACES, SHAPE, nodata, rule)
    write(tmp_path / "plain.tif", expected, nodata=nodata)

    made = sources.by_bands(sources.cog(overlap=rule))

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        np.testing.assert_array_equal(dst.read(), expected, strict=True)
    assert ctx.store.path(TARGET).read_bytes() == by_driver(tmp_path / "plain.tif", tmp_path)
    assert all(made.product.checks.values())
    assert list(ctx.scratch.iterdir()) == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["uint8 rgb", "float32"])
def test_one_task_makes_the_drivers_file_of_the_plain_mosaic(kind, rule, sources, ctx, tmp_path):
    values, nodata = placed(sources, kind)
    expected = reference(values, PLACES, SHAPE, nodata, rule)
    write(tmp_path / "plain.tif", expected, nodata=nodata)

    cog = sources.cog(overlap=rule)
    made = make_mosaic(MosaicInput(cog=cog, facts=sources.whole), ctx)

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        np.testing.assert_array_equal(dst.read(), expected, strict=True)
    assert ctx.store.path(TARGET).read_bytes() == by_driver(tmp_path / "plain.tif", tmp_path, blocksize=512)
    assert list(ctx.scratch.iterdir()) == []
    valid = expected[0][expected[0] != nodata]
    found = made.statistics[0]
    assert (found.minimum, found.maximum) == (valid.min(), valid.max())
    assert found.mean == pytest.approx(valid.mean())


def test_sources_that_touch_without_nodata_are_copied(sources, ctx):
    rng = np.random.default_rng(3)
    whole = (rng.integers(0, 2**40, (1, 300, 400)) + 2**60).astype("int64")
    for row in (0, 100, 200):
        for column in (0, 200):
            sources.add(whole[:, row : row + 100, column : column + 200], column, row, nodata=None)
    cog = sources.cog()
    assert misfits(sources.refs, sources.headers, sources.options) == []

    sources.by_bands(cog)

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        np.testing.assert_array_equal(dst.read(), whole, strict=True)


def test_a_band_without_any_source_is_nodata(sources, ctx):
    one = np.full((1, 60, 900), 5, dtype="uint8")
    sources.add(one, 0, 0, nodata=9)
    sources.add(one, 0, 2000, nodata=9)

    sources.by_bands(sources.cog(overlap="highest"))

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        values = dst.read(1)
    assert (values[60:2000] == 9).all()
    assert (values[:60] == 5).all()
    assert (values[2000:] == 5).all()


def test_what_sources_say_alike_is_kept_and_the_rest_is_not(sources, ctx):
    def describe(number):
        def then(dst):
            dst.update_tags(SENSOR="MSI", TILE=str(number))
            dst.descriptions, dst.units, dst.scales = ("red",), ("m",), (0.5,)
            dst.colorinterp = [ColorInterp.gray]

        return then

    values = np.ones((1, 100, 100), dtype="uint16")
    sources.add(values, 0, 0, nodata=0, then=describe(0))
    sources.add(values, 90, 0, nodata=0, then=describe(1))
    make_mosaic(MosaicInput(cog=sources.cog(), facts=sources.whole), ctx)

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        assert (dst.tags()["SENSOR"], "TILE" in dst.tags()) == ("MSI", False)
        assert (dst.descriptions, dst.units, dst.scales) == (("red",), ("m",), (0.5,))


def test_a_source_that_was_replaced_is_refused_by_name(sources, ctx):
    placed(sources, "uint16")
    cog = sources.cog()
    ctx.store.upload(sources.refs[3], b"another", content_type="image/tiff", overwrite=True)

    for run in (lambda: make_mosaic(MosaicInput(cog=cog, facts=sources.whole), ctx), lambda: sources.by_bands(cog)):
        with pytest.raises(BadData, match=r"bronze://raw/3.tif failed: it was replaced"):
            run()


def test_a_damaged_source_is_named(sources, ctx):
    placed(sources, "uint16", compress="deflate")
    path = ctx.store.path(sources.refs[2])
    with rasterio.open(path) as src:
        offset = int(src.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + 64] = bytes(range(64))
    blob = ctx.store.upload(sources.refs[2], bytes(content), content_type="image/tiff", overwrite=True)
    header = sources.headers[2]
    sources.headers[2] = header.model_copy(update={"blob": header.blob.model_copy(update={"etag": blob.etag})})

    with pytest.raises(BadData, match=r"bronze://raw/2.tif") as caught:
        make_mosaic(MosaicInput(cog=sources.cog(), facts=sources.whole), ctx)
    assert caught.value.code == "corrupt-block"
