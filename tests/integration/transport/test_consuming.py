"""Consuming in this process from a Service Bus: slots, locks, and links that break."""

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusSubQueue
from kombu import Consumer, Queue

from tests.integration.transport.conftest import wait_until
from tests.integration.transport.inboxes import Inbox, publish


def test_late_wake_up_is_not_taken_for_a_timeout(connect, queue):
    connection = connect()
    inbox = Inbox(connection, queue)
    publish(connection, queue, "x", headers={"eta": (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()})
    inbox.channel.connection._wakeup.set()  # as if for a message that was delivered already
    connection.drain_events(timeout=60)
    assert [message.payload for message in inbox.messages] == ["x"]


def test_failing_handler_does_not_hold_up_the_messages_behind(connect, queue):
    connection = connect()
    publish(connection, queue, 1, 2, 3)
    inbox = Inbox(connection, queue, prefetch=1)
    inbox.wait(1)

    def fail(message: Any) -> None:
        raise LookupError

    inbox.consumer.on_message = fail
    inbox.channel.basic_qos(prefetch_count=3)
    with pytest.raises(LookupError):
        connection.drain_events(timeout=60)
    inbox.consumer.on_message = inbox.messages.append
    inbox.wait(2)


def test_prefetch_bounds_what_is_handed_out(connect, queue):
    connection = connect()
    publish(connection, queue, *range(5))
    inbox = Inbox(connection, queue, prefetch=2)
    assert len(inbox.look(0.3)) == 2
    for message in list(inbox.messages):
        message.ack()
    assert len(inbox.look(0.3)) == 4


def test_raised_prefetch_lets_more_come(connect, queue):
    connection = connect()
    publish(connection, queue, *range(5))
    inbox = Inbox(connection, queue, prefetch=1)
    inbox.wait(1)
    inbox.channel.basic_qos(prefetch_count=5)
    inbox.wait(5)


def test_closed_channel_gives_back_what_was_not_settled_uncounted(connect, queue):
    connection = connect()
    publish(connection, queue, "x")
    inbox = Inbox(connection, queue)
    inbox.wait(1)
    inbox.channel.close()
    (again,) = Inbox(connect(), queue).wait(1)
    assert again.delivery_info["redelivered"] is False
    assert again.headers["delivery_count"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b'{"headers": null, "properties": {}, "body": "x"}',
        b'{"properties": {"body_encoding": "base64"}, "body": "x"}',
    ],
)
def test_message_of_somebody_else_is_dead_lettered_with_the_reason(connect, queue, connection_string, body):
    connection = connect()
    inbox = Inbox(connection, queue)
    with ServiceBusClient.from_connection_string(connection_string) as client:
        with client.get_queue_sender(queue) as sender:
            sender.send_messages(ServiceBusMessage(body))
        assert inbox.look(0.5) == []
        with client.get_queue_receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as dead_letters:
            (message,) = dead_letters.receive_messages(1, max_wait_time=60)
    assert message.dead_letter_reason == "UnreadableMessage"


def test_held_messages_stay_ours_for_many_locks(connect, queue, heard):
    connection = connect()
    publish(connection, queue, *range(5))
    inbox = Inbox(connection, queue)
    inbox.wait(5)
    assert len(inbox.look(4.5)) == 5, "no redelivery in more than two locks"
    for message in inbox.messages:
        message.ack()
    inbox.channel.close()
    assert connection.channel().queue_declare(queue, passive=True).message_count == 0
    assert heard["lock_lost"] == []


def test_lost_lock_is_signalled_once_and_names_the_task(connect, queue, control, heard):
    connection = connect()
    for index in range(3):
        publish(connection, queue, "x", headers={"id": f"task-{index}", "task": "add"})
    inbox = Inbox(connection, queue)
    first = list(inbox.wait(3))
    control("lose-locks", queue=queue)
    inbox.wait(6)  # delivered again
    inbox.look(1.0)
    first[0].ack()
    inbox.look(0.2)
    lost = heard["lock_lost"]
    assert {fact["queue"] for fact in lost} == {queue}
    assert sorted(fact["message"]["id"] for fact in lost) == ["task-0", "task-1", "task-2"]


def test_lock_lost_together_with_its_link_is_signalled_by_the_settlement(connect, queue, control, heard):
    connection = connect(lock_duration_s=60)  # no renewal tells it before
    publish(connection, queue, "x", headers={"id": "task-0", "task": "add"})
    inbox = Inbox(connection, queue)
    (message,) = inbox.wait(1)
    control("drop")
    wait_until(lambda: heard["link_restored"], timeout_s=30)
    control("lose-locks", queue=queue)
    message.ack()
    wait_until(lambda: heard["lock_lost"], timeout_s=30)
    assert [fact["message"]["id"] for fact in heard["lock_lost"]] == ["task-0"]


def test_detached_link_is_reopened_and_signalled(connect, queue, control, heard):
    connection = connect()
    inbox = Inbox(connection, queue)
    control("detach", queue=queue)
    publish(connection, queue, "x")
    assert inbox.wait(1)[0].payload == "x"
    inbox.messages[0].ack()
    inbox.look(0.2)  # signals are sent by a thread of their own
    assert [fact["queue"] for fact in heard["link_lost"]] == [queue]
    assert [fact["queue"] for fact in heard["link_restored"]] == [queue]


@contextlib.contextmanager
def stalled(connection: Any) -> Iterator[None]:
    """Keep the reactor of a connection from reading what arrives."""
    stalling, going_on = threading.Event(), threading.Event()

    def stall() -> None:
        stalling.set()
        going_on.wait(30)

    connection.transport.namespace.receiving.reactor.call(stall)
    stalling.wait(30)
    try:
        yield
    finally:
        going_on.set()


def test_message_that_arrives_together_with_a_detach_is_ours(connect, queue, control):
    connection = connect(lock_duration_s=60)
    inbox = Inbox(connection, queue)
    with stalled(connection):
        publish(connection, queue, "x")
        time.sleep(0.2)
        control("detach", queue=queue)
    (message,) = inbox.wait(1, timeout_s=30)
    message.ack()
    size = connection.channel()._size
    wait_until(lambda: size(queue) == 0, timeout_s=30, what="its settlement")


def test_confirmation_that_arrives_together_with_a_detach_counts(connect, queue, control, caplog):
    caplog.set_level(logging.INFO)
    connection = connect()
    publish(connection, queue, "x")
    inbox = Inbox(connection, queue)
    (message,) = inbox.wait(1)
    control("slow-settlements", delay_s=0.3)
    try:
        message.ack()
        with stalled(connection):
            time.sleep(0.5)
            control("detach", queue=queue)
        inbox.look(0.5)
    finally:
        control("slow-settlements", delay_s=0)
    assert "lost the link" in caplog.text
    assert f"{queue} unconfirmed" not in caplog.text
    assert connection.channel().queue_declare(queue, passive=True).message_count == 0


def test_link_that_is_detached_as_soon_as_it_is_attached_is_reopened_more_and_more_slowly(
    connect, queue, control, heard
):
    connection = connect()
    inbox = Inbox(connection, queue)
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        control("detach", queue=queue, condition="com.microsoft:server-busy")
    assert len(heard["link_lost"]) <= 9

    def is_lost_for_the_third_time() -> bool:
        control("detach", queue=queue)
        return len(heard["link_lost"]) >= 3

    wait_until(is_lost_for_the_third_time, timeout_s=30)
    publish(connection, queue, "x")
    inbox.wait(1)


def test_message_held_over_a_drop_is_settled_by_its_lock_token(connect, queue, control, heard):
    connection = connect()
    publish(connection, queue, "x")
    inbox = Inbox(connection, queue)
    (message,) = inbox.wait(1)
    control("drop")
    message.ack()
    assert len(inbox.look(2.5)) == 1, "not delivered again when its first lock ran out"
    assert connection.channel().queue_declare(queue, passive=True).message_count == 0


def test_publisher_does_not_notice_that_its_connection_was_dropped(connect, queue, control):
    connection = connect()
    publish(connection, queue, 1)
    assert control("drop")["dropped"] > 0
    begin = time.monotonic()
    publish(connection, queue, 2)
    assert time.monotonic() - begin < 0.5
    assert [message.payload for message in Inbox(connection, queue).wait(2)] == [1, 2]


def test_deleted_queue_is_created_again_for_its_consumer(connect, queue):
    connection = connect()
    inbox = Inbox(connection, queue)
    other = connect()
    other.channel()._delete(queue)
    time.sleep(0.3)
    publish(other, queue, "x")
    assert inbox.wait(1)[0].payload == "x"


def test_message_of_a_consumer_without_acknowledgement_is_gone_on_arrival(connect, queue):
    connection = connect()
    publish(connection, queue, *range(3))
    messages: list[Any] = []
    with Consumer(connection.channel(), [Queue(queue)], on_message=messages.append, no_ack=True):
        while len(messages) < 3:
            connection.drain_events(timeout=60)
    assert connection.channel().queue_declare(queue, passive=True).message_count == 0


def test_message_that_finds_no_slot_is_given_back_for_others_uncounted(connect, queue):
    names = [queue, f"{queue}-other"]
    connection = connect()
    for name in names:
        publish(connection, name, name)
    got: list[Any] = []
    consumer = Consumer(connection.channel(), [Queue(name) for name in names], on_message=got.append)
    consumer.qos(prefetch_count=1)
    consumer.consume()
    with contextlib.suppress(TimeoutError):
        while True:
            connection.drain_events(timeout=0.5)
    (held,) = got
    (other,) = Inbox(connect(), next(name for name in names if name != held.payload)).wait(1)
    assert other.headers["delivery_count"] == 0


def test_two_consumers_of_one_channel_cancel_independently(connect, queue):
    connection = connect()
    names = [queue, f"{queue}-{uuid.uuid4().hex[:4]}"]
    inboxes = [Inbox(connection, name) for name in names]
    inboxes[0].channel.close()
    publish(connection, names[1], "x")
    assert inboxes[1].wait(1)[0].payload == "x"
