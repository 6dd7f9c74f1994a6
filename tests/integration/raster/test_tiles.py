"""Tiles of every codec: the driver's, and what readers of the COG will see."""

import dataclasses

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from geoetl.errors import SystemFault
from geoetl.tasks.raster.cog.recipe import make_recipe
from tests.integration.raster.bands import BLOCKSIZE, NARROW, TARGET, by_driver, make, problem_of, put, written
from tests.integration.raster.rasters import values, write


@pytest.mark.parametrize("profile", ["zstd", "deflate", "lzw", "raw"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_every_lossless_codec_is_the_drivers(profile, dtype, tmp_path, ctx):
    original = tmp_path / "original.tif"
    write(original, dtype, height=1023, width=1101, nodata=5)

    make(ctx, original, profile=profile, chunk_bytes=NARROW)

    assert written(ctx) == by_driver(original, tmp_path, profile=profile)


def test_lerc_has_the_drivers_pixels(tmp_path, ctx):
    original = tmp_path / "original.tif"
    write(original, "uint8", height=1023, width=1101)
    make(ctx, original, profile="lerc")
    # GDAL's LERC encoder writes other bytes each time: unused bits are whatever was in memory.
    by_driver(original, tmp_path, profile="lerc")

    for level in range(-1, 3):
        options = {} if level < 0 else {"OVERVIEW_LEVEL": level}
        with (
            rasterio.open(ctx.store.path(TARGET), **options) as one,
            rasterio.open(tmp_path / "driver.tif", **options) as other,
        ):
            np.testing.assert_array_equal(one.read(), other.read(), strict=True)


@pytest.mark.parametrize("collar", [0, 255])
def test_lerc_keeps_a_fourth_band_that_is_no_alpha(collar, tmp_path, ctx):
    original = tmp_path / "original.tif"
    fill = values("uint8", (4, 530, 601))
    # What looks like transparency where GDAL takes the fourth band for it.
    fill[3, :BLOCKSIZE, :BLOCKSIZE] = collar
    write(original, "uint8", count=4, fill=fill, photometric="RGB", alpha="NO")
    assert problem_of(original, profile="lerc") is None

    make(ctx, original, profile="lerc")

    with rasterio.open(ctx.store.path(TARGET)) as dst:
        np.testing.assert_array_equal(dst.read(), fill, strict=True)


@pytest.mark.parametrize("tag", [258, 317, 338])
def test_tiles_are_read_back_under_the_tags_of_the_cog(tag, tmp_path, ctx):
    original = tmp_path / "original.tif"
    write(original, "uint16", count=2)
    cog = put(ctx, original)
    with rasterio.open(original) as src:
        recipe = make_recipe(src, cog, scratch=tmp_path, threads=1)
        pixels = recipe.read(src, Window(0, 0, 601, BLOCKSIZE))
    assert len(recipe.encoder.encode(pixels)) == 5

    # Bits of a value, predictor, and that a second band is there.
    tags = {each: field for each, field in recipe.template.image.items() if each != tag}
    if tag == 258:
        tags[tag] = dataclasses.replace(recipe.template.image[tag], raw=b"\x0c\0\x0c\0")
    if tag == 338:
        tags[277] = dataclasses.replace(tags[277], raw=b"\1\0")
    template = dataclasses.replace(recipe.template, image=tags)
    with pytest.raises(SystemFault, match="tiles that") as caught:
        dataclasses.replace(recipe.encoder, template=template).encode(pixels)
    assert caught.value.code == "cog-differs"
