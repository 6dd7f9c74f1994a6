"""Killed children, killed workers, cut connections, shutdowns: nothing is lost, little is done twice."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from geoetl.transport.urls import parse_connection_string

from .conftest import wait_until  # noqa: TID252 - a test's own folder
from .proxy import CuttableProxy  # noqa: TID252 - a test's own folder

pytestmark = pytest.mark.chaos


@pytest.fixture
def proxy(connection_string) -> Iterator[CuttableProxy]:
    host, _, port = parse_connection_string(connection_string).host.rpartition(":")
    proxy = CuttableProxy((host, int(port)))
    yield proxy
    proxy.close()


def test_task_of_a_killed_child_is_done_by_another(start_worker, client_for, journal, queue, key):
    start_worker(queue, "-c", "2")
    client_for(queue).send_task("worker_app.mark", (key, 1.0))
    (start,) = journal.wait("start", key)
    os.kill(start.pid, signal.SIGKILL)
    journal.wait("end", key, timeout_s=20)
    first, second = journal.entries("start", key)
    assert second.facts == ("1", "True")
    assert first.pid != second.pid


def test_tasks_of_a_killed_worker_are_done_by_another(start_worker, client_for, journal, queue, key):
    lost = start_worker(queue, "-c", "2")
    client = client_for(queue)
    for index in range(4):
        client.send_task("worker_app.mark", (f"{key}/{index}", 1.0))
    journal.wait("start", key, 2)
    lost.kill()
    start_worker(queue, "-c", "2")
    journal.wait("end", key, 4, timeout_s=20)
    assert set(journal.times("end", key).values()) == {1}


def test_children_killed_again_and_again_are_replaced(start_worker, client_for, journal, queue, key):
    start_worker(queue, "-c", "3")
    client = client_for(queue)
    for round_ in range(5):
        for index in range(3):
            client.send_task("worker_app.mark", (f"{key}/{round_}/{index}", 0.2))
        for start in journal.wait("start", f"{key}/{round_}/", 3):
            try:
                os.kill(start.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    client.send_task("worker_app.mark", (f"{key}/last",))
    journal.wait("end", key, 16, timeout_s=30)


def test_nothing_is_lost_when_all_connections_are_cut(
    start_worker, client_for, journal, queue, key, proxy, connection_string
):
    address = parse_connection_string(connection_string)
    through_proxy = address.connection_string(endpoint=f"127.0.0.1:{proxy.port}")
    start_worker(queue, "-c", "2", string=through_proxy, TEST_PREFETCH_MULTIPLIER="4")
    client = client_for(queue, through_proxy)
    for index in range(300):
        client.send_task("worker_app.mark", (f"{key}/{index}", 0.005))
        if index % 100 == 50:
            assert proxy.cut_all() > 0
    journal.wait("end", key, 300, timeout_s=30)
    time.sleep(0.2)
    twice = [name for name, times in journal.times("end", key).items() if times > 1]
    assert len(twice) <= 12, "only what was in flight when a connection was cut may run again"


def test_long_task_survives_cut_connections_without_a_second_run(
    start_worker, client_for, journal, queue, key, proxy, connection_string
):
    address = parse_connection_string(connection_string)
    through_proxy = address.connection_string(endpoint=f"127.0.0.1:{proxy.port}")
    start_worker(queue, "-c", "2", string=through_proxy)
    client_for(queue).send_task("worker_app.mark", (key, 4.0))
    journal.wait("start", key)
    for _ in range(3):
        time.sleep(1.0)
        proxy.cut_all()
    journal.wait("end", key)
    time.sleep(2.2)  # longer than the lock: an unsettled message would be delivered again
    assert journal.times("start", key)[key] == 1


def test_idle_prefork_worker_stops_at_once(start_worker, queue):
    worker = start_worker(queue, "-c", "2")
    assert worker.stop() < 2.5
    assert worker.process.returncode == 0


def test_warm_shutdown_finishes_the_running_and_gives_back_the_waiting(start_worker, client_for, journal, queue, key):
    worker = start_worker(queue, "-c", "1", TEST_PREFETCH_MULTIPLIER="4")
    client = client_for(queue)
    for index in range(4):
        client.send_task("worker_app.mark", (f"{key}/{index}", 0.7))
    journal.wait("start", key, 1)
    worker.stop()
    done = set(journal.times("end", key))
    assert 1 <= len(done) < 4
    begin = time.time()
    start_worker(queue, "-c", "2")
    journal.wait("end", key, 4)
    later = [start for start in journal.entries("start", key) if start.at > begin]
    assert {start.facts for start in later} == {("0", "False")}, "released, not abandoned"
    assert set(journal.times("end", key).values()) == {1}


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
