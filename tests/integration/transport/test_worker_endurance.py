"""What only time shows: real locks, real delays, a hundred deaths. Minutes long, so `pytest -m slow` runs them."""

import os
import signal
import time
from pathlib import Path

import pytest

from .conftest import Worker, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def children(worker: Worker) -> set[int]:
    pid = worker.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_task_of_25_s_under_a_lock_of_5_s_runs_once_and_so_do_those_behind_it(start_worker, client_for, journal, queue):
    start_worker(queue, "-c", "1", TEST_LOCK_S="5", TEST_PREFETCH_MULTIPLIER="4")
    client = client_for(queue, lock_s=5)
    client.send_task("worker_app.mark", (f"{queue}/long", 25.0))
    for index in range(2):
        client.send_task("worker_app.mark", (f"{queue}/behind/{index}",))

    journal.wait("end", queue, 3, timeout_s=40)
    time.sleep(6)  # longer than the lock: what was not settled would come again

    assert set(journal.times("start", queue).values()) == {1}
    assert {entry.facts for entry in journal.entries("start", queue)} == {("0", "False")}


def test_countdown_of_30_s_under_a_lock_of_10_s_runs_once_and_on_time(start_worker, client_for, journal, queue):
    start_worker(queue, "-c", "1", TEST_LOCK_S="10")
    begin = time.time()
    client_for(queue, lock_s=10).send_task("worker_app.mark", (queue,), countdown=30)

    (start,) = journal.wait("start", queue, timeout_s=40)
    time.sleep(11)

    assert start.at - begin == pytest.approx(30, abs=1)
    assert journal.times("start", queue)[queue] == 1


def test_child_killed_100_times_in_a_row_is_replaced_100_times(start_worker, client_for, journal, queue):
    worker = start_worker(queue, "-c", "2")
    client = client_for(queue)
    for kill in range(100):
        before = children(worker)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(children(worker) - {victim}) == 2, timeout_s=20, what=f"replacement {kill}")  # noqa: B023
        if kill % 10 == 9:  # the new ones work
            for index in range(4):
                client.send_task("worker_app.mark", (f"{queue}/{kill}/{index}",))
            journal.wait("end", f"{queue}/{kill}/", 4, timeout_s=20)

    assert worker.process.poll() is None
    assert len(journal.times("end", queue)) == 40
    assert worker.stop() < 5
