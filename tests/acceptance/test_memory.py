"""Memory runs out in real workers: it is shared out, watched, told by its name, and tried again with less."""

import itertools
import re
import uuid

import pytest

from geoetl.chains.noop import Noop
from geoetl.errors import GeoEtlError
from geoetl.worker.client import Job, submit

MIB = 2**20
#: Of which 256 MiB are kept for the processes themselves. Attempts are counted, so no lease may run out meanwhile.
LIMIT = {"GEOETL_WORKER__MEMORY_LIMIT_BYTES": str(768 * MIB), "GEOETL_WORKER__LEASE_S": "60"}


def limited(installation) -> dict[str, str]:
    """With a scratch folder of its own, so that nobody else on this machine shares that memory."""
    return LIMIT | {"GEOETL_RASTER__SCRATCH_DIR": str(installation.home)}


def job(installation, **what) -> Job:
    return submit(Noop(name=uuid.uuid4().hex, **what), services=installation.services)


def work(job: Job):
    return [task for task in job.tasks() if task.name == "noop.work"]


def told(job: Job, what: str) -> list[dict]:
    return [event.data for event in job.events() if event.what == what and event.stage == "work" and event.idx != -1]


def test_tasks_that_do_not_fit_together_run_one_after_the_other(installation, workers):
    workers("one", environ=limited(installation))
    workers("two", environ=limited(installation))
    made = job(installation, tasks=4, seconds=0.6, expected_mib=300)

    made.wait(timeout_s=60)

    spans = sorted((task.started_at, task.finished_at) for task in work(made))
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert {task.attempt for task in work(made)} == {1}, told(made, "task retried")


def test_a_task_that_needs_too_much_succeeds_with_half_of_it(installation, workers):
    workers("one", environ=limited(installation))
    made = job(installation, tasks=1, expected_mib=200, hold_mib=700)

    made.wait(timeout_s=60)

    (retried,) = told(made, "task retried")
    assert retried["code"] == "out-of-memory"
    assert retried["message"].startswith(
        "Attempt 1 of 'number 0' ran out of memory: expected were 200 MiB, allowed were 512 MiB, its peak was "
    )
    (succeeded,) = told(made, "task succeeded")
    assert 350 * MIB < succeeded["peak_rss_bytes"] < 768 * MIB


def test_a_task_that_never_fits_fails_with_all_figures(installation, workers):
    workers("one", environ=limited(installation))
    made = job(installation, tasks=1, expected_mib=200, hold_mib=16_000)

    with pytest.raises(GeoEtlError):
        made.wait(timeout_s=60)

    (task,) = work(made)
    assert (task.error["code"], task.attempt) == ("out-of-memory", 3)
    assert "expected were 200 MiB, allowed were 512 MiB, its peak was" in task.error["message"]
    assert "GEOETL_WORKER__CONCURRENCY" in task.error["hint"]


def test_who_exceeds_its_estimate_is_ended_before_the_kernel_ends_anybody(installation, workers):
    """Each alone is within what it may allocate, both together are not within the limit."""
    worker = workers("one", environ=limited(installation))
    made = job(installation, tasks=2, seconds=3, expected_mib=50, hold_mib=300)

    made.wait(timeout_s=60)

    # The other one as well, where chance lets the first come back while it still runs.
    retried, *_ = every = told(made, "task retried")
    assert {each["code"] for each in every} == {"out-of-memory"}
    assert re.search(r"expected were 50 MiB, it took [34]\d\d MiB", retried["message"])
    assert "this worker's processes take" in retried["message"]
    assert sum(task.attempt - 1 for task in work(made)) == len(every)
    assert "process ended for want of memory" in worker.log.read_text()
