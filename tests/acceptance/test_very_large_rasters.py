"""A raster over the limit becomes one COG by many tasks, whatever happens to the workers meanwhile."""

import os
import random
import time
import uuid
from pathlib import Path

import pytest
import rasterio
import rasterio.shutil

from geoetl.chains.process_raster import ProcessRaster
from geoetl.gdal.env import gdal_env
from geoetl.models.bigcog import AssembledCog
from geoetl.models.refs import BlobRef
from geoetl.tasks.raster.profiles import choose_profile
from geoetl.worker.client import submit
from tests.acceptance.conftest import eventually
from tests.acceptance.rasters import write_raster
from tests.integration.raster.rasters import facts_at

SIDE = 3700
#: A night's run sets more.
ROUNDS = int(os.environ.get("GEOETL_TEST_KILL_ROUNDS", "2"))


@pytest.fixture(scope="module")
def large(installation, tmp_path_factory) -> tuple[BlobRef, bytes]:
    """A very large source in Bronze, and what GDAL's COG driver makes of it."""
    folder = tmp_path_factory.mktemp("large")
    path = write_raster(folder / "large.tif", size=SIDE, count=2, dtype="uint16", nodata=7)
    return installation.put("bands/large.tif", path), by_driver(path, folder / "driver.tif")


def by_driver(path: Path, dst: Path) -> bytes:
    profile = choose_profile("auto", facts_at(path), "x", threads=1, has_nodata=True)
    with gdal_env(), rasterio.open(path) as src:
        rasterio.shutil.copy(src, str(dst), driver="COG", **profile.options)
    return dst.read_bytes()


def submitted(installation, *refs):
    spec = ProcessRaster(sources=refs, collection=f"c-{uuid.uuid4().hex[:8]}", create_collection=True)
    return submit(spec, services=installation.services)


def tasks_of(job, name):
    return [task for task in job.tasks() if task.name == name]


def assembled(job) -> AssembledCog:
    (task,) = tasks_of(job, "raster.assemble")
    return AssembledCog.model_validate(task.result)


def content(installation, made: AssembledCog) -> bytes:
    product = made.product
    return installation.services.store.read_range(product.cog, offset=0, length=product.size_bytes, etag=product.etag)


def test_small_and_very_large_sources_of_one_job_become_items(installation, workers, large, tmp_path):
    ref, expected = large
    workers("one")
    small = installation.put("bands/small.tif", write_raster(tmp_path / "small.tif"))

    job = submitted(installation, ref, small)
    result = job.wait(timeout_s=110)

    assert result["items"] == ["large", "small"]
    bands = tasks_of(job, "raster.encode_band")
    assert [task.label for task in bands[:2]] == ["encode large.tif, band 1 of 8", "encode large.tif, band 2 of 8"]
    assert {task.queue for task in bands} == {"gdal"}
    assert bands[0].reason == (
        "3700 x 3700 x 2 uint16 = 52.2 MiB decoded, over the limit of 38.1 MiB: 8 bands of 512 rows"
    )
    made = assembled(job)
    assert content(installation, made) == expected
    assert (made.encoded_again, made.product.checks["strict_cog"]) == (0, True)
    found = installation.services.catalogue.search({"collections": [result["collection"]], "ids": ["large"]})
    (item,) = found["features"]
    assert item["assets"]["data"]["bands"][0]["statistics"]["valid_percent"] < 100
    left = {blob.ref for blob in installation.services.store.list("silver", ref_container(made), folder_of(made))}
    assert left == {made.product.cog, made.product.thumbnail}


def ref_container(made: AssembledCog) -> str:
    return made.product.cog.container


def folder_of(made: AssembledCog) -> str:
    return made.product.cog.path.rpartition("/")[0]


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_killing_workers_while_they_encode_leaves_the_file_as_it_is(installation, workers, large, seed):
    ref, expected = large
    chance = random.Random(seed)
    victim = workers("victim")
    job = submitted(installation, ref)
    for number in range(2):
        wanted = chance.randint(1, 3) + 2 * number
        eventually(
            lambda wanted=wanted: (
                sum(task.state == "succeeded" for task in tasks_of(job, "raster.encode_band")) >= wanted
            ),
            what=f"{wanted} bands encoded",
        )
        time.sleep(chance.random() / 2)
        victim.kill()
        victim = workers(f"victim-{number}")
    job.wait(timeout_s=110)

    assert content(installation, assembled(job)) == expected
    assert max(task.attempt for task in tasks_of(job, "raster.encode_band")) >= 2


def test_a_cancelled_job_whose_blocks_are_gone_is_resumed_to_the_same_file(installation, workers, large):
    ref, expected = large
    worker = workers("one", concurrency=1)
    job = submitted(installation, ref)
    eventually(
        lambda: sum(task.state == "succeeded" for task in tasks_of(job, "raster.encode_band")) >= 2,
        what="two bands encoded",
    )
    job.cancel()
    eventually(lambda: all(task.state != "running" for task in job.tasks()), what="nothing running")
    worker.stop()
    target = BlobRef(next(task.result["target"] for task in tasks_of(job, "raster.encode_band") if task.result))
    # A commit drops the blocks that it does not name.
    installation.services.store.commit_blocks(target, [], content_type="text/plain")
    installation.services.store.delete(target)

    workers("two")
    job.resume()
    job.wait(timeout_s=110)

    made = assembled(job)
    assert made.encoded_again >= 2
    assert content(installation, made) == expected
