"""One kombu connection in this process against a Service Bus: declaring, publishing, consuming, and what is refused."""

import contextlib
import json
import os
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusSubQueue
from azure.servicebus.exceptions import ServiceBusAuthenticationError
from azure.servicebus.management import ServiceBusAdministrationClient
from kombu import Connection, Consumer, Exchange, Producer, Queue

from geoetl.transport import signals
from geoetl.transport.clients import Clients
from geoetl.transport.errors import MessageTooLargeError, QueueUnavailableError
from geoetl.transport.options import Options
from geoetl.transport.urls import parse_connection_string


@pytest.fixture
def connect(connection_string: str) -> Iterator[Callable[..., Connection]]:
    connections: list[Connection] = []

    def make(url: str = "servicebus://", **options: Any) -> Connection:
        if url == "servicebus://":
            options.setdefault("connection_string", connection_string)
        connections.append(Connection(url, transport_options={"lock_duration_s": 2, **options}))
        return connections[-1]

    yield make
    for connection in connections:
        connection.release()


@pytest.fixture
def control(connection_string: str) -> Callable[..., dict[str, Any]]:
    """The emulator's fault injection."""
    if os.environ.get("TEST_SERVICEBUS"):
        pytest.skip("only the project's emulator breaks on demand")

    def call(command: str, **arguments: Any) -> dict[str, Any]:
        url = f"http://{parse_connection_string(connection_string).host}/$control/{command}"
        request = urllib.request.Request(url, data=json.dumps(arguments).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())

    return call


@pytest.fixture
def heard() -> Iterator[dict[str, list[dict[str, Any]]]]:
    """What was sent to each of the signals."""
    heard: dict[str, list[dict[str, Any]]] = {name: [] for name in ("lock_lost", "link_lost", "link_restored")}
    receivers = {name: (lambda _name=name, **facts: heard[_name].append(facts)) for name in heard}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver, weak=False)
    yield heard
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)


class Inbox:
    """A consumer of one queue that keeps what it got."""

    def __init__(self, connection: Connection, queue: str, *, prefetch: int = 10) -> None:
        self.connection = connection
        self.messages: list[Any] = []
        self.channel = connection.channel()
        consumer = Consumer(self.channel, [connection.SimpleQueue(queue).queue], on_message=self.messages.append)
        consumer.qos(prefetch_count=prefetch)
        consumer.consume()

    def wait(self, count: int, timeout_s: float = 5.0) -> list[Any]:
        self.look(timeout_s, until=count)
        assert len(self.messages) >= count, f"{len(self.messages)} of {count} messages came"
        return self.messages

    def look(self, for_s: float, *, until: int | None = None) -> list[Any]:
        deadline = time.monotonic() + for_s
        while (left := deadline - time.monotonic()) > 0 and (until is None or len(self.messages) < until):
            try:
                self.connection.drain_events(timeout=left)
            except TimeoutError:
                break
        return self.messages


def publish(connection: Connection, queue: str, *bodies: Any, **kwargs: Any) -> None:
    producer = Producer(connection.channel())
    for body in bodies:
        producer.publish(body, routing_key=queue, declare=[connection.SimpleQueue(queue).queue], **kwargs)


def test_every_form_of_url_reaches_the_same_queue(connect, connection_string, queue):
    address = parse_connection_string(connection_string)
    publish(connect(), queue, "by option")
    publish(connect(f"servicebus://{connection_string}"), queue, "by connection string")
    publish(connect(address.as_uri(mask=None)), queue, "by key")
    bodies = [message.payload for message in Inbox(connect(), queue).wait(3)]
    assert bodies == ["by option", "by connection string", "by key"]


@pytest.fixture
def admin(connection_string) -> Iterator[ServiceBusAdministrationClient]:
    with Clients(parse_connection_string(connection_string), Options()).admin() as admin:
        yield admin


def test_queue_is_created_as_the_options_say(connect, queue, admin):
    connection = connect(max_delivery_count=7, dead_letter_on_expiry=True)
    connection.channel().queue_declare(queue)
    found = admin.get_queue(queue)
    assert found.lock_duration == timedelta(seconds=2)
    assert found.max_delivery_count == 7
    assert found.dead_lettering_on_message_expiration is True


def test_passive_declare_counts_purge_empties_and_get_takes(connect, queue):
    connection = connect()
    channel = connection.channel()
    publish(connection, queue, 1, 2, 3)
    assert channel.queue_declare(queue, passive=True).message_count == 3
    assert channel.basic_get(queue).payload == 1
    assert channel.queue_purge(queue) == 2
    assert channel.queue_declare(queue, passive=True).message_count == 0


def test_passive_declare_of_a_missing_queue_is_a_channel_error(connect, queue):
    connection = connect()
    with pytest.raises(connection.channel_errors, match="NOT_FOUND"):
        connection.channel().queue_declare(queue, passive=True)


def test_without_create_queues_nothing_needs_the_administration_api(connect, queue):
    publish(connect(), queue, "first")
    publish(connect(create_queues=False, admin_endpoint="127.0.0.1:1"), queue, "second")
    inbox = Inbox(connect(create_queues=False, admin_endpoint="127.0.0.1:1"), queue)
    assert [message.payload for message in inbox.wait(2)] == ["first", "second"]


def test_without_create_queues_a_missing_queue_is_named(connect, queue):
    with pytest.raises(QueueUnavailableError, match=f"'{queue}'.*create_queues"):
        publish(connect(create_queues=False), queue, "lost")


@pytest.fixture
def with_wrong_key(connection_string) -> str:
    address = parse_connection_string(connection_string)
    return address.as_uri(mask=None).replace(address.key or "", "bm90IHRoZSBrZXk=")


def test_wrong_key_is_an_authentication_error_of_kombu(connect, with_wrong_key, queue):
    connection = connect(with_wrong_key, create_queues=False, send_attempts=1)
    with pytest.raises(connection.connection_errors, match="refused the credential") as refused:
        publish(connection, queue, "lost")
    assert isinstance(refused.value, ServiceBusAuthenticationError)


def test_queue_that_may_not_be_created_is_named_with_the_answer(connect, with_wrong_key, queue):
    with pytest.raises(QueueUnavailableError, match=f"'{queue}': the namespace answered 401 .*create_queues"):
        connect(with_wrong_key).channel().queue_declare(queue)


def test_namespace_out_of_reach_is_a_connection_error_of_kombu(connect):
    connection = connect("servicebus://root:a2V5@127.0.0.1:1")
    with pytest.raises(connection.connection_errors, match=r"Cannot reach Service Bus at 127\.0\.0\.1, port 1"):
        connection.connect()


def test_publish_to_an_exchange_without_a_bound_queue_is_refused(connect):
    producer = Producer(connect().channel(), exchange=Exchange("nowhere"))
    with pytest.raises(QueueUnavailableError, match="No queue is bound to exchange 'nowhere'"):
        producer.publish("lost", routing_key="key")


def test_publish_to_an_exchange_reaches_the_bound_queue(connect, queue):
    connection = connect()
    bound = Queue(queue, Exchange("somewhere"), routing_key="key")
    Producer(connection.channel()).publish("x", exchange="somewhere", routing_key="key", declare=[bound])
    assert Inbox(connection, queue).wait(1)[0].payload == "x"


def test_temporary_queue_is_left_to_the_service_to_delete(connect, queue, admin):
    connect().channel().queue_declare(queue, auto_delete=True)
    assert admin.get_queue(queue).auto_delete_on_idle == timedelta(minutes=5)


def test_prefix_and_marks_of_a_queue_name_are_mapped(connect, queue):
    publish(connect(queue_name_prefix="team-"), f"{queue}@host", "x")
    assert Inbox(connect(), f"team-{queue}_host").wait(1)[0].payload == "x"


def test_too_large_a_message_is_refused_with_its_size_and_the_limit(connect, queue):
    connection = connect()
    with pytest.raises(MessageTooLargeError, match=r"takes [\d,]+ bytes, the namespace accepts [\d,]+") as refused:
        publish(connection, queue, "x" * 2_000_000)
    assert refused.value.size_bytes > refused.value.limit_bytes
    publish(connection, queue, "small")
    assert Inbox(connection, queue).wait(1)[0].payload == "small"


def test_a_batch_larger_than_one_frame_of_the_service_is_split(connect, queue):
    connection = connect()
    producer = Producer(connection.channel())
    with producer.batch():
        for index in range(20):
            producer.publish([index, "x" * 50_000], routing_key=queue, declare=[connection.SimpleQueue(queue).queue])
    bodies = [message.payload[0] for message in Inbox(connection, queue, prefetch=20).wait(20)]
    assert bodies == list(range(20))


def test_failing_batch_sends_nothing(connect, queue):
    connection = connect()
    producer = Producer(connection.channel())

    def publish_and_fail() -> None:
        with producer.batch():
            producer.publish("x", routing_key=queue, declare=[connection.SimpleQueue(queue).queue])
            raise LookupError

    with pytest.raises(LookupError):
        publish_and_fail()
    assert connection.channel().queue_declare(queue, passive=True).message_count == 0


def test_late_wake_up_is_not_taken_for_a_timeout(connect, queue):
    connection = connect()
    inbox = Inbox(connection, queue)
    publish(connection, queue, "x", headers={"eta": (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()})
    inbox.channel.connection._wakeup.set()  # as if for a message that was delivered already
    connection.drain_events(timeout=5)
    assert [message.payload for message in inbox.messages] == ["x"]


def test_failing_handler_does_not_hold_up_the_messages_behind(connect, queue):
    connection = connect()
    publish(connection, queue, 1, 2, 3)
    inbox = Inbox(connection, queue, prefetch=1)
    inbox.wait(1)

    def fail(message: Any) -> None:
        raise LookupError

    channel = inbox.channel
    channel.connection._callbacks[queue] = fail
    channel.basic_qos(prefetch_count=3)
    with pytest.raises(LookupError):
        connection.drain_events(timeout=5)
    channel.connection._callbacks[queue] = inbox.messages.append
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


def test_message_of_somebody_else_is_dead_lettered_with_the_reason(connect, queue, connection_string):
    connection = connect()
    inbox = Inbox(connection, queue)
    with ServiceBusClient.from_connection_string(connection_string) as client:
        with client.get_queue_sender(queue) as sender:
            sender.send_messages(ServiceBusMessage(b"hello"))
        assert inbox.look(0.5) == []
        with client.get_queue_receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as dead_letters:
            (message,) = dead_letters.receive_messages(1, max_wait_time=5)
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
            connection.drain_events(timeout=5)
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
