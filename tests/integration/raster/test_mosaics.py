"""A mosaic is, pixel for pixel and byte for byte, the COG of its sources laid one above the other."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from geoetl.errors import BadData
from geoetl.gdal.mosaic import misfits
from geoetl.models.bigcog import BandInput, MosaicInput
from geoetl.tasks.raster.cog.bands import encode_band
from geoetl.tasks.raster.mosaic import make_mosaic
from tests.integration.raster.conftest import PlainContext
from tests.integration.raster.mosaics import PLACES, RULES, SHAPE, TARGET, by_driver, write

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


def placed(sources, kind, seed=11, **options):
    dtype, nodata, count = KINDS[kind]
    values = pixels(dtype, nodata, count, seed)
    for own, (column, row, _, _) in zip(values, PLACES, strict=True):
        sources.add(own, column, row, nodata=nodata, **options)
    return values, nodata


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

    cog = sources.cog(overlap=rule, blocksize=512, band_rows=512)
    made = make_mosaic(MosaicInput(cog=cog, facts=sources.whole), ctx)

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        np.testing.assert_array_equal(dst.read(), expected, strict=True)
    assert ctx.store.path(TARGET).read_bytes() == by_driver(tmp_path / "plain.tif", tmp_path, blocksize=512)
    assert list(ctx.scratch.iterdir()) == []
    valid = expected[0][expected[0] != nodata]
    found = made.statistics[0]
    assert (found.minimum, found.maximum) == (valid.min(), valid.max())
    assert found.mean == pytest.approx(valid.mean())


#: Without a gap, for sources that have no value for one.
CLOSED = [(0, 0, 330, 300), (300, 0, 320, 310), (0, 280, 340, 310), (305, 300, 315, 290)]


@pytest.mark.parametrize("by", ["bands", "one task"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "float32"])
def test_sources_without_nodata_lie_one_above_the_other(dtype, rule, by, sources, ctx):
    rng = np.random.default_rng(13)
    # Neither the highest nor the lowest value may be that of pixels which a source has not.
    low = -120 if rule == "highest" and not dtype.startswith("u") else 1
    values = [rng.integers(low, low + 110, (2, height, width)).astype(dtype) for _, _, width, height in CLOSED]
    for own, (column, row, _, _) in zip(values, CLOSED, strict=True):
        sources.add(own, column, row)
    cog = sources.cog(overlap=rule, **({} if by == "bands" else {"blocksize": 512, "band_rows": 512}))
    assert misfits(sources.refs, sources.headers, sources.options) == []

    if by == "bands":
        sources.by_bands(cog)
    else:
        make_mosaic(MosaicInput(cog=cog, facts=sources.whole), ctx)

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        np.testing.assert_array_equal(dst.read(), reference(values, CLOSED, SHAPE, None, rule), strict=True)


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


def test_a_source_that_is_replaced_while_bands_read_it_is_refused_by_name(sources, ctx):
    placed(sources, "uint16", compress="deflate", tiled=True, blockxsize=128, blockysize=128)
    cog = sources.cog()

    class Replacing(PlainContext):
        def report(self, *, done, total):
            noise = np.random.default_rng(1).bytes(100_000)
            self.store.upload(sources.refs[2], noise, content_type="image/tiff", overwrite=True)

    with pytest.raises(BadData, match=r"bronze://raw/2.tif failed: it was replaced") as caught:
        encode_band(BandInput(cog=cog, band=1), Replacing(store=ctx.store, scratch=ctx.scratch))
    assert caught.value.code == "source-changed"


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
