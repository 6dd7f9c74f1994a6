"""Celery's own tools see the workers, and what they revoke is cancelled in the engine."""

import subprocess
import sys
import uuid

import pytest

from geoetl.chains.noop import Noop
from geoetl.worker.client import submit
from tests.acceptance.conftest import ROOT, eventually


@pytest.fixture
def celery(installation):
    """Run ``celery -A celery_app ...`` as an operator does; its output."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "celery_app", *arguments],
            cwd=ROOT, env=installation.environ, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def job_of(installation, **fields):
    return submit(Noop(name=uuid.uuid4().hex, **fields), services=installation.services)


def running(job):
    return [task for task in job.tasks() if task.state == "running"]


def cancelled_by(job) -> list[str]:
    return [event.data["by"] for event in job.events() if event.what == "job cancelled"]


def test_status_and_ping_see_both_workers(installation, workers, celery):
    workers("one")
    workers("two")
    assert "2 nodes online" in celery("status")
    assert celery("inspect", "ping").count("pong") == 2


def test_terminating_a_running_task_cancels_its_job(installation, workers, celery):
    workers("busy")
    job = job_of(installation, tasks=4, seconds=60)
    eventually(lambda: len(running(job)) == 2, what="two tasks running")

    celery("control", "terminate", "SIGKILL", str(running(job)[0].id))

    eventually(lambda: job.status().summary.state == "cancelled", within_s=5, what="the job cancelled")
    assert cancelled_by(job) == ["revoke in Celery"]
    eventually(lambda: not running(job), within_s=5, what="every task stopped")


def test_revoking_a_waiting_task_cancels_its_job_and_a_resume_runs_it(installation, workers):
    workers("busy")
    job = job_of(installation, tasks=3, seconds=3)
    eventually(lambda: len(running(job)) == 2, what="two tasks running")
    (waiting,) = [task for task in job.tasks() if task.state == "ready" and task.stage_no == 1 and task.idx >= 0]

    installation.services.app.control.revoke(str(waiting.id), reply=True, limit=1, timeout=30)

    eventually(lambda: job.status().summary.state == "cancelled", within_s=10, what="the job cancelled")
    assert cancelled_by(job) == ["revoke in Celery"]

    job.resume()

    assert job.wait(timeout_s=60) == {"sum_of_squares": 5}
    assert cancelled_by(job) == ["revoke in Celery"]
