"""A mosaic of sources with masks: where a mask says so a source is not there, and the mosaic has a mask of its own."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from geoetl.gdal.bands import bands_problem
from geoetl.gdal.mosaic import misfits
from geoetl.models.bigcog import MosaicInput
from geoetl.tasks.raster.mosaic import make_mosaic
from tests.integration.raster.mosaics import PLACES, RULES, SHAPE, TARGET, by_driver, write

#: Data type and bands, with the alpha band's index where there is one; else masks are internal.
KINDS = {
    "uint8 rgb": ("uint8", 3, None), "uint16": ("uint16", 1, None), "int16": ("int16", 2, None),
    "int32": ("int32", 1, None), "float32": ("float32", 1, None), "float64": ("float64", 2, None),
    "uint8 rgba": ("uint8", 4, 3), "uint8 grey and alpha": ("uint8", 2, 1), "uint16 rgba": ("uint16", 4, 3),
    "uint8 of four and alpha": ("uint8", 5, 4), "uint16 alpha between": ("uint16", 3, 1),
}  # fmt: skip


def pixels(kind, seed=17):
    """Values of each source over the whole range of its type, and which count: no value is free to mark the others."""
    dtype, count, alpha = KINDS[kind]
    rng = np.random.default_rng(seed)
    made = []
    for number, (_, _, width, height) in enumerate(PLACES):
        if dtype.startswith("float"):
            values = rng.normal(0, 1000, (count, height, width)).astype(dtype)
            values[rng.random(values.shape) < 1 / 50] = np.nan
        else:
            limits = np.iinfo(dtype)
            values = rng.integers(limits.min, limits.max, (count, height, width), dtype=dtype, endpoint=True)
        # A source whose mask leaves nothing out is one without a mask.
        is_valid = rng.random((height, width)) >= (0 if number == 1 and alpha is None else 1 / 7)
        if alpha is not None:
            # Half transparent is valid, too.
            values[alpha] = np.where(is_valid, np.maximum(values[alpha], 1), 0)
        made.append((values, is_valid))
    return made


def reference(sources, places, shape, rule):
    """The mosaic as one would write it down, and its mask."""
    count, dtype = len(sources[0][0]), sources[0][0].dtype
    is_float, is_chosen = dtype.kind == "f", rule in {"highest", "lowest"}
    whole = np.full((count, *shape), np.nan if is_float and is_chosen else 0, dtype=dtype)
    mask = np.zeros(shape, dtype=bool)
    for (own, is_valid), (column, row, width, height) in zip(sources, places, strict=True):
        here = np.s_[row : row + height, column : column + width]
        below, is_set = whole[:, *here], mask[here]
        with np.errstate(invalid="ignore"):
            wins = {
                "first": ~is_set, "last": True,
                # NaN is neither high nor low.
                "highest": ~is_set | (own > below) | np.isnan(below),
                "lowest": ~is_set | (own < below) | np.isnan(below),
            }[rule]  # fmt: skip
        whole[:, *here] = np.where(is_valid & wins, own, below)
        mask[here] |= is_valid
    return whole, mask


def colors(alpha, count):
    def then(dst):
        if alpha is not None:
            dst.colorinterp = [ColorInterp.alpha if at == alpha else ColorInterp.gray for at in range(count)]

    return then


def add(sources, kind):
    _, count, alpha = KINDS[kind]
    made = pixels(kind)
    for (values, is_valid), (column, row, _, _) in zip(made, PLACES, strict=True):
        mask = None if alpha is not None or is_valid.all() else is_valid
        sources.add(values, column, row, mask=mask, then=colors(alpha, count), **photometric(alpha))
    return made


def photometric(alpha):
    return {} if alpha is None else {"photometric": "MINISBLACK"}


def write_plain(path, values, mask, kind):
    _, count, alpha = KINDS[kind]
    write(path, values, mask=mask if alpha is None else None, then=colors(alpha, count), **photometric(alpha))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_bands_make_the_drivers_file_of_the_plain_mosaic(kind, rule, sources, ctx, tmp_path):
    made = add(sources, kind)
    expected, mask = reference(made, PLACES, SHAPE, rule)
    write_plain(tmp_path / "plain.tif", expected, mask, kind)
    cog = sources.cog(overlap=rule)
    assert misfits(sources.refs, sources.headers, sources.options) == []
    assert bands_problem(sources.whole, profile="auto", resampling=None, target_crs=None, nodata=None) is None

    product = sources.by_bands(cog).product

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        np.testing.assert_array_equal(dst.read(), expected, strict=True)
        if KINDS[kind][2] is None:
            np.testing.assert_array_equal(dst.read_masks(1) != 0, mask)
        else:
            np.testing.assert_array_equal(dst.read(KINDS[kind][2] + 1) != 0, mask)
    assert ctx.store.path(TARGET).read_bytes() == by_driver(tmp_path / "plain.tif", tmp_path)
    assert all(product.checks.values())
    assert list(ctx.scratch.iterdir()) == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["uint8 rgb", "float32", "uint16 rgba"])
def test_one_task_makes_the_drivers_file_of_the_plain_mosaic(kind, rule, sources, ctx, tmp_path):
    made = add(sources, kind)
    expected, mask = reference(made, PLACES, SHAPE, rule)
    write_plain(tmp_path / "plain.tif", expected, mask, kind)

    cog = sources.cog(overlap=rule, blocksize=512, band_rows=512)
    found = make_mosaic(MosaicInput(cog=cog, facts=sources.whole), ctx)

    assert ctx.store.path(TARGET).read_bytes() == by_driver(tmp_path / "plain.tif", tmp_path, blocksize=512)
    assert all(found.product.checks.values())
    valid = expected[0][mask]
    assert found.statistics[0].maximum == np.nanmax(valid)
    assert found.statistics[0].valid_percent == pytest.approx(100 * np.isfinite(valid).sum() / mask.size)
    assert ctx.reports


@pytest.mark.parametrize("rule", RULES)
def test_an_alpha_band_before_all_others_is_composed_alike(rule, sources, ctx):
    made = []
    for (values, is_valid), (column, row, _, _) in zip(pixels("uint16 rgba"), PLACES, strict=True):
        # Its overviews are the driver's.
        made.append((values[[3, 0, 1, 2]], is_valid))
        sources.add(made[-1][0], column, row, then=colors(0, 4), photometric="MINISBLACK")
    expected, _ = reference(made, PLACES, SHAPE, rule)
    cog = sources.cog(overlap=rule)

    assert "alpha" in bands_problem(sources.whole, profile="auto", resampling=None, target_crs=None, nodata=None)
    make_mosaic(MosaicInput(cog=cog, facts=sources.whole), ctx)

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        np.testing.assert_array_equal(dst.read(), expected, strict=True)


@pytest.mark.parametrize("kind", ["int64", "uint8 alpha"])
def test_masked_sources_that_only_touch_are_copied(kind, sources, ctx):
    rng = np.random.default_rng(3)
    is_valid = rng.random((300, 400)) > 1 / 3
    if kind == "int64":
        whole = (rng.integers(0, 2**40, (1, 300, 400)) + 2**60).astype("int64")
        alpha = None
    else:
        whole = np.stack([rng.integers(0, 256, (300, 400)), is_valid * 255]).astype("uint8")
        alpha = 1
    for row in (0, 100, 200):
        for column in (0, 200):
            here = np.s_[row : row + 100, column : column + 200]
            mask = is_valid[here] if alpha is None else None
            sources.add(whole[:, *here], column, row, mask=mask, then=colors(alpha, 2))
    cog = sources.cog()
    assert misfits(sources.refs, sources.headers, sources.options) == []

    sources.by_bands(cog)

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        np.testing.assert_array_equal(dst.read(), whole, strict=True)
        np.testing.assert_array_equal(dst.read_masks(1) != 0, is_valid)


def test_rows_without_any_source_are_masked(sources, ctx):
    one = np.full((1, 60, 900), 5, dtype="uint8")
    mask = np.full((60, 900), True)
    mask[:, :9] = False
    sources.add(one, 0, 0, mask=mask)
    sources.add(one, 0, 2000)

    sources.by_bands(sources.cog(overlap="highest"))

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        masks = dst.read_masks(1)
    assert (masks[:60] == mask * 255).all()
    assert (masks[60:2000] == 0).all()
    assert (masks[2000:] == 255).all()
