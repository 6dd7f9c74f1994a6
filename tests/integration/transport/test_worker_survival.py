"""Killed children, killed workers, cut connections, shutdowns: nothing is lost, little is done twice."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from geoetl.transport.urls import parse_connection_string

from .conftest import wait_until
from .proxy import CuttableProxy

pytestmark = pytest.mark.chaos


@pytest.fixture
def proxy(connection_string) -> Iterator[CuttableProxy]:
    proxy = CuttableProxy(parse_connection_string(connection_string))
    yield proxy
    proxy.close()


def test_tasks_of_a_killed_worker_are_done_by_another(start_worker, client_for, journal, queue):
    lost = start_worker(queue, "-c", "2")
    client = client_for(queue)
    for index in range(4):
        client.send_task("worker_app.mark", (f"{queue}/{index}", 1.0))
    journal.wait("start", queue, 2)
    lost.kill()
    start_worker(queue, "-c", "2")
    journal.wait("end", queue, 4)
    assert set(journal.times("end", queue).values()) == {1}


def test_killed_children_are_replaced_and_their_tasks_done_by_others(start_worker, client_for, journal, queue):
    start_worker(queue, "-c", "3")
    client = client_for(queue)
    for round_ in range(5):
        for index in range(3):
            client.send_task("worker_app.mark", (f"{queue}/{round_}/{index}", 0.2))
        for start in journal.wait("start", f"{queue}/{round_}/", 3):
            with contextlib.suppress(ProcessLookupError):
                os.kill(start.pid, signal.SIGKILL)
    client.send_task("worker_app.mark", (f"{queue}/last",))
    journal.wait("end", queue, 16)
    again = [start for start in journal.entries("start", queue) if start.facts != ("0", "False")]
    assert {redelivered for _, redelivered in (start.facts for start in again)} == {"True"}


def test_nothing_is_lost_when_all_connections_are_cut(start_worker, client_for, journal, queue, proxy):
    start_worker(queue, "-c", "2", string=proxy.connection_string, TEST_PREFETCH_MULTIPLIER="4")
    client = client_for(queue, proxy.connection_string)
    for index in range(300):
        client.send_task("worker_app.mark", (f"{queue}/{index}", 0.005))
        if index % 100 == 50:
            assert proxy.cut_all() > 0
    journal.wait("end", queue, 300)
    time.sleep(0.2)
    twice = [name for name, times in journal.times("end", queue).items() if times > 1]
    assert len(twice) <= 12, "only what was in flight when a connection was cut may run again"


def test_long_task_survives_cut_connections_without_a_second_run(start_worker, client_for, journal, queue, proxy):
    start_worker(queue, "-c", "2", string=proxy.connection_string)
    client_for(queue).send_task("worker_app.mark", (queue, 3.0))
    journal.wait("start", queue)
    for _ in range(2):
        time.sleep(1.0)
        proxy.cut_all()
    journal.wait("end", queue)
    time.sleep(2.2)  # longer than the lock: an unsettled message would be delivered again
    assert journal.times("start", queue)[queue] == 1


def test_worker_outlives_a_service_that_is_away(start_worker, client_for, journal, queue, proxy):
    worker = start_worker(queue, "-c", "1", "-P", "solo", string=proxy.connection_string)
    proxy.is_refusing = True
    proxy.cut_all()
    client_for(queue).send_task("worker_app.mark", (queue,))
    time.sleep(1.5)
    proxy.is_refusing = False
    journal.wait("end", queue)
    assert worker.log.read_text().count("lost the link") == 1, "told once, however many attempts it takes"


def test_idle_prefork_worker_stops_at_once(start_worker, queue):
    worker = start_worker(queue, "-c", "2")
    # Closing the pool takes Celery 1.5 s; the rest is a busy machine's. The benchmark has the figure.
    assert worker.stop() < 4
    assert worker.process.returncode == 0


def test_warm_shutdown_finishes_the_running_and_gives_back_the_waiting(start_worker, client_for, journal, queue):
    worker = start_worker(queue, "-c", "1", TEST_PREFETCH_MULTIPLIER="4")
    client = client_for(queue)
    for index in range(4):
        client.send_task("worker_app.mark", (f"{queue}/{index}", 0.4))
    journal.wait("start", queue, 1)
    worker.stop()
    done = set(journal.times("end", queue))
    assert 1 <= len(done) < 4
    begin = time.time()
    start_worker(queue, "-P", "solo")
    journal.wait("end", queue, 4)
    later = [start for start in journal.entries("start", queue) if start.at > begin]
    assert {start.facts for start in later} == {("0", "False")}, "released, not abandoned"
    assert set(journal.times("end", queue).values()) == {1}


def test_three_queues_are_served_in_turn(start_worker, client_for, journal, key):
    queues = [f"test-{key}-{name}" for name in "abc"]
    for queue in queues:
        client = client_for(queue)
        for index in range(6):
            client.send_task("worker_app.mark", (f"{key}/{queue[-1]}{index}", 0.1), queue=queue)
    start_worker(queues[0], "-c", "1", "-Q", ",".join(queues))
    journal.wait("end", key, 18)
    order = "".join(start.key[len(key) + 1] for start in journal.entries("start", key))
    assert set(order[:6]) == {"a", "b", "c"}, f"one busy queue must not starve the others: {order}"
    wait_until(lambda: set(journal.times("start", key).values()) == {1})
