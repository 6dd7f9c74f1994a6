"""What was deleted is over: its timers and locks do nothing to the next entity of its name, also after a restart."""

import pytest

from geoetl.emulator.amqp_types import Timestamp
from geoetl.emulator.conditions import ServiceBusError
from geoetl.emulator.message import SCHEDULED_ENQUEUE_TIME, Message
from tests.unit.emulator.world import take


def test_deleted_queue_leaves_the_messages_of_the_next_one_of_its_name_alone(kept):
    old, at = kept.namespace.queue("q"), kept.clock.now() + 60
    kept.namespace.update("q", {"MaxDeliveryCount": "1"})
    old.send(Message(body=b"locked"))
    lock = take(old).lock_token
    old.send(Message(body=b"scheduled", annotations={SCHEDULED_ENQUEUE_TIME: Timestamp(at * 1000)}))
    old.send(Message(body=b"short", ttl_ms=10_000))
    kept.namespace.delete("q")
    new = kept.namespace.create("q", {})
    for number in range(3):
        new.send(Message(body=f"new {number}".encode()))

    with pytest.raises(ServiceBusError, match="message-lock-lost"):
        old.complete(lock)
    kept.clock.advance(60)
    kept.namespace.timers.run()

    queue = kept.reopen()
    assert [message.body for message in queue.peek(0, 9)] == [b"new 0", b"new 1", b"new 2"]
    assert queue.counts.total == 3


def test_deleted_topic_publishes_nothing_to_the_next_one_of_its_name(kept):
    at = kept.clock.now() + 60
    topic = kept.namespace.create_topic("t", {})
    kept.namespace.create_subscription("t", "s", {})
    topic.send(Message(body=b"old", annotations={SCHEDULED_ENQUEUE_TIME: Timestamp(at * 1000)}))
    kept.namespace.delete("t")
    topic = kept.namespace.create_topic("t", {})
    kept.namespace.create_subscription("t", "s", {})
    topic.send(Message(body=b"new", annotations={SCHEDULED_ENQUEUE_TIME: Timestamp((at + 60) * 1000)}))
    kept.clock.advance(60)
    kept.namespace.timers.run()

    kept.reopen()
    assert kept.namespace.topic("t").scheduled_count == 1
    assert kept.namespace.subscription("t", "s").counts.total == 0
