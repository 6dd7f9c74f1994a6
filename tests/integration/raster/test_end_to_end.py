"""From a source blob to published items, through the three cores."""

import dataclasses

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioIOError
from rasterio.transform import from_origin

from geoetl.errors import BadData, SystemFault, TransientError
from geoetl.gdal.open import gdal_errors
from geoetl.models.raster import CatalogueInput, ConvertInput, InspectInput, ItemInput
from geoetl.models.refs import BlobRef
from geoetl.storage.base import GdalAccess
from geoetl.tasks.raster.convert import convert_raster
from geoetl.tasks.raster.inspect import inspect_raster
from geoetl.tasks.stac.catalogue import publish_items


@pytest.fixture
def catalogue_task(store, ctx, tmp_path) -> CatalogueInput:
    """Two products: one across the antimeridian, one with a nodata value; the time comes from the files."""
    items = []
    for name, crs, options in (("east", "EPSG:32660", {}), ("west", "EPSG:32618", {"nodata": 0})):
        path = tmp_path / f"{name}.tif"
        with rasterio.open(path, "w", driver="GTiff", dtype="uint16", count=1, height=300, width=400, crs=crs,
                           transform=from_origin(690_000, 5_800_000, 100, 100), **options) as dst:  # fmt: skip
            dst.write(np.arange(120_000, dtype="uint32").reshape(1, 300, 400) % 5000)
            dst.update_tags(TIFFTAG_DATETIME="2024:05:01 10:30:00")
        source = BlobRef(f"bronze://raw/{name}.tif")
        etag = store.upload(source, path, content_type="image/tiff").etag
        inspected = inspect_raster(InspectInput(source=source, etag=etag, item_id=name), ctx)
        target = BlobRef(f"silver://cogs/demo/{ctx.run_id}/{name}.tif")
        product = convert_raster(ConvertInput(source=source, etag=etag, target=target, facts=inspected.facts), ctx)
        items.append(ItemInput(item_id=name, product=product, inspected=inspected))
    return CatalogueInput(collection="demo", items=tuple(items), job_id="3b0f", processed_by="geoetl 0.1.0")


def test_items_are_published_in_the_order_of_the_sources(catalogue_task, store, ctx):
    output = publish_items(catalogue_task, ctx)
    assert [item.item_id for item in output.items] == ["east", "west"]
    assert output.items[0].href == "https://silver.example.net/cogs/demo/5f0c3d9e/east.tif"
    assert ctx.publisher.token == ctx.token
    east, west = ctx.publisher.published
    assert east.item["geometry"]["type"] == "MultiPolygon"
    assert east.item["bbox"][0] > east.item["bbox"][2]
    assert west.item["properties"]["datetime"] == "2024-05-01T10:30:00Z"
    assert west.artefact_uri == "silver://cogs/demo/5f0c3d9e/west.tif"
    assert west.etag == store.properties(BlobRef(west.artefact_uri)).etag
    band = west.item["assets"]["data"]["bands"][0]
    assert band["nodata"] == 0
    assert band["statistics"]["maximum"] == 4999
    assert band["raster:spatial_resolution"] == 100


def test_inputs_and_outputs_survive_json(catalogue_task):
    assert CatalogueInput.model_validate_json(catalogue_task.model_dump_json()) == catalogue_task


def test_an_item_the_catalogue_does_not_give_back_is_a_fault(catalogue_task, ctx):
    class Forgetful(type(ctx.publisher)):
        def publish(self, *args, **kwargs):
            return super().publish(*args, **kwargs)[:1]

    with pytest.raises(SystemFault, match=r"gave back 1; missing: west") as caught:
        publish_items(catalogue_task, dataclasses.replace(ctx, publisher=Forgetful()))
    assert caught.value.code == "not-published"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("HTTP response code: 503", TransientError),
        ("HTTP response code: 429", TransientError),
        ("CURL error: Operation timed out after 60000 milliseconds", TransientError),
        ("HTTP response code: 403", SystemFault),
        ("TIFFAppendToStrip:Write error at scanline 0", TransientError),
        ("TIFFReadEncodedStrip:Seek error at scanline 0", BadData),
        ("not recognized as being in a supported file format", BadData),
    ],
)
def test_gdals_words_decide_who_must_act(words, error):
    with pytest.raises(error), gdal_errors("bronze://raw/a.tif", "Opening"):
        raise RasterioIOError(words)


def test_messages_hold_no_path_no_signature_and_no_key():
    access = GdalAccess("/vsiaz/raw/a.tif", {"AZURE_STORAGE_SAS_TOKEN": "sv=2024&sig=abcdefgh", "OTHER": "short"})
    with pytest.raises(BadData) as caught, gdal_errors("bronze://raw/a.tif", "Opening", access=access):
        raise RasterioIOError("'/vsiaz/raw/a.tif?sv=1&sig=xyz' failed: key sv=2024&sig=abcdefgh")
    assert str(caught.value).startswith(
        "Opening bronze://raw/a.tif failed; GDAL says: 'bronze://raw/a.tif' failed: key ***."
    )


def test_settings_of_gdal_end_with_the_block(catalogue_task, store, ctx):
    before = rasterio.env.hasenv()
    with pytest.raises(BadData):
        inspect_raster(InspectInput(source=catalogue_task.items[0].product.source, etag="other", item_id="i"), ctx)
    assert rasterio.env.hasenv() == before
