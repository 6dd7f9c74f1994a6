"""Workers are killed, frozen, cut off or missing: every task still has exactly one accepted result."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Generator

import pytest

from geoetl.chains.process_raster import ProcessRaster
from geoetl.db.items import lock_collection
from geoetl.worker.client import submit
from tests.acceptance.chaos import Faults, await_progress, expect_exactly_once, noop
from tests.acceptance.conftest import ROOT, Installation, Worker, eventually
from tests.acceptance.rasters import write_raster
from tests.acceptance.socket_proxy import SocketProxy

pytestmark = pytest.mark.chaos


@pytest.fixture
def faults(installation: Installation) -> Faults:
    return Faults(installation)


@pytest.fixture
def relay(installation: Installation) -> Generator[subprocess.Popen[bytes]]:
    """A relay process of its own, which leads."""
    with (installation.home / "logs" / "relay.log").open("ab") as log:
        command = [sys.executable, "-m", "geoetl", "relay"]
        process = subprocess.Popen(command, cwd=ROOT, env=installation.environ, stdout=log, stderr=log)
    eventually(Faults(installation).relay_leader, what="a leading relay")
    yield process
    process.kill()
    process.wait(60)


def has_running(installation: Installation, job, worker: Worker) -> bool:
    """Whether a child of this worker works on a task of the second stage."""
    pids = {str(pid) for pid in worker.children()}
    return any(t.stage_no == 1 and t.state == "running" and t.worker.split(":")[1] in pids for t in job.tasks())


def test_worker_kill(installation, workers, round_no):
    victim, _ = workers("victim"), workers("survivor")
    job = noop(installation)
    eventually(lambda: has_running(installation, job, victim), what="the victim works")

    victim.kill()

    expect_exactly_once(installation, job)


def test_repeated_kills(installation, workers, round_no):
    """Children and whole workers, in a random order that the round's number repeats."""
    chance = random.Random(round_no)
    standing = [workers("first"), workers("second")]
    job = noop(installation, tasks=40, seconds=0.4)
    await_progress(job, running=1)
    for _ in range(5):
        time.sleep(chance.uniform(0.2, 0.8))
        victim = chance.choice(standing)
        if chance.random() < 0.7:
            for pid in chance.sample(victim.children(), k=chance.randint(0, len(victim.children()))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        elif len(standing) > 1:
            victim.kill()
            standing.remove(victim)

    expect_exactly_once(installation, job)


def test_relay_kill(installation, relay, workers, faults, round_no):
    workers("one")
    leader = faults.relay_leader()
    job = noop(installation, seconds=0.2)
    await_progress(job, succeeded=2)

    relay.kill()
    killed_at = time.monotonic()

    eventually(lambda: faults.relay_leader() not in {None, leader}, within_s=5, what="another leader")
    assert time.monotonic() - killed_at < 5
    expect_exactly_once(installation, job)


def test_zombie_record(installation, workers, round_no):
    """A whole worker is frozen beyond its lease, the relay it leads with it; its results come too late."""
    zombie = workers("zombie")
    job = noop(installation, tasks=6, seconds=1.0)
    eventually(lambda: has_running(installation, job, zombie), what="the zombie works")

    zombie.signal(signal.SIGSTOP)
    workers("survivor")
    expect_exactly_once(installation, job)
    zombie.signal(signal.SIGCONT)

    eventually(
        lambda: any(words in zombie.log.read_text() for words in ("came too late", "attempt stopped: lease lost")),
        what="a refused result",
    )
    expect_exactly_once(installation, job)
    assert max(task.attempt for task in job.tasks()) >= 2


def test_zombie_catalogue(installation, workers, faults, tmp_path, round_no):
    """The same while it publishes: it wakes in the middle of its transaction, when another has published."""
    faults.as_superuser("ALTER ROLE geoetl_worker SET idle_in_transaction_session_timeout = '3s'")
    zombie = workers("zombie")
    ref = installation.put(f"chaos/{uuid.uuid4().hex}.tif", write_raster(tmp_path / "one.tif"))
    collection = f"c-{uuid.uuid4().hex[:8]}"
    spec = ProcessRaster(sources=[ref], collection=collection, create_collection=True)
    with contextlib.ExitStack() as held:
        business = held.enter_context(installation.business())
        held.enter_context(business.transaction())
        lock_collection(business, collection, timeout_s=30)
        job = submit(spec, services=installation.services)
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'geoetl_business' AND wait_event_type = 'Lock'"
            " AND wait_event = 'advisory'"
        )
        eventually(lambda: faults.as_superuser(waits) == [(1,)], what="the zombie waits to publish")
        zombie.signal(signal.SIGSTOP)
    workers("survivor")

    expect_exactly_once(installation, job)
    zombie.signal(signal.SIGCONT)
    zombie.await_line("came too late")

    expect_exactly_once(installation, job)
    with installation.business() as business:
        published = business.execute(
            "SELECT item_id, run_id, token_attempt FROM geoetl.artefact WHERE collection = %s", [collection]
        ).fetchall()
    (task,) = [task for task in job.tasks() if task.name == "stac.publish"]
    assert published == [(published[0][0], job.submission.run_id, task.attempt)]
    assert task.attempt >= 2


def test_scale_to_zero(installation, workers, faults, relay, round_no):
    """No worker is up: a submit rings by itself, a retry that falls due is rung for by a relay."""
    worker = workers("last")
    job = noop(installation, tasks=2, seconds=1.5)
    await_progress(job, running=2)
    worker.kill()
    eventually(
        lambda: {task.state for task in job.tasks() if task.stage_no == 1} == {"ready"} and faults.messages() >= 2,
        what="the relay has rung for both tasks",
    )
    rung = faults.messages()
    later = noop(installation, tasks=1, seconds=0)
    eventually(lambda: faults.messages() > rung, within_s=2, what="the submit has rung")

    workers("scaled-up")

    expect_exactly_once(installation, job)
    expect_exactly_once(installation, later)


def test_backlog_resend(installation, workers, round_no):
    """Tasks wait behind one slow worker for many times the resend's wait: none is sent again."""
    workers("slow", concurrency=1)
    job = noop(installation, tasks=120, seconds=0.08)

    expect_exactly_once(installation, job)

    waited_s = job.status().stages[1].finished_at - job.status().stages[1].created_at
    assert waited_s.total_seconds() > 3 * installation.services.settings.worker.resend_s
    resends = installation.sql("SELECT sum(resends) FROM geoetl.task WHERE run_id = %s", job.submission.run_id)
    assert resends <= [(1,)], "at most 1.01 sends a task"


def deafened(worker: Worker, job) -> list[int]:
    """The children of a worker, stopped while they run a job's tasks: as one inside a GDAL call, they ask nobody."""
    await_progress(job, running=2)
    children = worker.children()
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    return children


def test_a_cancel_ends_within_two_seconds_what_cannot_be_asked(installation, workers, round_no):
    """A child inside a GDAL call asks nobody; a stopped one neither."""
    worker = workers("deaf")
    job = noop(installation, tasks=2, seconds=60)
    children = deafened(worker, job)

    job.cancel()

    eventually(lambda: {t.state for t in job.tasks() if t.stage_no == 1} == {"cancelled"}, within_s=2, what="stopped")
    eventually(lambda: not set(children) & set(worker.children()), within_s=2, what="the children ended")
    job.resume()
    job.cancel()
    after = noop(installation, tasks=4, seconds=0)
    expect_exactly_once(installation, after)


def test_a_worker_that_is_cut_off_ends_what_it_runs_after_a_lease(installation, workers, round_no):
    with SocketProxy(installation.services.settings.database.app) as proxy:
        worker = workers("cut-off", environ={"GEOETL_DATABASE__APP__HOST": str(proxy.folder)})
        job = noop(installation, tasks=2, seconds=20)
        children = deafened(worker, job)

        proxy.cut()

        eventually(lambda: not set(children) & set(worker.children()), within_s=3 + 2, what="the children ended")
        assert "cut off from the database" in worker.log.read_text()
        worker.kill()
    job.cancel()
