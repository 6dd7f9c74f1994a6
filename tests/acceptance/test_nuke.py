"""The app database is emptied under running workers: products are untouched, and the workers recover by themselves."""

import os
import subprocess
import uuid
from collections.abc import Callable

import pytest

from geoetl.chains.noop import Noop
from geoetl.local.postgres import find_programs
from geoetl.models.catalogue import CollectionDefinition
from geoetl.worker.client import submit
from tests.acceptance.conftest import Installation, Worker, document, eventually

pytestmark = pytest.mark.chaos


def dump_of_business(installation: Installation) -> bytes:
    """Everything in the business database, as its owner dumps it."""
    owner = installation.services.settings.database.business_owner
    assert owner is not None
    command = [
        str(find_programs() / "pg_dump"), "-h", owner.host, "-p", str(owner.port), "-U", owner.user, "--no-comments",
        "--exclude-table-data=pgstac.search*", owner.dbname,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PGTZ": "UTC"})
    # pg_dump of late versions writes a random word into its \restrict lines.
    return b"\n".join(
        line for line in done.stdout.splitlines() if not line.startswith((b"\\restrict", b"\\unrestrict"))
    )


def test_a_nuke_under_a_running_job_touches_no_product_and_workers_recover(
    installation: Installation, workers: Callable[..., Worker]
):
    installation.services.catalogue.create_collection(
        CollectionDefinition(id=f"kept-{uuid.uuid4().hex[:8]}", description="Survives.")
    )
    worker = workers("survivor")
    spec = Noop(tasks=6, seconds=2.0, name=uuid.uuid4().hex)
    job = submit(spec, services=installation.services)
    eventually(lambda: sum(task.state == "running" for task in job.tasks()) == 2, what="two tasks running")
    before = dump_of_business(installation)
    dbname = installation.services.settings.database.app.dbname

    nuked = document(installation.run_here("db", "nuke", "--confirm", dbname, "--json"))

    assert nuked["dropped_rows"]["task"] >= 7
    status = installation.run_here("db", "status")
    assert status.returncode == 1
    assert "2 pending" in status.stdout
    worker.await_line("relay interrupted")
    assert worker.process.poll() is None

    redeployed = document(installation.run_here("db", "redeploy", "--json"))

    assert len(redeployed["applied"]) == 2
    again = submit(spec, services=installation.services)
    assert again.id == job.id
    assert again.submission is not None
    assert again.submission.outcome == "accepted"
    assert again.wait(timeout_s=60) == {"sum_of_squares": sum(n * n for n in range(6))}
    assert worker.process.poll() is None
    assert dump_of_business(installation) == before
    shown = installation.run_here("db", "status")
    assert shown.returncode == 0, shown.stdout
    assert "nuke by" in shown.stdout


def test_a_full_rebuild_under_a_running_job_leaves_the_workers_working(
    installation: Installation, workers: Callable[..., Worker]
):
    workers("rebuilt")
    job = submit(Noop(tasks=6, seconds=1.0, name=uuid.uuid4().hex), services=installation.services)
    eventually(lambda: sum(task.state == "running" for task in job.tasks()) == 2, what="two tasks running")
    dbname = installation.services.settings.database.app.dbname

    done = installation.run_here("db", "full-rebuild", "--confirm", dbname)

    assert "full-rebuild done" in done.stdout, done.stderr
    again = submit(Noop(tasks=4, name=uuid.uuid4().hex), services=installation.services)
    assert again.wait(timeout_s=60) == {"sum_of_squares": 14}


def test_a_wrong_name_is_refused_with_status_two(installation: Installation):
    done = installation.run_here("db", "nuke", "--confirm", "yes")
    assert done.returncode == 2
    assert "not-confirmed" in done.stderr
