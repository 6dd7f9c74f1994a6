"""Databases and brokers go away under two workers: every task still has exactly one accepted result."""

import time
import uuid
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from geoetl.backend.messages import Message, Outlet
from tests.acceptance.chaos import Faults, await_progress, expect_exactly_once, noop
from tests.acceptance.conftest import Installation, Worker, eventually

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def standing(installation: Installation) -> Generator[list[Worker]]:
    """Two workers that outlive every scenario of this file."""
    workers = [installation.worker("left"), installation.worker("right")]
    yield workers
    for worker in workers:
        assert worker.process.poll() is None, "a worker died of a fault that was not its own"
        worker.stop()


@pytest.fixture
def faults(installation: Installation) -> Faults:
    return Faults(installation)


def test_postgres_restart(installation, standing, faults, round_no):
    job = noop(installation)
    await_progress(job, succeeded=4)

    faults.restart_postgres()

    expect_exactly_once(installation, job)


def test_postgres_is_away_for_whoever_waits(installation, standing, faults, round_no):
    """Waiting and following go on when the database is back, with every event told once."""
    job = noop(installation, seconds=0.5)
    await_progress(job, succeeded=2)

    with ThreadPoolExecutor(2) as pool:
        waits, follows = pool.submit(job.wait, timeout_s=110), pool.submit(lambda: list(job.follow()))
        time.sleep(1.0)  # both have begun to ask
        faults.stop_postgres()
        time.sleep(3.0)  # away, for all to notice
        faults.postgres.start()
        assert waits.result(110) == {"sum_of_squares": sum(n * n for n in range(24))}
        told = follows.result(110)

    # Each once and none left out, in the order of their commits. What comes after the end nobody waited for, as that a
    # lease was lost while the database was away.
    ids = sorted(event.id for event in told)
    assert ids == [event.id for event in job.events()][: len(ids)]
    assert "job completed" in [event.what for event in told]
    expect_exactly_once(installation, job)


def test_pg_backend_kill(installation, standing, faults, round_no):
    job = noop(installation)
    for succeeded in (2, 8, 14):
        await_progress(job, succeeded=succeeded)
        assert faults.kill_backends() > 2

    expect_exactly_once(installation, job)


def test_broker_drop(installation, standing, faults, round_no):
    job = noop(installation)
    for succeeded in (2, 8, 14):
        await_progress(job, succeeded=succeeded)
        assert faults.control("drop")["dropped"] >= 2

    expect_exactly_once(installation, job)


def test_broker_lost_everything(installation, standing, faults, round_no):
    job = noop(installation, tasks=16)
    await_progress(job, succeeded=2)

    faults.wipe_broker()

    expect_exactly_once(installation, job)


def test_ghost_message(installation, standing, faults, round_no):
    """Messages of a task that never existed, and of one that is long done."""
    done = noop(installation, tasks=2, seconds=0)
    done.wait(timeout_s=30)
    relay = installation.services.relay
    ((template,),) = installation.sql(
        "SELECT t.id FROM geoetl.task t WHERE t.run_id = %s AND stage_no = 1 AND idx = 0", done.submission.run_id
    )
    before = installation.sql("SELECT count(*) FROM geoetl.event")
    publish(installation, template, str(template), str(uuid.uuid4()))
    relay.drain()
    eventually(lambda: faults.messages() == 0, what="both ghosts acknowledged")
    assert installation.sql("SELECT count(*) FROM geoetl.event") == before, "nobody did anything"

    job = noop(installation, tasks=8)

    expect_exactly_once(installation, job)


def test_duplicate_delivery_x3(installation, standing, faults, round_no):
    job = noop(installation, seconds=0.2)
    await_progress(job, running=1)
    for (task_id,) in installation.sql("SELECT id FROM geoetl.task WHERE run_id = %s", job.submission.run_id):
        publish(installation, task_id, str(task_id), str(task_id))

    expect_exactly_once(installation, job)


def publish(installation: Installation, template_of: object, *task_ids: str) -> None:
    """Messages as the relay sends them, once more."""
    ((envelope, body),) = installation.sql(
        "SELECT m.envelope, m.body FROM geoetl.task t JOIN geoetl.template m ON m.id = t.template_id WHERE t.id = %s",
        template_of,
    )
    app = installation.services.app
    with app.producer_pool.acquire(block=True) as producer:
        outlet = Outlet(app, producer)
        for task_id in task_ids:
            outlet.publish(Message.restore(envelope, bytes(body)).addressed(task_id))
