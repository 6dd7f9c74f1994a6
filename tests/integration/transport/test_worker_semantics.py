"""What Celery users see of a settled, delayed, rejected or long task; in the prefork and in the thread pool."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusSubQueue

#: What takes seconds of waiting is the same in every pool.
slow_in_one_pool = pytest.mark.parametrize("running", ["prefork"], indirect=True)


def test_every_task_runs_once(running, journal, key):
    for index in range(100):
        running.client.send_task("worker_app.mark", (f"{key}/{index}",))
    journal.wait("end", key, 100)
    assert set(journal.times("start", key).values()) == {1}


def test_a_batch_of_publishes_arrives_whole(running, journal, key):
    with running.client.producer_or_acquire() as producer, producer.batch():
        for index in range(100):
            running.client.send_task("worker_app.mark", (f"{key}/{index}",), producer=producer)
    journal.wait("end", key, 100)
    assert set(journal.times("start", key).values()) == {1}


def test_tasks_can_publish_tasks(running, journal, key):
    running.client.send_task("worker_app.publish_more", (key, 5))
    assert len(journal.wait("end", f"{key}/", 5)) == 5


def test_first_delivery_is_not_marked_redelivered(running, journal, key):
    running.client.send_task("worker_app.mark", (key,))
    (start,) = journal.wait("start", key)
    assert start.facts == ("0", "False")


def test_rejected_with_requeue_comes_back_redelivered_with_its_count(running, journal, key):
    running.client.send_task("worker_app.reject_once", (key,))
    journal.wait("end", key)
    first, second = journal.entries("start", key)
    assert (first.facts, second.facts) == (("0", "False"), ("1", "True"))
    assert second.at - first.at < 1.0, "well before the lock of 2 s expires"


def test_rejected_without_requeue_is_dead_lettered_with_a_reason(running, journal, key, connection_string):
    running.client.send_task("worker_app.reject_for_ever", (key,), task_id=key)
    journal.wait("start", key)
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(running.queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as dead_letters,
    ):
        (message,) = dead_letters.receive_messages(1, max_wait_time=60)
        dead_letters.complete_message(message)
    assert message.dead_letter_reason == "RejectedByWorker"
    assert f"worker_app.reject_for_ever[{key}]" in (message.dead_letter_error_description or "")
    assert len(journal.entries("start", key)) == 1


def test_retry_with_countdown_runs_again_after_it(running, journal, key):
    running.client.send_task("worker_app.retry_twice", (key,))
    journal.wait("end", key)
    starts = journal.entries("start", key)
    assert [start.facts for start in starts] == [("0",), ("1",), ("2",)]
    assert all(later.at - earlier.at >= 0.19 for earlier, later in pairwise(starts))


@slow_in_one_pool
def test_task_three_times_as_long_as_its_lock_runs_once(running, journal, key):
    running.client.send_task("worker_app.mark", (key, 6.0))
    journal.wait("end", key)
    time.sleep(0.5)  # a second delivery would have come when the lock ran out
    assert journal.times("start", key)[key] == 1


@slow_in_one_pool
def test_countdown_longer_than_the_lock_runs_once_and_on_time(running, journal, key):
    due = datetime.now(UTC) + timedelta(seconds=5)
    running.client.send_task("worker_app.mark", (key,), eta=due)
    journal.wait("end", key)
    (start,) = journal.entries("start", key)
    assert 0 <= start.at - due.timestamp() < 1.0
    assert start.facts == ("0", "False")


def test_expired_task_is_not_run(running, journal, key):
    running.client.send_task("worker_app.mark", (key,), expires=datetime.now(UTC) - timedelta(seconds=1))
    running.client.send_task("worker_app.mark", (f"{key}-after",))
    journal.wait("end", f"{key}-after")
    assert journal.entries("start", f"{key}-after")
    assert not [entry for entry in journal.entries("start", key) if entry.key == key]


@pytest.mark.parametrize("size", [10, 100_000])
def test_unicode_and_large_arguments_arrive(running, journal, key, size):
    running.client.send_task("worker_app.mark", (f"{key}-ü{'x' * size}",))
    (end,) = journal.wait("end", f"{key}-ü")
    assert len(end.key) == len(f"{key}-ü") + size
