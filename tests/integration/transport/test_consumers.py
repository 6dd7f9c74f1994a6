"""Several consumers in one process: each gets its own messages, and leaves nothing behind when it is cancelled."""

from typing import Any

from kombu import Consumer, Queue

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
    connection.drain_events(timeout=5)
    assert [message.payload for message in got["stays"]] == ["x"]
    assert got["goes"] == []


def test_message_that_nobody_looked_at_is_given_back_when_its_consumer_is_cancelled(connect, queue):
    connection = connect()
    publish(connection, queue, "x")
    inbox = Inbox(connection, queue)
    transport = inbox.channel.connection
    transport._wait(float("inf"))  # it is in the inbox
    inbox.consumer.cancel()
    (message,) = Inbox(connect(), queue).wait(1, timeout_s=1.0)  # the lock is renewed for longer
    assert message.headers["delivery_count"] == 0
