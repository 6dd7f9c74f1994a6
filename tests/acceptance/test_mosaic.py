"""A tiled delivery becomes one product: by real workers, by one task and by many."""

import uuid

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geoetl.chains.mosaic import Mosaic
from geoetl.models.bigcog import AssembledCog
from geoetl.worker.client import submit
from tests.acceptance.conftest import document
from tests.acceptance.rasters import TIME_TAG

SIDE = 1200


def tile(path, column, row, value, *, nodata=0, crs="EPSG:32618", dtype="uint16"):
    """A square of one value with a hole, on a grid of 30 m."""
    values = np.full((2, SIDE, SIDE), value, dtype=dtype)
    values += (np.arange(SIDE) % 50).astype(dtype)
    values[:, 100:200, 100:300] = nodata
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE, height=SIDE, count=2, dtype=dtype, crs=crs, nodata=nodata, tiled=True,
        transform=from_origin(500_000 + column * 30, 4_000_000 - row * 30, 30, 30), compress="deflate",
    ) as dst:  # fmt: skip
        dst.write(values)
        dst.update_tags(**TIME_TAG)
    return values


def masked_tile(path, column, is_valid):
    """Values below 100 and an internal mask, 30 m a pixel."""
    height, width = is_valid.shape
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint8", crs="EPSG:32618",
            transform=from_origin(500_000 + column * 30, 4_000_000, 30, 30), compress="deflate",
        ) as dst,
    ):  # fmt: skip
        dst.write(np.random.default_rng(column).integers(0, 100, (1, height, width), dtype=np.uint8))
        dst.write_mask(is_valid)
        dst.update_tags(**TIME_TAG)
    return path


@pytest.fixture
def delivery(installation, tmp_path):
    """Tiles of any number that overlap by a hundred pixels, and the mosaic of them: the last on top."""

    def deliver(rows: int, columns: int):
        step = SIDE - 100
        whole = np.zeros((2, step * (rows - 1) + SIDE, step * (columns - 1) + SIDE), dtype="uint16")
        refs = []
        for number in range(rows * columns):
            row, column = (number // columns) * step, (number % columns) * step
            values = tile(tmp_path / "tile.tif", column, row, 100 * (number + 1))
            here = np.s_[:, row : row + SIDE, column : column + SIDE]
            whole[here] = np.where(values != 0, values, whole[here])
            refs.append(installation.put(f"mosaic/{uuid.uuid4().hex}.tif", tmp_path / "tile.tif"))
        return refs, whole

    return deliver


def submitted(installation, refs, **options):
    collection = f"c-{uuid.uuid4().hex[:8]}"
    spec = Mosaic(sources=refs, collection=collection, create_collection=True, item_id="whole", **options)
    return submit(spec, services=installation.services)


@pytest.mark.parametrize(("shape", "tasks"), [((1, 2), ["raster.mosaic"]), ((3, 3), ["raster.encode_band"] * 7)])
def test_a_delivery_becomes_one_item(installation, a_worker, delivery, tmp_path, shape, tasks):
    refs, expected = delivery(*shape)

    job = submitted(installation, refs)
    result = job.wait(timeout_s=110)

    made_by = [task for task in job.tasks() if task.stage_no == 0 and task.idx >= 0]
    assert [task.name for task in made_by] == tasks
    last = [task for task in job.tasks() if task.name in {"raster.mosaic", "raster.assemble"}][-1]
    product = AssembledCog.model_validate(last.result).product
    installation.services.store.download(product.cog, tmp_path / "cog.tif")
    with rasterio.open(tmp_path / "cog.tif") as dst:
        np.testing.assert_array_equal(dst.read(), expected, strict=True)
    found = installation.services.catalogue.search({"collections": [result["collection"]], "ids": ["whole"]})
    (item,) = found["features"]
    links = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert links == [installation.services.store.href(ref) for ref in refs]
    assert item["properties"]["geoetl:sources"] == refs
    assert item["properties"]["proj:shape"] == list(expected.shape[1:])
    statistics = item["assets"]["data"]["bands"][0]["statistics"]
    valid = expected[0][expected[0] != 0]
    assert (statistics["minimum"], statistics["maximum"]) == (valid.min(), valid.max())
    assert statistics["mean"] == pytest.approx(valid.mean())


def test_masked_tiles_become_a_masked_item(installation, workers, tmp_path):
    refs = []
    mask = np.zeros((700, 900), dtype=bool)
    for number, (column, left_out) in enumerate(((0, np.s_[:, 350:]), (300, np.s_[:, :100]))):
        is_valid = np.full((700, 600), True)
        is_valid[left_out] = False
        mask[:, column : column + 600] |= is_valid
        path = masked_tile(tmp_path / "tile.tif", column, is_valid)
        refs.append(installation.put(f"mosaic/masked-{number}.tif", path))
    workers("one")

    job = submitted(installation, refs)
    result = job.wait(timeout_s=110)

    (task,) = [task for task in job.tasks() if task.name == "raster.mosaic"]
    product = AssembledCog.model_validate(task.result).product
    installation.services.store.download(product.cog, tmp_path / "cog.tif")
    with rasterio.open(tmp_path / "cog.tif") as dst:
        np.testing.assert_array_equal(dst.read_masks(1) != 0, mask)
    found = installation.services.catalogue.search({"collections": [result["collection"]], "ids": ["whole"]})
    (band,) = found["features"][0]["assets"]["data"]["bands"]
    assert band["statistics"]["valid_percent"] == pytest.approx(100 * mask.mean())


def test_tiles_that_do_not_fit_are_refused_with_every_reason(installation, delivery, tmp_path):
    refs, _ = delivery(1, 2)
    for name, options in {"zone": {"crs": "EPSG:32619"}, "phase": {}, "kind": {"dtype": "int16"}}.items():
        tile(tmp_path / f"{name}.tif", 0.5 if name == "phase" else 0, 3000, 7, **options)
        refs.append(installation.put(f"mosaic/{name}.tif", tmp_path / f"{name}.tif"))

    done = installation.run_here(
        "preflight", "mosaic", *refs, "--collection", "c", "-p", "create_collection=true", "-p", "item_id=x", "--json"
    )

    findings = {finding["parameter"]: finding["code"] for finding in document(done)["findings"]}
    assert findings["sources[2]"] == "mosaic-crs"
    assert findings["sources[3]"] == "mosaic-grid"
    assert findings["sources[4]"] == "mosaic-bands"
