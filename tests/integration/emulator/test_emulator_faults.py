"""What clients meet when connections break, tokens expire, locks are lost and the service is busy or slow."""

import gc
import time
import urllib.error
from contextlib import ExitStack

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusError,
    ServiceBusServerBusyError,
)

from geoetl.emulator import AccessPolicy, EmulatorServer
from geoetl.emulator.server import DEFAULT_KEY, DEFAULT_KEY_NAME

# The SDK leaves sockets open whose peer broke the connection.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def collect_broken_sockets():
    yield
    gc.collect()


@pytest.mark.usefixtures("our_bus")
def test_clients_come_back_after_all_connections_were_dropped(new_bus):
    with EmulatorServer.in_thread() as server, ExitStack() as stack:
        bus = new_bus(server.connection_string, stack)
        queue = bus.queue()
        client = bus.new_client(retry_total=3, retry_backoff_factor=0.1)
        with client.get_queue_sender(queue) as sender, client.get_queue_receiver(queue) as receiver:
            sender.send_messages(ServiceBusMessage("before"))
            (held,) = receiver.receive_messages(1, 60)
            assert bus.control("drop")["dropped"] == 2
            sender.send_messages(ServiceBusMessage("after"))
            assert bus.locked(queue) == 1
            receiver.complete_message(held)
            (message,) = receiver.receive_messages(1, 60)
            assert str(message) == "after"
            receiver.complete_message(message)


def test_detached_links_are_told_why(our_bus):
    queue = our_bus.queue()
    with our_bus.client.get_queue_receiver(queue) as receiver:
        receiver.receive_messages(1, 0.1)
        assert our_bus.control("detach", {"queue": queue, "condition": "amqp:link:detach-forced"})["detached"] >= 1
        with pytest.raises(ServiceBusError, match="detach-forced"):
            receiver.receive_messages(1, 60)


def test_links_to_a_deleted_queue_are_detached(our_bus):
    queue = our_bus.queue()
    with our_bus.client.get_queue_receiver(queue) as receiver:
        receiver.receive_messages(1, 0.1)
        our_bus.admin.delete_queue(queue)
        with pytest.raises(ServiceBusError):
            receiver.receive_messages(1, 60)
    with pytest.raises(MessagingEntityNotFoundError), our_bus.client.get_queue_receiver(queue):
        pass


def test_lost_lock_is_reported_to_its_holder(our_bus, shared_queue):
    sender, receiver = our_bus.sender(shared_queue), our_bus.receiver(shared_queue)
    sender.send_messages(ServiceBusMessage("x"))
    (message,) = receiver.receive_messages(1, 60)
    assert our_bus.control("lose-locks", {"queue": shared_queue})["lost"] == 1
    with pytest.raises(MessageLockLostError):
        receiver.complete_message(message)
    (message,) = receiver.receive_messages(1, 60)
    assert message.delivery_count == 1
    receiver.complete_message(message)


def test_delivery_settled_by_its_token_leaves_the_link_it_went_out_on(our_bus, server, shared_queue):
    def unsettled(it):
        sessions = [session for connection in it.broker.connections for session in connection._sessions.values()]
        return sum(len(session._unsettled) for session in sessions)

    our_bus.sender(shared_queue).send_messages([ServiceBusMessage(str(number)) for number in range(3)])
    receiver, control = our_bus.receiver(shared_queue), our_bus.client.get_queue_receiver(shared_queue)
    messages = []
    while len(messages) < 3:
        messages += receiver.receive_messages(3, 60)
    before = server.call(unsettled)
    with control:
        control._settle_message_via_mgmt_link("completed", [messages[0].lock_token, messages[1].lock_token])
    assert server.call(unsettled) == before - 2
    # Whoever settles again is told, and does not wait for an answer that never comes.
    started = time.monotonic()
    with pytest.raises(MessageLockLostError):
        receiver.complete_message(messages[0])
    assert time.monotonic() - started < 2
    receiver.complete_message(messages[2])
    assert server.call(unsettled) == before - 3


def test_throttled_send_is_refused_and_the_next_one_is_not(our_bus, shared_queue):
    sender, receiver = our_bus.sender(shared_queue), our_bus.receiver(shared_queue)
    our_bus.control("throttle", {"sends": 1})
    with pytest.raises(ServiceBusServerBusyError):
        sender.send_messages(ServiceBusMessage("x"))
    assert our_bus.counts(shared_queue)["active"] == 0
    sender.send_messages(ServiceBusMessage("x"))
    assert our_bus.counts(shared_queue)["active"] == 1
    receiver.complete_message(receiver.receive_messages(1, 60)[0])


def test_slow_settlement_answers_late(our_bus, shared_queue):
    sender, receiver = our_bus.sender(shared_queue), our_bus.receiver(shared_queue)
    sender.send_messages(ServiceBusMessage("x"))
    (message,) = receiver.receive_messages(1, 60)
    our_bus.control("slow-settlements", {"delay_s": 0.4})
    started = time.monotonic()
    receiver.complete_message(message)
    assert 0.35 < time.monotonic() - started < 3
    our_bus.control("slow-settlements", {"delay_s": 0})


def test_wrong_key_is_an_authentication_error(our_bus, shared_queue):
    client = our_bus.new_client(our_bus.connection_string.replace(DEFAULT_KEY, "wrong"))
    with pytest.raises(ServiceBusAuthenticationError), client.get_queue_sender(shared_queue):
        pass


def test_token_for_another_queue_is_an_authentication_error(our_bus, shared_queue):
    token = AccessPolicy(DEFAULT_KEY_NAME, DEFAULT_KEY).sign(f"sb://{our_bus.address}/other", int(time.time()) + 60)
    with (
        pytest.raises(ServiceBusAuthenticationError),
        _client(our_bus, token) as client,
        client.get_queue_sender(shared_queue),
    ):
        pass


def test_link_is_detached_when_its_token_expires(our_bus):
    queue = our_bus.queue()
    token = AccessPolicy(DEFAULT_KEY_NAME, DEFAULT_KEY).sign(f"sb://{our_bus.address}/{queue}", int(time.time()) + 2)
    with _client(our_bus, token) as client, client.get_queue_receiver(queue) as receiver:
        receiver.receive_messages(1, 0.1)
        time.sleep(2.2)
        with pytest.raises(ServiceBusError):
            receiver.receive_messages(1, 60)


def test_unknown_control_request_names_those_there_are(our_bus):
    with pytest.raises(urllib.error.HTTPError) as refused:
        our_bus.control("explode")
    with refused.value as answer:
        assert answer.code == 404
        assert "POST drop" in answer.read().decode()


def _client(bus, token: str) -> ServiceBusClient:
    """A client with a token that it cannot renew."""
    endpoint = f"Endpoint=sb://{bus.address};SharedAccessSignature={token};UseDevelopmentEmulator=true;"
    return ServiceBusClient.from_connection_string(endpoint, retry_total=0, keep_alive=0)
