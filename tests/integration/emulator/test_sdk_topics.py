"""The real SDK publishes to topics and receives from subscriptions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import MessagingEntityNotFoundError, ServiceBusError
from azure.servicebus.management import (
    CorrelationRuleFilter,
    SqlRuleFilter,
)

pytestmark = [
    # The SDK asks XML elements for their truth when it reads rules.
    pytest.mark.filterwarnings("ignore:Testing an element's truth value:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def topic(bus: Any) -> str:
    """A topic with subscriptions that tests share, and leave empty."""
    return bus.topic("all", "some")


def receive(receiver: Any, count: int) -> list[str]:
    got: list[str] = []
    while len(got) < count:
        messages = receiver.receive_messages(count, 60)
        assert messages, got
        for message in messages:
            got.append(str(message))
            receiver.complete_message(message)
    return got


def test_each_subscription_receives_what_its_rules_let_pass(bus, topic):
    bus.admin.create_rule(
        topic, "some", "red", filter=CorrelationRuleFilter(label="task.red", properties={"size": 3, "is_big": True})
    )
    bus.admin.create_rule(topic, "some", "blue", filter=SqlRuleFilter("sys.Label = 'task.blue' AND kind = 'x'"))
    bus.admin.delete_rule(topic, "some", "$Default")
    bus.topic_sender(topic).send_messages(
        [
            ServiceBusMessage("1", subject="task.red", application_properties={"size": 3, "is_big": True}),
            ServiceBusMessage("2", subject="task.red", application_properties={"size": 4, "is_big": True}),
            ServiceBusMessage("3", subject="task.blue", application_properties={"kind": "x"}),
            ServiceBusMessage("4"),
        ]
    )
    bus.assert_counts(topic, "all", active=4, total=4)
    bus.assert_counts(topic, "some", active=2)

    assert receive(bus.receiver(topic, "some"), 2) == ["1", "3"]
    assert receive(bus.receiver(topic, "all"), 4) == ["1", "2", "3", "4"]

    bus.assert_counts(topic, "all", total=0)
    bus.assert_counts(topic, "some", total=0)


def test_message_of_a_subscription_is_abandoned_peeked_and_dead_lettered(bus, topic):
    bus.topic_sender(topic).send_messages(ServiceBusMessage("bad", application_properties={"k": "v"}))
    receiver = bus.receiver(topic, "all")
    (message,) = receiver.receive_messages(1, 60)
    assert message.delivery_count == 0
    receiver.abandon_message(message)
    seen = receiver.peek_messages(5, sequence_number=message.sequence_number)
    assert [str(each) for each in seen] == ["bad"]
    (message,) = receiver.receive_messages(1, 60)
    assert message.delivery_count == 1
    assert message.enqueued_sequence_number is not None
    receiver.renew_message_lock(message)
    receiver.dead_letter_message(message, reason="why", error_description="because")
    bus.assert_counts(topic, "all", active=0, dead_lettered=1)

    dead = bus.receiver(topic, "all", sub_queue="deadletter")
    (message,) = dead.receive_messages(1, 60)
    assert (message.dead_letter_reason, message.dead_letter_error_description) == ("why", "because")
    assert message.application_properties[b"k"] == b"v"
    dead.complete_message(message)


def test_scheduled_messages_wait_in_the_topic_and_can_be_cancelled(bus, topic):
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    sender = bus.topic_sender(topic)
    _, cancel = sender.schedule_messages([ServiceBusMessage("later"), ServiceBusMessage("never")], due)
    sender.cancel_scheduled_messages(cancel)
    counts = bus.admin.get_topic_runtime_properties(topic)
    assert (counts.scheduled_message_count, counts.subscription_count) == (1, 2)
    assert receive(bus.receiver(topic, "all"), 1) == ["later"]
    assert datetime.now(UTC) >= due
    bus.assert_counts(topic, "all", total=0)


def test_subscription_forwards_to_a_queue(bus, shared_queue):
    topic = bus.topic()
    bus.admin.create_subscription(topic, "s", forward_to=shared_queue, auto_delete_on_idle=timedelta(minutes=5))
    assert bus.admin.get_subscription(topic, "s").forward_to.endswith(f"/{shared_queue}")
    bus.topic_sender(topic).send_messages(ServiceBusMessage("x"))
    assert receive(bus.receiver(shared_queue), 1) == ["x"]
    bus.assert_counts(topic, "s", total=0)
    with pytest.raises(ServiceBusError, match="auto-forwarding"), bus.client.get_subscription_receiver(topic, "s"):
        pass


def test_bad_names_and_missing_entities_are_refused(bus, topic):
    for name in ("x" * 51, "a b"):
        with pytest.raises(HttpResponseError) as refused:
            bus.admin.create_subscription(topic, name)
        assert refused.value.status_code == 400
    bus.admin.create_subscription(topic, "x" * 50)
    bus.admin.delete_subscription(topic, "x" * 50)
    with pytest.raises(ResourceNotFoundError):
        bus.admin.create_subscription("missing", "s")
    with pytest.raises(ResourceNotFoundError):
        bus.admin.create_rule(topic, "missing", "r")
    with pytest.raises(ResourceExistsError):
        bus.admin.create_queue(topic)
    with pytest.raises(MessagingEntityNotFoundError), bus.client.get_subscription_receiver(topic, "missing"):
        pass


def test_nobody_receives_from_a_topic(bus, topic):
    with pytest.raises(ServiceBusError), bus.client.get_queue_receiver(topic) as receiver:
        receiver.receive_messages(1, 1)


def test_message_that_cannot_be_forwarded_is_found_among_the_transfer_dead_letters(our_bus):
    end, topic = our_bus.queue(), our_bus.topic()
    our_bus.admin.create_subscription(topic, "s", forward_to=end)
    our_bus.admin.delete_queue(end)
    our_bus.topic_sender(topic).send_messages(ServiceBusMessage("lost"))
    counts = our_bus.admin.get_subscription_runtime_properties(topic, "s")
    assert (counts.transfer_dead_letter_message_count, counts.total_message_count) == (1, 1)
    lost = our_bus.receiver(topic, "s", sub_queue="transferdeadletter")
    assert receive(lost, 1) == ["lost"]


def test_control_api_knows_topics_and_subscriptions(our_bus):
    topic = our_bus.topic("s")
    path = f"{topic}/Subscriptions/s"
    with our_bus.client.get_subscription_receiver(topic, "s") as receiver:
        our_bus.topic_sender(topic).send_messages(ServiceBusMessage("x"))
        receiver.receive_messages(1, 60)
        counts = our_bus.control("counts")
        assert counts["topics"][topic] == {"scheduled": 0, "subscriptions": 1}
        assert counts["subscriptions"][path]["locked"] == 1
        assert our_bus.control("lose-locks", {"queue": topic})["lost"] == 1
        assert our_bus.control("detach", {"queue": path})["detached"] >= 1
        with pytest.raises(ServiceBusError):
            receiver.receive_messages(1, 60)


def test_links_to_what_was_in_a_deleted_topic_are_detached(our_bus):
    topic = our_bus.topic("s")
    with our_bus.client.get_subscription_receiver(topic, "s") as receiver:
        receiver.receive_messages(1, 0.1)
        our_bus.admin.delete_topic(topic)
        with pytest.raises(ServiceBusError, match=r"could not be found|deleted"):
            receiver.receive_messages(1, 60)
