"""Several consumers in one process: each gets its own messages, and leaves nothing behind when it is cancelled."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kombu import Consumer, Queue

from geoetl.transport.fork import all_of_this_process
from tests.integration.transport.conftest import wait_until
from tests.integration.transport.inboxes import Inbox, publish


def count_of(connection: Any, queue: str) -> int:
    return connection.channel().queue_declare(queue, passive=True).message_count


def test_two_channels_on_one_queue_settle_what_they_received(connect, queue):
    connection = connect()
    inboxes = [Inbox(connection, queue, prefetch=1) for _ in range(2)]
    publish(connection, queue, 1, 2)
    inboxes[0].wait(1)
    inboxes[1].wait(1)
    for inbox in inboxes:
        (message,) = inbox.messages
        assert message.channel is inbox.channel
        message.ack()
        inbox.channel.close()  # waits until it is confirmed
    assert count_of(connection, queue) == 0


def test_cancelled_consumer_leaves_another_of_its_queue_alone(connect, queue):
    connection = connect()
    channel = connection.channel()
    got: dict[str, list[Any]] = {"stays": [], "goes": []}
    stays = Consumer(channel, [Queue(queue)], on_message=got["stays"].append)
    goes = Consumer(channel, [Queue(queue)], on_message=got["goes"].append)
    stays.consume()
    goes.consume()
    goes.cancel()
    publish(connection, queue, "x")
    connection.drain_events(timeout=60)
    assert [message.payload for message in got["stays"]] == ["x"]
    assert got["goes"] == []


def test_message_that_nobody_looked_at_is_given_back_when_its_consumer_is_cancelled(connect, queue):
    connection = connect()
    publish(connection, queue, "x")
    inbox = Inbox(connection, queue)
    transport = inbox.channel.connection
    transport._wait(float("inf"))  # it is in the inbox
    inbox.consumer.cancel()
    (message,) = Inbox(connect(), queue).wait(1, timeout_s=30.0)  # the lock is renewed for as long as it is held
    assert message.headers["delivery_count"] == 0


def links_to(queue: str) -> list[Any]:
    """Open and opening links of this process."""
    return [link for each in all_of_this_process() for link in each.receiving._links if link.entity == queue]


def test_cancelled_consumers_give_their_connections_back(connect, queue, admin):
    connection = connect()
    got: list[Any] = []
    for number in range(6):
        with connection.Consumer(Queue(queue), on_message=got.append):
            publish(connection, queue, number)
            connection.drain_events(timeout=60)
        got[-1].ack()
    assert [message.payload for message in got] == [*range(6)]
    wait_until(lambda: not links_to(queue), timeout_s=30, what="the end of six links")
    admin.delete_queue(queue)
    with pytest.raises(connection.channel_errors, match="NOT_FOUND"):
        connection.channel().queue_declare(queue, passive=True)


def test_message_held_by_a_cancelled_consumer_can_still_be_settled(connect, queue):
    connection = connect()
    publish(connection, queue, "x")
    inbox = Inbox(connection, queue)
    (message,) = inbox.wait(1)
    inbox.consumer.cancel()
    time.sleep(2.5)  # ticks, and more than its lock
    assert len(links_to(queue)) == 1
    message.ack()
    wait_until(lambda: not links_to(queue), timeout_s=30, what="the end of the link")
    assert count_of(connection, queue) == 0


def test_cancelled_consumer_does_not_bring_a_deleted_queue_back(connect, queue, admin):
    connection = connect()
    publish(connection, queue, "x")
    inbox = Inbox(connection, queue)
    inbox.wait(1)  # held, so the link stays
    inbox.consumer.cancel()
    admin.delete_queue(queue)
    time.sleep(0.5)
    assert queue not in [each.name for each in admin.list_queues()]


def test_settling_in_a_signal_handler_does_not_wait_for_what_it_interrupts(connect, queue):
    connection = connect()
    publish(connection, queue, "x")
    inbox = Inbox(connection, queue)
    (message,) = inbox.wait(1)
    namespace = inbox.channel.namespace
    with ThreadPoolExecutor(1) as pool, namespace._lock:
        pool.submit(message.ack).result(timeout=30)
