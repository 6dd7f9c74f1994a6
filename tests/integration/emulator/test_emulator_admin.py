"""Administration through the SDK, and over bare HTTP where the SDK would not go."""

import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from datetime import timedelta

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.servicebus import ServiceBusMessage

from geoetl.emulator import AccessPolicy, EmulatorServer
from geoetl.emulator.server import DEFAULT_KEY, DEFAULT_KEY_NAME

BAD_ENTRY = (
    b'<entry xmlns="http://www.w3.org/2005/Atom"><content type="application/xml"><QueueDescription xmlns='
    b'"http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"><LockDuration>soon</LockDuration>'
    b"</QueueDescription></content></entry>"
)
SUBSCRIPTION_WITH_RULE = b"""
<entry xmlns="http://www.w3.org/2005/Atom"><content type="application/xml">
  <SubscriptionDescription xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
                           xmlns:i="http://www.w3.org/2001/XMLSchema-instance">
    <MaxDeliveryCount>3</MaxDeliveryCount>
    <DefaultRuleDescription>
      <Filter i:type="CorrelationFilter"><Label>red</Label></Filter>
      <Action i:type="EmptyRuleAction"/>
      <Name>only-red</Name>
    </DefaultRuleDescription>
  </SubscriptionDescription>
</content></entry>
"""


def request(our_bus, method: str, path: str, body: bytes | None = None, *, is_signed: bool = True) -> tuple[int, str]:
    token = AccessPolicy(DEFAULT_KEY_NAME, DEFAULT_KEY).sign(f"sb://{our_bus.address}/", int(time.time()) + 60)
    headers = {"Authorization": token} if is_signed else {}
    call = urllib.request.Request(f"http://{our_bus.address}/{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(call, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_queue_keeps_every_setting(bus):
    name = bus.queue(
        lock_duration=timedelta(seconds=7),
        max_delivery_count=4,
        default_message_time_to_live=timedelta(days=2),
        dead_lettering_on_message_expiration=True,
        auto_delete_on_idle=timedelta(minutes=10),
        max_size_in_megabytes=2048,
        enable_batched_operations=False,
        user_metadata="for <you> & me",
    )
    queue = bus.admin.get_queue(name)
    assert queue.name == name
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
    (held,) = receiver.receive_messages(1, 60)
    (bad,) = receiver.receive_messages(1, 60)
    receiver.dead_letter_message(bad)

    bus.assert_counts(shared_queue, active=2, dead_lettered=1, total=3)
    counts = bus.admin.get_queue_runtime_properties(shared_queue)
    assert counts.size_in_bytes > 0
    assert counts.created_at_utc <= counts.accessed_at_utc
    receiver.complete_message(held)


def test_queues_are_listed_page_by_page(our_bus):
    names = {f"many-{number:03}" for number in range(130)}
    for name in names:
        our_bus.admin.create_queue(name)
    assert names <= {queue.name for queue in our_bus.admin.list_queues()}
    assert names <= {queue.name for queue in our_bus.admin.list_queues_runtime_properties()}
    for name in names:
        our_bus.admin.delete_queue(name)
    assert not names & {queue.name for queue in our_bus.admin.list_queues()}


def test_second_creation_conflicts(bus, shared_queue):
    with pytest.raises(ResourceExistsError):
        bus.admin.create_queue(shared_queue.upper())


def test_what_is_missing_is_not_found(bus):
    with pytest.raises(ResourceNotFoundError):
        bus.admin.get_queue("missing")
    with pytest.raises(ResourceNotFoundError):
        bus.admin.delete_queue("missing")


def test_missing_entity_is_an_empty_feed(our_bus):
    assert request(our_bus, "GET", "missing")[0] == 200


def test_wrong_key_is_unauthorized(our_bus):
    stranger = our_bus.new_admin(our_bus.connection_string.replace(DEFAULT_KEY, "wrong"))
    with pytest.raises(ClientAuthenticationError):
        stranger.get_queue("any")
    assert request(our_bus, "GET", "any", is_signed=False)[0] == 401


@pytest.mark.usefixtures("our_bus")
def test_client_without_the_manage_right_sends_but_does_not_administer(new_bus):
    policy = AccessPolicy(DEFAULT_KEY_NAME, DEFAULT_KEY, can_manage=False)
    with EmulatorServer.in_thread(policy=policy) as server, ExitStack() as stack:
        server.call(lambda it: it.namespace.create("q", {}))
        bus = new_bus(server.connection_string, stack)
        for attempt in (lambda: bus.admin.get_queue("q"), lambda: bus.admin.create_topic("t")):
            with pytest.raises(ClientAuthenticationError, match="Manage"):
                attempt()
        bus.sender("q").send_messages(ServiceBusMessage("x"))
        assert server.call(lambda it: it.namespace.queue("q").counts.active) == 1


def test_bad_settings_are_refused_with_the_accepted_ones(bus):
    with pytest.raises(HttpResponseError) as refused:
        bus.admin.create_queue("bad", lock_duration="PT10M")
    assert refused.value.status_code == 400
    with pytest.raises(HttpResponseError) as refused:
        bus.admin.create_queue("bad name")
    assert refused.value.status_code == 400


def test_refusal_tells_what_is_accepted(our_bus):
    with pytest.raises(HttpResponseError, match="at most PT5M"):
        our_bus.admin.create_queue("bad", lock_duration="PT10M")


def test_what_is_not_emulated_is_refused_as_not_implemented(our_bus):
    for settings in ({"requires_session": True}, {"requires_duplicate_detection": True}):
        with pytest.raises(HttpResponseError) as refused:
            our_bus.admin.create_queue("special", **settings)
        assert refused.value.status_code == 501


def test_namespace_tells_its_properties(our_bus):
    assert our_bus.admin.get_namespace_properties().messaging_sku == "Standard"


@pytest.mark.parametrize("body", [b"", b"<entry", b"<entry/>", BAD_ENTRY])
def test_bad_document_is_a_bad_request(our_bus, body):
    assert request(our_bus, "PUT", "new", body)[0] == 400


def test_administration_answers_on_a_port_of_its_own_too(our_bus):
    with EmulatorServer.in_thread(admin_port=0) as server:
        assert server.admin_port != server.port
        for port in (server.port, server.admin_port):
            admin = our_bus.new_admin(server.connection_string.replace(f":{server.port};", f":{port};"))
            admin.create_queue(f"made-at-{port}")
        assert len(list(admin.list_queues())) == 2


def test_subscription_may_bring_its_first_rule(our_bus):
    path = f"{our_bus.topic()}/subscriptions/s"
    assert request(our_bus, "PUT", path, SUBSCRIPTION_WITH_RULE)[0] == 201
    status, text = request(our_bus, "GET", f"{path}/rules")
    assert status == 200
    assert "<Label>red</Label>" in text
    assert text.count("<entry") == 1
    assert request(our_bus, "GET", f"{path}/Rules/only-red")[1].count("<Name>only-red</Name>") == 1


def test_path_that_names_nothing_is_a_bad_request(our_bus):
    path = f"{our_bus.topic('s')}/subscriptions/s/rules/r/deeper"
    assert request(our_bus, "GET", path)[0] == 400


@pytest.mark.parametrize("path", ["q", "t/subscriptions/s", "t/subscriptions/s/rules/r"])
def test_description_of_another_kind_is_refused(our_bus, path):
    body = BAD_ENTRY.replace(b"QueueDescription", b"RelayDescription")
    assert request(our_bus, "PUT", path, body)[0] in (400, 501)


def test_entity_bomb_is_a_bad_request(our_bus):
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><entry>&b;</entry>'
    status, text = request(our_bus, "PUT", "new", bomb)
    assert status == 400
    assert "entities" in text


def test_health_needs_no_token(our_bus):
    assert request(our_bus, "GET", "health", is_signed=False) == (200, '{"status": "healthy"}')


def test_disabled_queue_takes_and_gives_nothing(bus):
    from azure.servicebus.exceptions import ServiceBusError

    queue = bus.queue()
    properties = bus.admin.get_queue(queue)
    properties.status = "Disabled"
    bus.admin.update_queue(properties)
    with pytest.raises(ServiceBusError, match="entity-disabled"), bus.client.get_queue_sender(queue) as sender:
        sender.send_messages(ServiceBusMessage("x"))
