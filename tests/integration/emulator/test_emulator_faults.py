"""What clients meet when connections break, tokens expire, locks are lost and the service is busy or slow."""

import gc
import time
import urllib.error

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusError,
    ServiceBusServerBusyError,
)

from geoetl.emulator import AccessPolicy
from geoetl.emulator.server import DEFAULT_KEY, DEFAULT_KEY_NAME

# The SDK leaves sockets open whose peer broke the connection.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def collect_broken_sockets():
    yield
    gc.collect()


def test_clients_come_back_after_all_connections_were_dropped(bus, shared_queue):
    client = bus.new_client(retry_total=3, retry_backoff_factor=0.1)
    with client.get_queue_sender(shared_queue) as sender, client.get_queue_receiver(shared_queue) as receiver:
        sender.send_messages(ServiceBusMessage("before"))
        (held,) = receiver.receive_messages(1, 3)
        assert bus.control("drop")["dropped"] == 2
        sender.send_messages(ServiceBusMessage("after"))
        assert bus.counts(shared_queue)["locked"] == 1
        receiver.complete_message(held)
        (message,) = receiver.receive_messages(1, 5)
        assert str(message) == "after"
        receiver.complete_message(message)


def test_detached_links_are_told_why(bus):
    queue = bus.queue()
    with bus.client.get_queue_receiver(queue) as receiver:
        receiver.receive_messages(1, 0.1)
        assert bus.control("detach", {"queue": queue, "condition": "amqp:link:detach-forced"})["detached"] >= 1
        with pytest.raises(ServiceBusError, match="detach-forced"):
            receiver.receive_messages(1, 2)


def test_links_to_a_deleted_queue_are_detached(bus):
    queue = bus.queue()
    with bus.client.get_queue_receiver(queue) as receiver:
        receiver.receive_messages(1, 0.1)
        bus.admin.delete_queue(queue)
        with pytest.raises(ServiceBusError):
            receiver.receive_messages(1, 2)
    with pytest.raises(MessagingEntityNotFoundError), bus.client.get_queue_receiver(queue):
        pass


def test_lost_lock_is_reported_to_its_holder(bus, shared_queue):
    with bus.client.get_queue_sender(shared_queue) as sender, bus.client.get_queue_receiver(shared_queue) as receiver:
        sender.send_messages(ServiceBusMessage("x"))
        (message,) = receiver.receive_messages(1, 3)
        assert bus.control("lose-locks", {"queue": shared_queue})["lost"] == 1
        with pytest.raises(MessageLockLostError):
            receiver.complete_message(message)
        (message,) = receiver.receive_messages(1, 3)
        assert message.delivery_count == 1
        receiver.complete_message(message)


def test_throttled_send_is_refused_and_the_next_one_is_not(bus, shared_queue):
    with bus.client.get_queue_sender(shared_queue) as sender:
        bus.control("throttle", {"sends": 1})
        with pytest.raises(ServiceBusServerBusyError):
            sender.send_messages(ServiceBusMessage("x"))
        assert bus.counts(shared_queue)["active"] == 0
        sender.send_messages(ServiceBusMessage("x"))
        assert bus.counts(shared_queue)["active"] == 1


def test_slow_settlement_answers_late(bus):
    queue = bus.queue()
    with bus.client.get_queue_sender(queue) as sender, bus.client.get_queue_receiver(queue) as receiver:
        sender.send_messages(ServiceBusMessage("x"))
        (message,) = receiver.receive_messages(1, 3)
        bus.control("slow-settlements", {"delay_s": 0.4})
        started = time.monotonic()
        receiver.complete_message(message)
        assert 0.35 < time.monotonic() - started < 3
        bus.control("slow-settlements", {"delay_s": 0})


def test_wrong_key_is_an_authentication_error(bus, shared_queue):
    client = bus.new_client(bus.connection_string.replace(DEFAULT_KEY, "wrong"))
    with pytest.raises(ServiceBusAuthenticationError), client.get_queue_sender(shared_queue):
        pass


def test_token_for_another_queue_is_an_authentication_error(bus, shared_queue):
    token = AccessPolicy(DEFAULT_KEY_NAME, DEFAULT_KEY).sign(f"sb://{bus.address}/other", int(time.time()) + 60)
    with (
        pytest.raises(ServiceBusAuthenticationError),
        _client(bus, token) as client,
        client.get_queue_sender(shared_queue),
    ):
        pass


def test_link_is_detached_when_its_token_expires(bus):
    queue = bus.queue()
    token = AccessPolicy(DEFAULT_KEY_NAME, DEFAULT_KEY).sign(f"sb://{bus.address}/{queue}", int(time.time()) + 2)
    with _client(bus, token) as client, client.get_queue_receiver(queue) as receiver:
        receiver.receive_messages(1, 0.1)
        time.sleep(2.2)
        with pytest.raises(ServiceBusError):
            receiver.receive_messages(1, 2)


def test_unknown_control_request_names_those_there_are(bus):
    with pytest.raises(urllib.error.HTTPError) as refused:
        bus.control("explode")
    with refused.value as answer:
        assert answer.code == 404
        assert "POST drop" in answer.read().decode()


def _client(bus, token: str) -> ServiceBusClient:
    """A client with a token that it cannot renew."""
    endpoint = f"Endpoint=sb://{bus.address};SharedAccessSignature={token};UseDevelopmentEmulator=true;"
    return ServiceBusClient.from_connection_string(endpoint, retry_total=0, keep_alive=0)
