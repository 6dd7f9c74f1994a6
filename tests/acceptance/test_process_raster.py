"""Real rasters from Bronze to Silver to STAC, through real workers."""

import json
import uuid

import numpy as np
import rasterio
from rio_cogeo.cogeo import cog_validate

from geoetl.chains.process_raster import ProcessRaster
from geoetl.models.raster import CogProduct
from geoetl.worker.client import submit
from tests.acceptance.conftest import document, eventually
from tests.acceptance.rasters import write_raster


def spec(*refs, **options):
    return ProcessRaster(sources=refs, collection=f"c-{uuid.uuid4().hex[:8]}", create_collection=True, **options)


def test_sources_become_searchable_items_whose_cogs_equal_them(installation, a_worker, tmp_path):
    paths = [write_raster(tmp_path / f"scene-{n}.tif", seed=n, count=n + 1) for n in range(3)]
    refs = [installation.put(f"process/{path.name}", path) for path in paths]

    job = submit(spec(*refs), services=installation.services)
    result = job.wait(timeout_s=90)

    assert result["items"] == ["scene-0", "scene-1", "scene-2"]
    found = installation.services.catalogue.search({"collections": [result["collection"]]})
    assert {item["id"] for item in found["features"]} == set(result["items"])
    for index, path in enumerate(paths):
        product = CogProduct.model_validate(job.tasks()[3 + index].result)
        local = tmp_path / f"cog-{index}.tif"
        installation.services.store.download(product.cog, local, etag=product.etag)
        is_valid, errors, warnings = cog_validate(local, strict=True)
        assert (is_valid, errors, warnings) == (True, [], [])
        with rasterio.open(path) as src, rasterio.open(local) as cog:
            assert np.array_equal(src.read(), cog.read())
            assert (src.crs, src.transform) == (cog.crs, cog.transform)


def test_a_large_raster_goes_to_the_gdal_queue_and_its_reason_is_kept(installation, workers, tmp_path):
    workers("light", "standard")
    workers("heavy", "gdal")
    small = installation.put("process/small.tif", write_raster(tmp_path / "small.tif"))
    large = installation.put("process/large.tif", write_raster(tmp_path / "large.tif", size=2700, count=3))

    job = submit(spec(small, large), services=installation.services)
    job.wait(timeout_s=90)

    converts = [task for task in job.tasks() if task.name == "raster.convert"]
    assert [task.queue for task in converts] == ["standard", "gdal"]
    assert converts[1].reason == "2700 x 2700 x 3 uint8 = 20.9 MiB decoded, over the limit of 19.1 MiB"


def test_killing_a_worker_in_the_middle_of_convert_loses_and_doubles_nothing(installation, workers, tmp_path):
    victim = workers("victim", concurrency=1)
    refs = [
        installation.put(f"process/kill-{n}.tif", write_raster(tmp_path / f"kill-{n}.tif", size=2400, count=3, seed=n))
        for n in range(2)
    ]
    job = submit(spec(*refs), services=installation.services)
    eventually(
        lambda: any(task.name == "raster.convert" and task.state == "running" for task in job.tasks()),
        what="a convert running",
    )

    victim.kill()
    workers("survivor")
    job.wait(timeout_s=120)

    accepted = installation.sql(
        "SELECT t.label, count(*) FROM geoetl.task t JOIN geoetl.event e ON e.task_id = t.id"
        " WHERE t.run_id = %s AND e.what = 'task succeeded' GROUP BY t.id",
        job.submission.run_id,
    )
    assert len(accepted) == 5 + 4, "five tasks and four callbacks"
    assert all(count == 1 for _, count in accepted)
    attempts = [task.attempt for task in job.tasks() if task.name == "raster.convert"]
    assert max(attempts) == 2, "the killed attempt was repeated"


def test_the_same_sources_are_done_already_and_force_runs_them_again(installation, a_worker, tmp_path):
    ref = installation.put("process/again.tif", write_raster(tmp_path / "again.tif"))
    wanted = spec(ref)
    first = submit(wanted, services=installation.services)
    first.wait(timeout_s=60)

    again = submit(wanted, services=installation.services)
    forced = submit(wanted, force=True, services=installation.services)
    forced.wait(timeout_s=60)

    assert again.submission.outcome == "already done"
    assert (forced.submission.run_no, forced.id) == (2, first.id)
    products = [task.result["cog"] for task in forced.tasks() if task.name == "raster.convert"]
    assert forced.submission.run_id in products[0]


def test_a_job_from_the_command_line(installation, a_worker, tmp_path):
    ref = installation.put("process/cli.tif", write_raster(tmp_path / "cli.tif"))
    collection = f"c-{uuid.uuid4().hex[:8]}"
    assert installation.geoetl("collection", "create", collection, "--description", "A test").returncode == 0

    done = installation.geoetl("submit", "process_raster", ref, "--collection", collection, "--wait", "--json")

    assert done.returncode == 0, done.stderr
    told = document(done)
    assert told["status"]["summary"]["state"] == "completed"
    assert {task["state"] for task in told["tasks"]} == {"succeeded"}
    searched = document(installation.geoetl("search", "--collection", collection, "--json"))
    assert [item["id"] for item in searched["features"]] == ["cli"]
    assert json.dumps(searched).find("sig=") == -1, "no signature is stored"
    for words in (
        ("job", "list"),
        ("job", "status", told["status"]["summary"]["id"][:12]),
        ("collection", "list"),
        ("metrics",),
    ):
        assert installation.geoetl(*words).returncode == 0
