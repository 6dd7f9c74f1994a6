"""A kombu connection in this process against a Service Bus: connecting, declaring, publishing, what is refused."""

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch
from azure.servicebus.exceptions import ServiceBusAuthenticationError
from kombu import Exchange, Producer, Queue

from geoetl.transport import sdk
from geoetl.transport.errors import MessageTooLargeError, QueueUnavailableError
from geoetl.transport.namespace import Namespace
from geoetl.transport.options import Options
from geoetl.transport.urls import parse_address, parse_connection_string
from tests.integration.transport.inboxes import Inbox, publish


def test_every_form_of_url_reaches_the_same_queue(connect, connection_string, queue):
    address = parse_connection_string(connection_string)
    publish(connect(), queue, "by option")
    publish(connect(f"servicebus://{connection_string}"), queue, "by connection string")
    publish(connect(address.as_uri(mask=None)), queue, "by key")
    bodies = [message.payload for message in Inbox(connect(), queue).wait(3)]
    assert bodies == ["by option", "by connection string", "by key"]


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


def test_a_queue_that_the_service_will_not_create_is_named(connect):
    with pytest.raises(QueueUnavailableError, match=r"'-bad-': the namespace answered 400 .*cannot be the name"):
        publish(connect(), "-bad-", "lost")


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


@pytest.fixture
def admin_that_answers() -> Iterator[Callable[[int], str]]:
    """Start an administration API that answers every request with one status."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Retry-After", "0")  # the SDK repeats some, and would wait for seconds
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [429, 503])
def test_administration_that_is_throttled_or_ill_is_a_connection_error_of_kombu(
    connect, queue, admin_that_answers, status
):
    connection = connect(admin_endpoint=admin_that_answers(status))
    with pytest.raises(connection.connection_errors, match=f"'{queue}' yet: the namespace answered {status}"):
        connection.channel().queue_declare(queue)


def test_administration_that_refuses_is_a_channel_error_of_kombu(connect, queue, admin_that_answers):
    connection = connect(admin_endpoint=admin_that_answers(400))
    with pytest.raises(QueueUnavailableError, match=f"'{queue}': the namespace answered 400"):
        connection.channel().queue_declare(queue)


def test_namespace_out_of_reach_is_a_connection_error_of_kombu(connect):
    connection = connect("servicebus://root:a2V5@127.0.0.1:1")
    with pytest.raises(connection.connection_errors, match=r"Cannot reach Service Bus at 127\.0\.0\.1, port 1"):
        connection.connect()


def test_namespace_that_was_reached_is_looked_for_again():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        namespace = Namespace(parse_address(f"servicebus://root:a2V5@127.0.0.1:{port}"), Options())
        namespace.check_reachable(timeout_s=5)
    with pytest.raises(ConnectionError, match=f"port {port}"):
        namespace.check_reachable(timeout_s=5)


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


def test_a_batch_that_is_full_by_the_count_of_the_sdk_is_not_too_large_for_the_service(connect, queue):
    connection = connect()
    simple = connection.SimpleQueue(queue)
    limit = 256 * 1024
    full = ServiceBusMessageBatch(max_size_in_bytes=limit)
    messages = [ServiceBusMessage(b"x" * 130_000, message_id="m" * 100) for _ in range(2)]
    full.add_message(messages[0])
    left = limit - full.size_in_bytes - sdk.encoded_size(messages[1]) - 8
    messages[1] = ServiceBusMessage(b"x" * (130_000 + left), message_id="m" * 100)
    full.add_message(messages[1])
    assert full.size_in_bytes == limit
    simple.channel.namespace.send(queue, messages)


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
