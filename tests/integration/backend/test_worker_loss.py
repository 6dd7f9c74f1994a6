"""Plain tasks whose process dies: each runs to its end, is accepted once, and its chord completes."""

import os
import signal
from pathlib import Path

import pytest
from celery import chord, group
from celery.exceptions import TimeLimitExceeded

from tests.integration.backend.canvas_workers import start_process, stop_process, wait_for_ready

LEASE_S = "2"


@pytest.fixture(scope="module")
def worker(start_canvas_worker):
    return start_canvas_worker("-c", "2", TEST_LEASE_S=LEASE_S)


@pytest.fixture(autouse=True)
def _only_this_test(worker):
    worker.sql("TRUNCATE done")


def test_a_task_whose_process_is_killed_runs_again(worker):
    result = worker.submit(worker.tasks.dies_once.s(7))

    assert result.get(timeout=60) == 7
    assert worker.done("start") == [result.id] * 2


def test_a_chord_survives_the_death_of_a_header_process(worker):
    result = worker.submit(chord([worker.tasks.dies_once.s(1), worker.tasks.effect.s(2)], worker.tasks.xsum.s()))

    assert result.get(timeout=60) == 3
    worker.settle()
    assert len(worker.done("effect")) == 1


def test_a_task_longer_than_its_lease_is_not_started_twice(worker):
    result = worker.submit(worker.tasks.slow.s(5))
    worker.eventually(lambda: worker.done("start"))
    # It comes again, as after a lock that was lost.
    worker.tasks.slow.apply_async((5,), task_id=result.id)

    assert result.get(timeout=60) == 5
    worker.settle()
    assert worker.done("start") == [result.id]


def test_a_hard_time_limit_fails_the_task(worker):
    result = worker.submit(group(worker.tasks.hangs.si()))

    failure = result.get(timeout=60, propagate=False)

    assert isinstance(failure[0], TimeLimitExceeded)


def test_a_frozen_worker_comes_too_late(worker):
    """SIGSTOP of a child and of its parent beyond the lease, while another worker takes over; then SIGCONT."""
    result = worker.submit(worker.tasks.slow.s(1.5))
    worker.eventually(lambda: worker.done("start"))
    (child,) = worker.sql("SELECT pid FROM done WHERE what = 'start'")[0]
    stopped = [worker.process.pid, child]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        other = start_process(worker.log.with_name("other.log"), ("-c", "1", "-n", "other@%h"), worker.environ)
        try:
            assert result.get(timeout=60) == 1.5
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            worker.eventually(lambda: "fenced: task=" in worker.log.read_text(errors="replace"))
        finally:
            stop_process(other)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert worker.done("start") == [result.id] * 2
    assert result.get(timeout=60) == 1.5


def test_a_killed_worker_leaves_its_task_to_the_next(worker):
    """Last: it leaves no worker behind."""
    result = worker.submit(worker.tasks.slow.s(3))
    worker.eventually(lambda: worker.done("start"))
    (child,) = worker.sql("SELECT pid FROM done WHERE what = 'start'")[0]
    for pid in (worker.process.pid, *children_of(worker.process.pid), child):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    worker.process.wait(60)

    worker.process = start_process(worker.log, ("-c", "1"), worker.environ)
    wait_for_ready(worker)

    assert result.get(timeout=60) == 3
    worker.settle()
    assert worker.done("end") == [result.id]


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
