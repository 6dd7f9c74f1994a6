"""Bodies over the limit go to a blob container (Azurite) and come back; nothing is left behind."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusSubQueue
from azure.storage.blob import ContainerClient
from kombu import Connection, Consumer, Producer

from geoetl.transport.blob_bodies import BlobBodyStore
from geoetl.transport.bodies import BodyMissingError
from geoetl.transport.clients import Clients
from geoetl.transport.dead_letters import Messages
from geoetl.transport.errors import MessageTooLargeError
from geoetl.transport.options import Options
from geoetl.transport.urls import parse_connection_string

LARGE = "é" * 600_000
SMALL = "small"


@pytest.fixture
def container(azurite: str) -> Iterator[ContainerClient]:
    """A container that does not exist yet."""
    with ContainerClient.from_connection_string(azurite, f"bodies-{uuid.uuid4().hex[:8]}") as client:
        yield client


@pytest.fixture
def connect(connection_string: str) -> Iterator[Callable[..., Connection]]:
    connections: list[Connection] = []

    def make(**options: Any) -> Connection:
        given = {"connection_string": connection_string, "lock_duration_s": 2, "requeue_delay_s": 0.05, **options}
        connections.append(Connection("servicebus://", transport_options=given))
        return connections[-1]

    yield make
    for connection in connections:
        connection.release()


@pytest.fixture
def storing(connect: Callable[..., Connection], azurite: str, container: ContainerClient) -> Connection:
    return connect(body_store_connection_string=azurite, body_store_container=container.container_name)


def publish(connection: Connection, queue: str, *bodies: str) -> None:
    producer = Producer(connection.channel())
    for body in bodies:
        producer.publish(body, routing_key=queue, declare=[connection.SimpleQueue(queue).queue])


def consume(connection: Connection, queue: str, count: int, *, no_ack: bool = False, for_s: float = 60.0) -> list[Any]:
    messages: list[Any] = []
    consumer = Consumer(
        connection.channel(), [connection.SimpleQueue(queue).queue], on_message=messages.append, no_ack=no_ack
    )
    consumer.qos(prefetch_count=10)
    consumer.consume()
    deadline = time.monotonic() + for_s
    while len(messages) < count and time.monotonic() < deadline:
        try:
            connection.drain_events(timeout=0.2)
        except TimeoutError:
            continue
    consumer.cancel()
    return messages


def stored(container: ContainerClient) -> list[str]:
    return list(container.list_blob_names())


def wait_until_empty(container: ContainerClient) -> None:
    deadline = time.monotonic() + 60
    while left := stored(container):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def dead_letters(connection_string: str, queue: str) -> list[tuple[str, str]]:
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as receiver,
    ):
        return [
            (each.dead_letter_reason or "", each.dead_letter_error_description or "")
            for each in receiver.peek_messages(10)
        ]


def test_large_body_comes_back_and_is_deleted_when_the_message_is_completed(storing, container, queue):
    publish(storing, queue, LARGE, SMALL)
    assert len(stored(container)) == 1

    messages = consume(storing, queue, 2)
    assert sorted(message.payload for message in messages) == [SMALL, LARGE]
    assert len(stored(container)) == 1

    for message in messages:
        message.ack()
    wait_until_empty(container)


def test_body_stays_until_the_message_is_settled_for_good(storing, container, queue):
    publish(storing, queue, LARGE)

    (first,) = consume(storing, queue, 1)
    first.requeue()
    (again,) = consume(storing, queue, 1)

    assert again.payload == LARGE
    again.ack()
    wait_until_empty(container)


def test_consumer_without_acknowledgement_gets_the_body_and_leaves_none(storing, container, queue):
    publish(storing, queue, LARGE)

    (message,) = consume(storing, queue, 1, no_ack=True)

    assert message.payload == LARGE
    wait_until_empty(container)


def test_get_brings_the_body_and_leaves_none(storing, container, queue):
    publish(storing, queue, LARGE)

    message = storing.channel().basic_get(queue)

    assert message is not None
    assert message.payload == LARGE
    wait_until_empty(container)


def test_batch_of_large_bodies_arrives_whole(storing, container, queue):
    producer = Producer(storing.channel())
    with producer.batch():
        for number in range(3):
            producer.publish(LARGE + str(number), routing_key=queue, declare=[storing.SimpleQueue(queue).queue])

    messages = consume(storing, queue, 3)

    assert sorted(message.payload[-1] for message in messages) == ["0", "1", "2"]
    for message in messages:
        message.ack()
    wait_until_empty(container)


def test_body_of_a_dead_letter_stays_and_comes_back_with_it(storing, container, connection_string, queue):
    publish(storing, queue, LARGE)
    consume(storing, queue, 1)[0].reject()
    deadline = time.monotonic() + 60
    while not dead_letters(connection_string, queue):
        assert time.monotonic() < deadline
    assert len(stored(container)) == 1

    Messages(Clients(parse_connection_string(connection_string), Options())).requeue(queue)

    (message,) = consume(storing, queue, 1)
    assert message.payload == LARGE
    message.ack()
    wait_until_empty(container)


def test_message_whose_body_is_gone_is_dead_lettered_with_the_reason(storing, container, connection_string, queue):
    publish(storing, queue, LARGE, SMALL)
    (name,) = stored(container)
    container.delete_blob(name)

    assert [message.payload for message in consume(storing, queue, 2, for_s=2)] == [SMALL]

    ((reason, description),) = dead_letters(connection_string, queue)
    assert reason == "BodyMissing"
    assert name in description


def test_message_goes_back_while_its_body_cannot_be_had(storing, connect, queue, caplog):
    publish(storing, queue, LARGE)
    without_store = connect()

    assert consume(without_store, queue, 1, for_s=1) == []
    without_store.release()

    assert "set the transport option `body_store`" in caplog.text
    (message,) = consume(storing, queue, 1)
    assert (message.payload, message.delivery_info["redelivered"]) == (LARGE, True)
    message.ack()


def test_without_a_store_the_refusal_names_it(connect, queue):
    with pytest.raises(MessageTooLargeError, match="`body_store`"):
        publish(connect(), queue, LARGE)


def test_any_object_with_the_three_methods_is_a_store(connect, queue):
    class Memory:
        def __init__(self) -> None:
            self.bodies: dict[str, bytes] = {}
            self.is_empty = threading.Event()

        def put(self, name: str, body: bytes) -> None:
            self.bodies[name] = body

        def get(self, name: str) -> bytes:
            return self.bodies[name]

        def delete(self, name: str) -> None:
            del self.bodies[name]
            self.is_empty.set()

    store = Memory()
    connection = connect(body_store=store, body_store_from_bytes=10)

    publish(connection, queue, "longer than ten bytes")
    (message,) = consume(connection, queue, 1)
    assert message.payload == "longer than ten bytes"
    message.ack()

    assert store.is_empty.wait(60)


def test_forked_child_uses_connections_of_its_own(azurite, container):
    store = BlobBodyStore(container)
    store.put("from/parent", b"parent")

    pid = os.fork()
    if pid == 0:  # nothing of pytest may run here
        ok = store.get("from/parent") == b"parent"
        store.put("from/child", b"child")
        os._exit(0 if ok else 1)

    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert store.get("from/child") == b"child"
    store.delete("from/child")
    with pytest.raises(BodyMissingError, match="from/child"):
        store.get("from/child")
