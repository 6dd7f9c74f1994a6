"""What an attempt leaves in the store, and what it does when something is there already."""

import dataclasses
import datetime as dt
import hashlib
import shutil
from typing import get_args

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from geoetl.errors import BadData, LeaseLost, SystemFault, TransientError
from geoetl.models.raster import ConvertInput, InspectInput, ResamplingName
from geoetl.models.refs import BlobRef
from geoetl.tasks.context import PublicationToken
from geoetl.tasks.raster import profiles
from geoetl.tasks.raster.convert import COG_CONTENT_TYPE, convert_raster
from geoetl.tasks.raster.inspect import inspect_raster

SOURCE = BlobRef("bronze://raw/scene.tif")
TARGET = BlobRef("silver://cogs/demo/5f0c3d9e/scene.tif")
ACQUIRED = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)


@pytest.fixture
def task(store, ctx, tmp_path):
    """What convert is given for a small RGB scene, inspected."""
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=3, height=700, width=900, crs="EPSG:32633", photometric="RGB",
        transform=from_origin(500_000, 4_600_000, 10, 10), nodata=0,
    ) as dst:  # fmt: skip
        rows, columns = np.mgrid[0:700, 0:900]
        dst.write(np.stack([rows % 250 + 1, columns % 250 + 1, (rows + columns) % 250]).astype("uint8"))
    etag = store.upload(SOURCE, path, content_type="image/tiff").etag
    facts = inspect_raster(InspectInput(source=SOURCE, etag=etag, item_id="i", datetime=ACQUIRED), ctx).facts
    (ctx.scratch / "source.bin").unlink()
    return ConvertInput(source=SOURCE, etag=etag, target=TARGET, facts=facts)


def blobs(store) -> list[str]:
    return [found.ref for found in store.list("silver", "cogs")]


def test_the_product_describes_the_blob_that_was_written(task, store, ctx):
    product = convert_raster(task, ctx)
    stored = store.properties(TARGET)
    assert product.cog == TARGET
    assert (product.etag, product.size_bytes) == (stored.etag, stored.size_bytes)
    assert product.sha256 == hashlib.sha256(store.path(TARGET).read_bytes()).hexdigest()
    assert stored.content_type == COG_CONTENT_TYPE
    assert stored.metadata == {"sha256": product.sha256, "run": ctx.run_id, "source_etag": task.etag}
    assert product.facts.blob.etag == stored.etag
    assert product.facts.compression == "ZSTD"
    assert blobs(store) == [TARGET.removesuffix(".tif") + ".thumbnail.png", TARGET]


def test_the_thumbnail_is_small_and_transparent_where_there_is_no_data(task, store, ctx):
    with Image.open(store.path(convert_raster(task, ctx).thumbnail)) as picture:
        assert picture.format == "PNG"
        assert max(picture.size) == 512
        alpha = np.asarray(picture)[..., 3]
    assert alpha.max() == 255


def test_every_attempt_writes_a_path_of_its_own(task, store, ctx):
    first = convert_raster(task, ctx)
    second = convert_raster(task, dataclasses.replace(ctx, token=PublicationToken(run_sequence=7, attempt=2)))
    assert second.cog == "silver://cogs/demo/5f0c3d9e/scene.attempt2.tif"
    assert store.properties(first.cog).etag == first.etag
    assert second.sha256 == first.sha256


def test_an_upload_whose_answer_was_lost_is_recognised(task, store, ctx):
    first = convert_raster(task, ctx)
    again = convert_raster(task, ctx)
    assert again == first.model_copy(update={"peak_rss_bytes": again.peak_rss_bytes})


def test_another_blob_at_the_target_is_never_overwritten_or_adopted(task, store, ctx):
    store.upload(TARGET, b"something else", content_type="text/plain")
    with pytest.raises(SystemFault, match="another blob of 14 bytes") as caught:
        convert_raster(task, ctx)
    assert caught.value.code == "target-exists"
    assert store.path(TARGET).read_bytes() == b"something else"


def test_a_lost_lease_uploads_nothing(task, store, ctx):
    class Superseded(type(ctx)):
        def checkpoint(self):
            raise LeaseLost("The attempt was superseded.")

    lost = Superseded(**{field.name: getattr(ctx, field.name) for field in dataclasses.fields(ctx)})
    with pytest.raises(LeaseLost):
        convert_raster(task, lost)
    assert blobs(store) == []


def test_too_little_scratch_is_tried_again_elsewhere(task, ctx, monkeypatch):
    usage = shutil.disk_usage(ctx.scratch)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(TransientError) as caught:
        convert_raster(task, ctx)
    assert caught.value.code == "scratch-full"


@pytest.mark.parametrize("profile", ["zstd", "deflate", "lzw", "lerc", "raw"])
def test_lossless_profiles_keep_every_pixel(task, store, ctx, profile):
    product = convert_raster(task.model_copy(update={"profile": profile}), ctx)
    assert product.checks["pixels_equal"]
    assert product.profile == profile
    with rasterio.open(store.path(product.cog)) as cog, rasterio.open(store.path(SOURCE)) as src:
        np.testing.assert_array_equal(cog.read(), src.read())


@pytest.mark.parametrize("profile", ["jpeg", "webp"])
def test_lossy_profiles_are_refused_where_they_would_blend_nodata(task, ctx, profile):
    with pytest.raises(BadData, match="blends neighbouring values") as caught:
        convert_raster(task.model_copy(update={"profile": profile}), ctx)
    assert caught.value.code == "profile-unsuitable"


@pytest.mark.parametrize("profile", ["jpeg", "webp"])
def test_lossy_profiles_are_close_where_they_are_asked_for(store, ctx, tmp_path, profile):
    path = tmp_path / "smooth.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=3, height=700, width=900, crs="EPSG:32633", photometric="RGB",
        transform=from_origin(500_000, 4_600_000, 10, 10),
    ) as dst:  # fmt: skip
        rows, columns = np.mgrid[0:700, 0:900]
        dst.write(np.stack([rows / 4, columns / 4, (rows + columns) / 8]).astype("uint8"))
    etag = store.upload(SOURCE, path, content_type="image/tiff").etag
    facts = inspect_raster(InspectInput(source=SOURCE, etag=etag, item_id="i", datetime=ACQUIRED), ctx).facts
    product = convert_raster(ConvertInput(source=SOURCE, etag=etag, target=TARGET, facts=facts, profile=profile), ctx)
    assert "pixels_equal" not in product.checks
    with rasterio.open(store.path(product.cog)) as cog, rasterio.open(path) as src:
        difference = np.abs(cog.read().astype(int) - src.read().astype(int))
    assert difference.mean() < 2


@pytest.mark.parametrize("resampling", get_args(ResamplingName.__value__))
def test_every_resampling_makes_overviews(task, store, ctx, resampling):
    product = convert_raster(task.model_copy(update={"resampling": resampling}), ctx)
    with rasterio.open(store.path(product.cog)) as cog:
        assert cog.overviews(1) == [2]
        assert cog.tags(ns="IMAGE_STRUCTURE")["OVERVIEW_RESAMPLING"] == resampling.replace("_", "").upper()
    assert product.overview_resampling == resampling


def test_what_gdal_cannot_do_is_told_in_our_words(task, ctx, monkeypatch):
    monkeypatch.setattr(profiles, "BLOCKSIZE", 3)
    task = task.model_copy(update={"resampling": "cubic"})
    with pytest.raises(SystemFault, match=r"Writing the COG of bronze://raw/scene\.tif failed; GDAL says") as caught:
        convert_raster(task, ctx)
    assert caught.value.code == "unwritable"
