"""Administration through the SDK, and over bare HTTP where the SDK would not go."""

import time
import urllib.error
import urllib.request
from datetime import timedelta

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.servicebus import ServiceBusMessage

from geoetl.emulator import AccessPolicy
from geoetl.emulator.server import DEFAULT_KEY, DEFAULT_KEY_NAME

BAD_ENTRY = (
    b'<entry xmlns="http://www.w3.org/2005/Atom"><content type="application/xml"><QueueDescription xmlns='
    b'"http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"><LockDuration>soon</LockDuration>'
    b"</QueueDescription></content></entry>"
)


def request(bus, method: str, path: str, body: bytes | None = None, *, is_signed: bool = True) -> tuple[int, str]:
    token = AccessPolicy(DEFAULT_KEY_NAME, DEFAULT_KEY).sign(f"sb://{bus.address}/", int(time.time()) + 60)
    headers = {"Authorization": token} if is_signed else {}
    call = urllib.request.Request(f"http://{bus.address}/{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(call, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_queue_keeps_every_setting(bus):
    made = bus.admin.create_queue(
        "kept",
        lock_duration=timedelta(seconds=7),
        max_delivery_count=4,
        default_message_time_to_live=timedelta(days=2),
        dead_lettering_on_message_expiration=True,
        auto_delete_on_idle=timedelta(minutes=10),
        max_size_in_megabytes=2048,
        enable_batched_operations=False,
        user_metadata="for <you> & me",
    )
    for queue in (made, bus.admin.get_queue("kept")):
        assert queue.name == "kept"
        assert queue.lock_duration == timedelta(seconds=7)
        assert queue.max_delivery_count == 4
        assert queue.default_message_time_to_live == timedelta(days=2)
        assert queue.dead_lettering_on_message_expiration is True
        assert queue.auto_delete_on_idle == timedelta(minutes=10)
        assert queue.max_size_in_megabytes == 2048
        assert queue.enable_batched_operations is False
        assert queue.user_metadata == "for <you> & me"


def test_defaults_are_echoed(bus):
    queue = bus.admin.get_queue(bus.queue())
    assert queue.lock_duration == timedelta(minutes=1)
    assert queue.max_delivery_count == 10
    assert queue.status == "Active"
    assert queue.requires_session is False


def test_update_changes_what_it_names(bus):
    queue = bus.admin.get_queue(bus.queue(max_delivery_count=4))
    queue.lock_duration = timedelta(seconds=9)
    bus.admin.update_queue(queue)
    updated = bus.admin.get_queue(queue.name)
    assert (updated.lock_duration, updated.max_delivery_count) == (timedelta(seconds=9), 4)


def test_counts_are_those_of_service_bus(bus, shared_queue):
    bus.sender(shared_queue).send_messages([ServiceBusMessage(str(number)) for number in range(3)])
    receiver = bus.receiver(shared_queue)
    (held,) = receiver.receive_messages(1, 3)
    (bad,) = receiver.receive_messages(1, 3)
    receiver.dead_letter_message(bad)

    counts = bus.admin.get_queue_runtime_properties(shared_queue)

    assert (counts.active_message_count, counts.dead_letter_message_count, counts.total_message_count) == (2, 1, 3)
    assert counts.size_in_bytes > 0
    assert counts.created_at_utc <= counts.accessed_at_utc
    receiver.complete_message(held)


def test_queues_are_listed_page_by_page(bus):
    names = {f"many-{number:03}" for number in range(130)}
    for name in names:
        bus.admin.create_queue(name)
    assert names <= {queue.name for queue in bus.admin.list_queues()}
    assert names <= {queue.name for queue in bus.admin.list_queues_runtime_properties()}
    for name in names:
        bus.admin.delete_queue(name)
    assert not names & {queue.name for queue in bus.admin.list_queues()}


def test_second_creation_conflicts(bus, shared_queue):
    with pytest.raises(ResourceExistsError):
        bus.admin.create_queue(shared_queue.upper())


def test_what_is_missing_is_not_found(bus):
    with pytest.raises(ResourceNotFoundError):
        bus.admin.get_queue("missing")
    with pytest.raises(ResourceNotFoundError):
        bus.admin.delete_queue("missing")
    assert request(bus, "GET", "missing")[0] == 200


def test_wrong_key_is_unauthorized(bus):
    stranger = bus.new_admin(bus.connection_string.replace(DEFAULT_KEY, "wrong"))
    with pytest.raises(ClientAuthenticationError):
        stranger.get_queue("any")
    assert request(bus, "GET", "any", is_signed=False)[0] == 401


def test_bad_settings_are_refused_with_the_accepted_ones(bus):
    with pytest.raises(HttpResponseError, match="at most PT5M") as refused:
        bus.admin.create_queue("bad", lock_duration="PT10M")
    assert refused.value.status_code == 400
    with pytest.raises(HttpResponseError, match="cannot be the name"):
        bus.admin.create_queue("bad name")


def test_unsupported_entities_are_refused_as_not_implemented(bus):
    for create in (
        lambda: bus.admin.create_topic("topic"),
        lambda: bus.admin.create_queue("sessions", requires_session=True),
        lambda: bus.admin.create_subscription("topic", "subscription"),
    ):
        with pytest.raises(HttpResponseError) as refused:
            create()
        assert refused.value.status_code == 501
    assert list(bus.admin.list_topics()) == []


def test_namespace_tells_its_properties(bus):
    assert bus.admin.get_namespace_properties().messaging_sku == "Standard"


@pytest.mark.parametrize("body", [b"", b"<entry", b"<entry/>", BAD_ENTRY])
def test_bad_document_is_a_bad_request(bus, body):
    assert request(bus, "PUT", "new", body)[0] == 400


def test_entity_bomb_is_a_bad_request(bus):
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><entry>&b;</entry>'
    status, text = request(bus, "PUT", "new", bomb)
    assert status == 400
    assert "entities" in text


def test_health_needs_no_token(bus):
    assert request(bus, "GET", "health", is_signed=False) == (200, '{"status": "healthy"}')


def test_disabled_queue_takes_and_gives_nothing(bus):
    from azure.servicebus.exceptions import ServiceBusError

    queue = bus.queue()
    properties = bus.admin.get_queue(queue)
    properties.status = "Disabled"
    bus.admin.update_queue(properties)
    with pytest.raises(ServiceBusError, match="entity-disabled"), bus.client.get_queue_sender(queue) as sender:
        sender.send_messages(ServiceBusMessage("x"))
