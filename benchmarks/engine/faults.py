"""How long work stands still after a fault, and a long run with a kill every 20 seconds."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from benchmarks.engine.site import Site
from benchmarks.transport.figures import Figures
from benchmarks.transport.process import Process, children, wait_until
from geoetl.models.states import JobState
from geoetl.worker.client import Job

KILL_EVERY_S = 20.0


def measure_recoveries(site: Site, figures: Figures) -> None:
    """The longest pause between two finished tasks around each fault; the job must complete."""
    faults: dict[str, Callable[[list[Process]], None]] = {
        "child_kill": lambda workers: os.kill(children(workers[0].pid)[0], signal.SIGKILL),
        "worker_kill": lambda workers: workers[0].kill(),
        "pg_backend_kill": lambda _: _kill_backends(site),
        "postgres_restart": lambda _: _restart(site, "postgres"),
        "emulator_restart": lambda _: _restart(site, "emulator"),
    }
    for name, fault in faults.items():
        figures.add(f"recovery_{name}_s", _pause_after(site, fault))


def _pause_after(site: Site, fault: Callable[[list[Process]], None]) -> float:
    workers = [site.start_worker(concurrency=2) for _ in range(2)]
    try:
        job = site.submit(400, seconds=0.05)
        wait_until(lambda: _succeeded(site, job) >= 60, timeout_s=60, what="the first tasks", every_s=0.1)
        fault(workers)
        wait_until(lambda: _has_completed(job), timeout_s=120, what="the job after its fault", every_s=0.2)
    finally:
        for worker in workers:
            worker.kill()
    query = """
        SELECT max(pause)::float8 FROM (
            SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY at)) AS pause FROM geoetl.event
            WHERE job_id = %s AND what IN ('task succeeded', 'task started')) AS pauses
    """
    return site.sql(query, job.id)[0][0]


def _succeeded(site: Site, job: Job) -> int:
    return site.sql("SELECT count(*) FROM geoetl.event WHERE job_id = %s AND what = 'task succeeded'", job.id)[0][0]


def _has_completed(job: Job) -> bool:
    try:
        state = job.status().summary.state
    except job._services.app.database_errors:
        return False
    assert state not in {JobState.FAILED, JobState.CANCELLED}, f"the job is {state}"
    return state is JobState.COMPLETED


def _kill_backends(site: Site) -> None:
    site.admin_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'geoetl%%'")


def _restart(site: Site, component: str) -> None:
    (found,) = [each for each in site.stack._services if each.name == component]
    found.stop()
    found.start()


def soak(site: Site, figures: Figures, *, minutes: float) -> None:
    """Jobs one after the other while children and whole workers are killed; every result is checked."""
    workers = [site.start_worker(concurrency=2) for _ in range(2)]
    chance = random.Random(7)
    jobs, kills, tasks = 0, 0, 0
    until, kill_at = time.monotonic() + minutes * 60, time.monotonic() + KILL_EVERY_S
    try:
        while time.monotonic() < until:
            job = site.submit(100, seconds=0.1)
            while not _has_completed(job):
                if time.monotonic() >= kill_at:
                    kill_at += KILL_EVERY_S
                    kills += 1
                    _kill_one(site, workers, chance)
                time.sleep(0.2)
            assert job.status().result == {"sum": sum(index**2 for index in range(100))}
            jobs, tasks = jobs + 1, tasks + 300
    finally:
        for worker in workers:
            worker.kill()
    twice = site.sql("SELECT count(*) FROM (SELECT task_id FROM geoetl.event WHERE what = 'task succeeded' "
                     "GROUP BY task_id HAVING count(*) > 1) AS accepted_twice")[0][0]  # fmt: skip
    for name, value in (("jobs", jobs), ("tasks", tasks), ("kills", kills), ("accepted_twice", twice)):
        figures.add(f"soak_{name}", value)


def _kill_one(site: Site, workers: list[Process], chance: random.Random) -> None:
    number = chance.randrange(len(workers))
    if chance.random() < 0.5:
        with suppress(IndexError, ProcessLookupError):
            os.kill(children(workers[number].pid)[0], signal.SIGKILL)
    else:
        workers[number].kill()
        workers[number] = site.start_worker(concurrency=2)
