"""A raster that is being encoded shows how far it is, and is given up within two seconds of a cancel."""

import time
import uuid
from pathlib import Path

import pytest

from geoetl.chains.process_raster import ProcessRaster
from geoetl.config.settings import load_settings
from geoetl.models.refs import BlobRef
from geoetl.models.states import JobState, StageState, TaskState
from geoetl.storage.base import BlobNotFound
from geoetl.worker.app import create_app
from geoetl.worker.client import submit
from tests.acceptance.conftest import eventually
from tests.acceptance.rasters import write_raster

#: Encoding takes one thread about five seconds.
SIDE = 4600
LIMITS = {
    "raster.encode_band": {"GEOETL_RASTER__BAND_ROWS": "4096"},
    "raster.convert": {"GEOETL_RASTER__BANDS_THRESHOLD_BYTES": str(2**40)},
}


@pytest.fixture(scope="module")
def slow_source(installation, tmp_path_factory):
    path = write_raster(tmp_path_factory.mktemp("slow") / "slow.tif", size=SIDE, count=2, dtype="uint16")
    return installation.put("running/slow.tif", path)


@pytest.fixture(params=LIMITS)
def encoding(request, installation, workers, slow_source, tmp_path):
    """A job whose encoding goes on, the task that does it, and its worker."""
    limits = {**LIMITS[request.param], "GEOETL_RASTER__SCRATCH_DIR": str(tmp_path)}
    services = create_app(load_settings({**installation.environ, **limits}, cwd=installation.home)).services
    worker = workers("encoder", environ=limits)
    spec = ProcessRaster(
        sources=(slow_source,), collection=f"c-{uuid.uuid4().hex[:8]}", create_collection=True, profile="deflate"
    )
    job = submit(spec, services=services)

    def begun():
        return next((task for task in job.tasks() if task.name == request.param and task.steps), None)

    yield job, eventually(begun, within_s=60, what="a step of the encoding done"), worker
    job.cancel()
    services.close()


def test_a_running_task_shows_its_steps_in_its_job(encoding):
    job, task, _ = encoding
    seen = [task.steps]
    shares = []
    while len(set(seen)) < 2 and (found := job.task(task.number).task).steps:
        seen.append(found.steps)
        shares += [stage.share for stage in job.status().stages if stage.name == "convert" and stage.underway]
        time.sleep(0.1)

    assert len({steps.total for steps in seen}) == 1
    assert [steps.done for steps in seen] == sorted(steps.done for steps in seen)
    assert len(set(seen)) == 2, "it is told while it goes on"
    assert shares
    assert all(0 < share <= 1 for share in shares)


def test_a_cancel_in_the_middle_of_the_encoding_leaves_nothing_within_two_seconds(encoding, installation, tmp_path):
    job, task, worker = encoding
    children = worker.children()

    assert job.cancel()

    eventually(
        lambda: all(task.state is not TaskState.RUNNING for task in job.tasks()),
        within_s=2.5,
        what="every task stopped",
    )
    # By the database's clock: without what the questions took.
    at = {event.what: event.at for event in job.events()}
    assert (at["task stopped"] - at["job cancelled"]).total_seconds() < 2
    assert job.task(task.number).task.state is TaskState.CANCELLED
    eventually(lambda: folders(tmp_path) == [], within_s=10, what="scratch is empty")
    assert len(worker.children()) == len(children)
    product = job.task(task.number).input
    target = product["cog"]["target"] if "cog" in product else product["target"]
    with pytest.raises(BlobNotFound):
        installation.services.store.properties(BlobRef(target))


def folders(scratch: Path) -> list[Path]:
    """Of attempts; the one where memory is shared out stays."""
    return [path for path in scratch.glob("geoetl-*") if path.is_dir() and not path.name.startswith("geoetl-memory-")]


def test_its_worker_goes_on_with_the_job_when_it_is_resumed(encoding):
    job, _, _ = encoding
    job.cancel()

    job.resume()
    job.wait(timeout_s=110)

    status = job.status()
    assert status.summary.state is JobState.COMPLETED
    assert {(stage.state, stage.share) for stage in status.stages} == {(StageState.COMPLETED, 1.0)}
