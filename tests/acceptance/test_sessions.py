"""A worker holds as many database sessions as it declared, and does not start where there is no room for them."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable

import pytest

from geoetl.chains.noop import Noop
from geoetl.db.budget import ConnectionsExceeded, Demand, look_at_servers, require_room
from geoetl.db.connections import connect
from geoetl.worker.client import submit
from tests.acceptance.conftest import ROOT, Installation, document, eventually


@pytest.fixture
def sessions(installation: Installation) -> Callable[[], dict[str, int]]:
    """Sessions of geoetl's processes in each database, without this one's own."""
    database = installation.services.settings.database
    assert database.admin is not None
    admin = database.admin

    def count() -> dict[str, int]:
        own = installation.services.connections().info.backend_pid
        with connect(admin, application_name="tests") as connection:
            found = dict(
                connection.execute(
                    "SELECT datname, count(*) FROM pg_stat_activity WHERE usename LIKE 'geoetl%%' AND pid <> %s"
                    " GROUP BY datname",
                    [own],
                ).fetchall()
            )
        return {"app": found.get(database.app.dbname, 0), "business": found.get(database.business.dbname, 0)}

    return count


def test_a_worker_holds_what_it_declared_and_leaves_nothing(installation: Installation, workers, sessions):
    installation.services.close()
    assert sessions() == {"app": 0, "business": 0}
    worker = workers("frugal", concurrency=3)
    job = submit(Noop(tasks=12, seconds=0.1, name=uuid.uuid4().hex), services=installation.services)
    seen = []

    eventually(lambda: seen.append(sessions()) or job.status().summary.state.is_final, what="the job's end")

    declared = Demand.of_worker(3)
    assert declared == Demand(app=7, business=3)
    assert max(each["app"] for each in seen) <= declared.app
    eventually(lambda: sessions()["app"] == 1 + 3 + 1, what="children, heartbeat and the leading relay")
    assert {each["business"] for each in seen} == {0}, "nobody publishes"
    for pid in worker.children():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(worker.children()) == 3, what="new children")
    assert sessions()["app"] <= declared.app, "a report of lost children costs one session for a moment"
    worker.stop()
    assert sessions() == {"app": 0, "business": 0}


def test_two_workers_share_one_leader(installation: Installation, workers, sessions):
    workers("one", concurrency=1)
    workers("two", concurrency=1)
    job = submit(Noop(tasks=6, seconds=0.2, name=uuid.uuid4().hex), services=installation.services)
    job.wait(timeout_s=60)

    # For each worker its heartbeat and its child; and the relay that leads, with chores now and then.
    assert sessions()["app"] <= 2 * 2 + 3


def test_running_workers_are_counted_by_what_they_declared(installation: Installation, workers):
    workers("idle", concurrency=4)

    (use,) = look_at_servers(installation.services.settings.database, Demand(0, 0))

    assert use.declared == 8 + 4
    assert use.fits


def test_a_worker_without_room_does_not_start_and_says_why(installation: Installation):
    environ = {**installation.environ, "GEOETL_DATABASE__CONNECTIONS_SHARE": "0.05"}
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-Q", "standard", "--concurrency", "8"]

    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == os.EX_CONFIG
    (said,) = [line for line in done.stderr.splitlines() if "would take" in line]
    assert "20 sessions wanted" in said
    assert "of 9 allowed (5% of 197)" in said
    assert "GEOETL_DATABASE__CONNECTIONS_SHARE" in said
    assert "Traceback" not in done.stderr


def test_the_figures_are_refused_where_they_do_not_fit(installation: Installation):
    database = installation.services.settings.database

    with pytest.raises(ConnectionsExceeded, match=r"This worker would take .* sessions wanted"):
        require_room(database, Demand.of_worker(5000))
    require_room(database, Demand.of_worker(2))


def test_the_doctor_shows_the_figures(installation: Installation):
    answers = document(installation.run_here("doctor", "--json"))

    (sessions,) = [each for each in answers if each["component"].startswith("sessions")]
    assert sessions["state"] == "healthy"
    assert "declared by geoetl" in sessions["detail"]
