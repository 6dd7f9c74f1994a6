"""What a kombu message is on the wire, and back. The received side is decoded from real AMQP bytes."""

import base64
import json
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus._pyamqp._decode import decode_payload
from azure.servicebus._pyamqp._encode import encode_payload
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
from azure.servicebus.amqp import AmqpMessageHeader

from geoetl.transport.bodies import CLAIM_PROPERTY, claim_of
from geoetl.transport.messages import MAX_TIME_TO_LIVE_S, UnreadableMessageError, from_service_bus, to_service_bus

NOW = datetime(2030, 1, 1, tzinfo=UTC)
GRACE_S = 600


def payload(body='[[1], {}, {"chain": null}]', *, properties=None, **headers):
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "add", "id": "task-1", "retries": 0, "root_id": "root-1", "group": None, **headers},
        "properties": {
            "delivery_tag": "publish-1",
            "correlation_id": "task-1",
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            **(properties or {}),
        },
    }


def send(given):
    return to_service_bus(given, now=NOW, expires_grace_s=GRACE_S)


def received(message, *, delivery_count=0):
    header = message.raw_amqp_message.header
    message.raw_amqp_message.header = AmqpMessageHeader(
        delivery_count=delivery_count, time_to_live=header.time_to_live if header else None
    )
    outgoing = PyamqpTransport.to_outgoing_amqp_message(message.raw_amqp_message)
    raw = decode_payload(memoryview(bytes(encode_payload(bytearray(), outgoing))))
    frame = [0] * 12
    # the receiver is only kept, never called
    return ServiceBusReceivedMessage(raw, receive_mode="peeklock", receiver=Mock(), frame=frame)


def there_and_back(given, **kwargs):
    return from_service_bus(received(send(given), **kwargs), delivery_tag="lock-1")


def test_body_is_sent_as_it_is():
    assert b"".join(send(payload()).body) == payload()["body"].encode()


@pytest.mark.parametrize("body", ["[[1], {}]", "ünicode", b"\x80pickle\x00", "[]"])
def test_everything_arrives(body):
    back = there_and_back(payload(body))
    given = payload(body)
    assert back["body"] == (body.encode() if isinstance(body, str) else body)
    assert back["content-type"] == given["content-type"]
    assert back["content-encoding"] == given["content-encoding"]
    assert {**back["headers"], **given["headers"]} == back["headers"]
    assert back["properties"]["delivery_info"]["routing_key"] == "celery"
    assert back["properties"]["delivery_tag"] == "lock-1"


@pytest.mark.parametrize("body", ["[[1], {}]", b"\x80pickle\x00"])
def test_headers_too_large_for_a_property_arrive_too(body):
    given = payload(body, argsrepr="x" * 30_000)
    back = there_and_back(given)
    assert back["headers"]["argsrepr"] == "x" * 30_000
    assert back["body"] == body
    assert back["properties"].get("body_encoding") is None


def test_message_of_kombus_own_transport_is_understood():
    theirs = payload(base64.b64encode(b"[[1], {}]").decode(), properties={"body_encoding": "base64"})
    back = from_service_bus(received(ServiceBusMessage(json.dumps(theirs))), delivery_tag="lock-1")
    assert back["headers"]["id"] == "task-1"
    assert back["body"] == b"[[1], {}]"
    assert back["properties"]["body_encoding"] is None, "kombu must not decode it again"


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"\xff\xfe",
        b"[1, 2]",
        b'{"properties": 3}',
        b"{}",
        b'{"headers": null, "properties": {}, "body": "x"}',
        b'{"properties": {"delivery_info": null}, "body": "x"}',
        b'{"properties": {"delivery_info": {"exchange": ["x"]}}, "body": "x"}',
        b'{"properties": {"body_encoding": "rot13"}, "body": "x"}',
        b'{"properties": {"body_encoding": 64}, "body": "x"}',
        b'{"properties": {"body_encoding": "base64"}, "body": "x"}',
        b'{"properties": {"body_encoding": "base64"}, "body": null}',
        b'{"properties": {"body_encoding": "base64"}}',
        b'{"properties": {}}',
        b'{"properties": {}, "body": 5}',
        b'{"properties": {}, "content-encoding": 8, "body": "x"}',
        b'{"properties": {}, "headers": {"x": {"__type__": "decimal", "__value__": "x"}}}',
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_message_of_somebody_else_is_told_apart(body):
    with pytest.raises(UnreadableMessageError):
        from_service_bus(received(ServiceBusMessage(body)), delivery_tag="lock-1")


def test_name_of_a_stored_body_may_be_any_bytes():
    message = received(ServiceBusMessage(b""))
    message.raw_amqp_message.application_properties = {CLAIM_PROPERTY.encode(): b"\xff"}  # the SDK sends no such thing
    assert claim_of(message) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(("count", "redelivered"), [(0, False), (1, True), (7, True)])
def test_redelivery_and_count_are_visible(count, redelivered):
    back = there_and_back(payload(), delivery_count=count)
    assert back["properties"]["delivery_info"]["redelivered"] is redelivered
    assert back["properties"]["delivery_info"]["delivery_count"] == count
    assert back["headers"]["delivery_count"] == count


def test_message_id_is_of_the_publish_and_not_of_the_task():
    assert send(payload()).message_id == "publish-1"


def test_task_can_be_told_without_opening_the_body():
    message = send(payload(group="group-1", retries=2))
    shown = {key: value for key, value in message.application_properties.items() if key != "kombu"}
    assert shown == {"task": "add", "id": "task-1", "root_id": "root-1", "group": "group-1", "retries": 2}
    assert (message.subject, message.correlation_id) == ("add", "task-1")


def test_eta_is_scheduled_and_stays_a_header():
    message = send(payload(eta="2030-01-01T00:01:00+00:00"))
    assert message.scheduled_enqueue_time_utc == NOW + timedelta(minutes=1)
    assert "2030-01-01T00:01:00" in message.application_properties["kombu"]


@pytest.mark.parametrize("eta", [None, "2029-12-31T23:59:59+00:00", NOW])
def test_nothing_and_the_past_are_not_scheduled(eta):
    assert send(payload(eta=eta)).scheduled_enqueue_time_utc is None


def test_eta_without_a_zone_is_left_to_the_worker():
    assert send(payload(eta="2030-01-01T00:01:00")).scheduled_enqueue_time_utc is None


def test_eta_of_any_zone_is_the_same_moment():
    message = send(payload(eta="2030-01-01T05:31:00+05:30"))
    assert message.scheduled_enqueue_time_utc.astimezone(UTC) == NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("headers", "time_to_live_s"),
    [
        ({}, None),
        ({"expires": "2030-01-01T00:01:00+00:00"}, 60 + GRACE_S),
        ({"expires": "2029-01-01T00:00:00+00:00"}, GRACE_S),
        ({"expires": "2030-01-01T00:05:00+00:00", "eta": "2030-01-01T00:04:00+00:00"}, 60 + GRACE_S),
    ],
)
def test_expires_is_a_time_to_live_from_the_eta_on_plus_the_grace(headers, time_to_live_s):
    message = send(payload(**headers))
    assert message.time_to_live == (None if time_to_live_s is None else timedelta(seconds=time_to_live_s))


def test_kombu_expiration_is_a_time_to_live_in_whole_seconds():
    assert send(payload(properties={"expiration": "1500"})).time_to_live == timedelta(seconds=2)


@pytest.mark.parametrize(
    "given",
    [
        payload(expires=NOW.timestamp() + 0.999),  # `celery status`: its timeout of 1 s, a moment later
        payload(expires=NOW.timestamp() - 5),
        payload(properties={"expiration": "0"}),
    ],
)
def test_time_to_live_is_never_zero_which_the_service_refuses(given):
    message = to_service_bus(given, now=NOW, expires_grace_s=0)
    assert message.raw_amqp_message.header.time_to_live == 1000


@pytest.mark.parametrize(("days", "is_said"), [(49, True), (50, False), (3650, False)])
def test_time_to_live_too_long_for_the_wire_is_left_to_the_worker(days, is_said):
    message = send(payload(expires=(NOW + timedelta(days=days)).isoformat()))
    assert (received(message).time_to_live is not None) is is_said


def test_longest_time_to_live_is_what_the_wire_takes():
    longest = timedelta(seconds=MAX_TIME_TO_LIVE_S)
    assert received(ServiceBusMessage(b"x", time_to_live=longest)).time_to_live == longest
    with pytest.raises(ValueError, match="unsigned int"):
        received(ServiceBusMessage(b"x", time_to_live=longest + timedelta(seconds=1)))
