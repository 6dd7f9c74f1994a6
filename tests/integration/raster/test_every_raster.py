"""Every data type and feature: accepted by preflight, converted, and equal to its source in the written COG."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

from geoetl.models.raster import ConvertInput, InspectInput
from geoetl.models.refs import BlobRef
from geoetl.preflight.raster import check_raster
from geoetl.preflight.raster_rules import RasterOptions
from geoetl.tasks.raster.convert import convert_raster
from geoetl.tasks.raster.inspect import inspect_raster
from tests.integration.raster.rasters import CASES

ACQUIRED = dt.datetime(2024, 5, 1, 10, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize("name", CASES)
def test_cog_equals_its_source(name, tmp_path, store, ctx):
    original = tmp_path / "original.tif"
    CASES[name](original)
    source = BlobRef("bronze://raw/original.tif")
    etag = store.upload(source, original, content_type="image/tiff").etag

    facts, findings = check_raster(
        store, source, parameter="sources[0]", options=RasterOptions(datetime=ACQUIRED), max_bytes=10**9
    )
    assert [f for f in findings if f.severity == "error"] == []
    inspected = inspect(store, source, etag, ctx)
    assert inspected.facts == facts
    product = convert_raster_of(source, etag, inspected.facts, ctx)

    assert all(product.checks.values()), product.checks
    assert_same_raster(original, store.path(product.cog))
    assert list(ctx.scratch.iterdir()) == []
    assert ctx.checkpoints >= 3


def inspect(store, source, etag, ctx, **options):
    return inspect_raster(InspectInput(source=source, etag=etag, item_id="i", datetime=ACQUIRED, **options), ctx)


def convert_raster_of(source, etag, facts, ctx, **options):
    target = BlobRef("silver://cogs/demo/5f0c3d9e/original.tif")
    return convert_raster(ConvertInput(source=source, etag=etag, target=target, facts=facts, **options), ctx)


def assert_same_raster(original: Path, cog: Path) -> None:
    """By rasterio's whole-file reads: another way than the converter's own check."""
    with rasterio.open(original) as src, rasterio.open(cog) as dst:
        # See validate.py: rio-cogeo cannot judge overviews of a raster one pixel wide.
        assert src.width == 1 or cog_validate(cog, strict=True, quiet=True) == (True, [], [])
        assert dst.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (dst.dtypes, dst.shape, dst.count) == (src.dtypes, src.shape, src.count)
        assert (dst.crs, dst.transform) == (src.crs, src.transform)
        assert [(p.row, p.col, p.x, p.y) for p in dst.gcps[0]] == [(p.row, p.col, p.x, p.y) for p in src.gcps[0]]
        np.testing.assert_array_equal(dst.read(), src.read(), strict=True)
        np.testing.assert_array_equal(dst.read_masks(), src.read_masks())
        assert dst.mask_flag_enums == src.mask_flag_enums
        assert repr(dst.nodatavals) == repr(src.nodatavals)
        assert dst.colorinterp == src.colorinterp
        assert dst.descriptions == src.descriptions
        assert (dst.scales, dst.offsets, dst.units) == (src.scales, src.offsets, src.units)
        assert src.tags().items() <= dst.tags().items()
        for index in src.indexes:
            assert src.tags(index).items() <= dst.tags(index).items()
            assert dst.tags(index, ns="IMAGE_STRUCTURE").get("NBITS") == src.tags(index, ns="IMAGE_STRUCTURE").get(
                "NBITS"
            )
        if src.colorinterp[0] is ColorInterp.palette:
            assert dst.colormap(1) == src.colormap(1)


def test_an_inspection_counts_the_pieces_it_has_read(tmp_path, store, ctx):
    original = tmp_path / "original.tif"
    CASES["tiled"](original)
    source = BlobRef("bronze://raw/original.tif")
    etag = store.upload(source, original, content_type="image/tiff").etag
    ctx.shrink = 8

    inspect(store, source, etag, ctx)

    total = ctx.reports[-1][1]
    assert total > 1
    assert ctx.reports == [(done, total) for done in range(1, total + 1)]
