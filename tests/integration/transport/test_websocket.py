"""AMQP over WebSocket and through a proxy: the same reactor, the same guarantees."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Connection, Consumer, Producer

from geoetl.transport.errors import InvalidOptionError
from geoetl.transport.options import Options
from geoetl.transport.route import first_hop
from geoetl.transport.urls import parse_address, parse_connection_string

from .websocket_gate import ConnectProxy, WebSocketGate, closing

pytestmark = pytest.mark.skipif("TEST_SERVICEBUS" in os.environ, reason="the gate is in front of an emulator here")


@pytest.fixture
def gate(connection_string: str) -> Iterator[WebSocketGate]:
    _, port = parse_connection_string(connection_string).host_and_port
    with closing(WebSocketGate(port)) as gate:
        yield gate


@pytest.fixture
def connect(connection_string: str, gate: WebSocketGate) -> Iterator[Callable[..., Connection]]:
    connections: list[Connection] = []

    def make(**options: Any) -> Connection:
        given = {
            "connection_string": connection_string, "lock_duration_s": 2, "transport_type": "websocket",
            "endpoint_address": f"sb://127.0.0.1:{gate.port}", **options,
        }  # fmt: skip
        connections.append(Connection("servicebus://", transport_options=given))
        return connections[-1]

    yield make
    for connection in connections:
        connection.release()


class Inbox:
    def __init__(self, connection: Connection, queue: str) -> None:
        self.connection = connection
        self.messages: list[Any] = []
        queues = [connection.SimpleQueue(queue).queue]
        self.consumer = Consumer(connection.channel(), queues, on_message=self.messages.append, prefetch_count=50)
        self.consumer.consume()

    def wait(self, count: int, timeout_s: float = 60.0) -> list[Any]:
        deadline = time.monotonic() + timeout_s
        while len(self.messages) < count:
            assert time.monotonic() < deadline, f"{len(self.messages)} of {count} messages came"
            try:
                self.connection.drain_events(timeout=0.2)
            except TimeoutError:
                continue
        return self.messages


def publish(connection: Connection, queue: str, *bodies: Any) -> None:
    producer = Producer(connection.channel())
    for body in bodies:
        producer.publish(body, routing_key=queue, declare=[connection.SimpleQueue(queue).queue])


def test_messages_go_both_ways_over_the_websocket_only(connect, gate, queue):
    connection = connect()
    publish(connection, queue, *range(50))

    messages = Inbox(connection, queue).wait(50)

    assert [message.payload for message in messages] == list(range(50))
    for message in messages:
        message.ack()
    connection.release()
    assert gate.accepted >= 3, "a probe, a sender and a receiver"
    with connect() as again:
        assert again.channel().queue_declare(queue, passive=True).message_count == 0


def test_messages_of_many_frames_arrive_whole(connect, queue):
    connection = connect()
    bodies = [str(number) * 200_000 for number in range(5)]
    publish(connection, queue, *bodies)

    messages = Inbox(connection, queue).wait(5)

    assert [message.payload for message in messages] == bodies
    for message in messages:
        message.ack()


def test_held_message_stays_ours_for_many_locks(connect, queue):
    connection = connect()
    publish(connection, queue, "long")
    inbox = Inbox(connection, queue)
    (message,) = inbox.wait(1)

    time.sleep(5)
    message.ack()
    time.sleep(0.2)

    assert len(inbox.messages) == 1
    assert connection.channel().queue_declare(queue, passive=True).message_count == 0


def test_cut_websocket_is_opened_again(connect, gate, queue):
    connection = connect()
    publish(connection, queue, "before")
    inbox = Inbox(connection, queue)
    (before,) = inbox.wait(1)

    gate.cut_all()
    before.ack()  # over another connection, by its lock token
    publish(connection, queue, "after")

    assert [message.payload for message in inbox.wait(2)] == ["before", "after"]


def test_idle_websocket_costs_no_processor_time(connect, queue):
    connection = connect()
    publish(connection, queue, "first")
    Inbox(connection, queue).wait(1)[0].ack()
    time.sleep(0.5)

    before = time.process_time()
    time.sleep(2)

    assert time.process_time() - before < 0.1


def test_proxy_is_the_only_way_taken(connect, queue):
    with closing(ConnectProxy(user="me", password="p@ss")) as proxy:
        connection = connect(http_proxy=f"http://me:p%40ss@127.0.0.1:{proxy.port}", transport_type="amqp")
        publish(connection, queue, "through")

        (message,) = Inbox(connection, queue).wait(1)

        assert message.payload == "through"
        message.ack()
        connection.release()
        assert proxy.accepted >= 3


def test_first_hop_is_what_is_probed():
    address = parse_address("servicebus://DefaultAzureCredential@space")

    assert first_hop(address, Options()) == ("space.servicebus.windows.net", 5671)
    assert first_hop(address, Options(transport_type="websocket")) == ("space.servicebus.windows.net", 443)
    assert first_hop(address, Options(endpoint_address="gateway.example")) == ("gateway.example", 5671)
    assert first_hop(address, Options(http_proxy="http://proxy:3128")) == ("proxy", 3128)


def test_proxy_without_a_port_is_refused_without_showing_its_password():
    with pytest.raises(InvalidOptionError) as caught:
        Options(http_proxy="http://me:secret@proxy")
    assert "secret" not in str(caught.value)
