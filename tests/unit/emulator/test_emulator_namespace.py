"""Names, addresses, settings and tokens."""

import pytest

from geoetl.emulator.addresses import entity_path
from geoetl.emulator.clock import ManualClock
from geoetl.emulator.conditions import ServiceBusError
from geoetl.emulator.descriptions import QueueDescription
from geoetl.emulator.durations import FOREVER, parse_duration
from geoetl.emulator.namespace import Namespace
from geoetl.emulator.tokens import AccessPolicy, Grants

POLICY = AccessPolicy("root", "secret")


@pytest.fixture
def namespace() -> Namespace:
    return Namespace(ManualClock())


@pytest.mark.parametrize(
    "address",
    ["Orders", "/orders", "ORDERS/", "amqps://host/orders", "sb://127.0.0.1:5672/Orders/"],
)
def test_addresses_of_a_queue_find_it(namespace, address):
    queue = namespace.create("Orders", {})
    assert namespace.resolve(address) is queue


def test_dead_letter_queue_has_its_address(namespace):
    queue = namespace.create("a/b", {})
    assert namespace.resolve("amqps://host/a/b/$DeadLetterQueue") is queue.dead_letters


@pytest.mark.parametrize("address", ["nowhere", "nowhere/$deadletterqueue", "q/$deadletterqueue/$deadletterqueue", ""])
def test_unknown_address_is_not_found(namespace, address):
    namespace.create("q", {})
    with pytest.raises(ServiceBusError, match="amqp:not-found"):
        namespace.resolve(address)


def test_name_is_taken_whatever_its_case(namespace):
    namespace.create("q", {})
    with pytest.raises(ServiceBusError, match="already exists"):
        namespace.create("Q", {})


@pytest.mark.parametrize("name", ["", "$x", "-a", "a b", "a?", "ü", "$DeadLetterQueue", "a/subscriptions/b"])
def test_bad_name_is_refused(namespace, name):
    with pytest.raises(ServiceBusError, match="cannot be the name"):
        namespace.create(name, {})


def test_name_of_260_characters_is_accepted_and_no_longer_one(namespace):
    namespace.create("x" * 260, {})
    with pytest.raises(ServiceBusError, match="exceeds the '260' character limit"):
        namespace.create("x" * 261, {})


def test_deleted_queue_is_announced_with_its_dead_letters(namespace):
    gone: list[str] = []
    namespace.on_deleted = lambda queue: gone.append(queue.name)
    namespace.create("q", {})
    namespace.delete("Q")
    assert gone == ["q", "q/$DeadLetterQueue", "q/$Transfer/$DeadLetterQueue"]
    with pytest.raises(ServiceBusError, match="not-found"):
        namespace.queue("q")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT30S", 30), ("PT1M", 60), ("PT1.5S", 1.5), ("P1DT2H3M4S", 93784), ("P1Y", 365 * 86400), ("P1W", 604800)],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "30", "PT-5S", "1M", "PT5"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ServiceBusError, match="ISO 8601"):
        parse_duration(text)


def test_defaults_are_those_of_service_bus():
    description = QueueDescription.parse({})
    assert (description.lock_duration_s, description.max_delivery_count) == (60, 10)
    assert description.default_ttl_s is None
    assert description.properties["AutoDeleteOnIdle"] == FOREVER


@pytest.mark.parametrize(
    "given",
    [
        {"LockDuration": "PT6M"},
        {"LockDuration": "PT0S"},
        {"MaxDeliveryCount": "0"},
        {"MaxDeliveryCount": "2001"},
        {"MaxDeliveryCount": "x"},
        {"AutoDeleteOnIdle": "PT1M"},
        {"Status": "Asleep"},
        {"DeadLetteringOnMessageExpiration": "maybe"},
    ],
)
def test_setting_out_of_range_is_refused_with_what_is_accepted(given):
    with pytest.raises(ServiceBusError, match=r"accepted is|ISO 8601"):
        QueueDescription.parse(given)


@pytest.mark.parametrize("given", [{"RequiresSession": "true"}, {"RequiresDuplicateDetection": "true"}])
def test_unsupported_setting_is_refused_as_such(given):
    with pytest.raises(ServiceBusError, match="not-implemented"):
        QueueDescription.parse(given)


def test_signed_token_grants_its_path_until_it_expires():
    grant = POLICY.verify(POLICY.sign("sb://host/a/b", 1000), now=999)
    assert grant.covers("a/b")
    assert grant.covers("a/b/$deadletterqueue")
    assert not grant.covers("a")
    assert not grant.covers("a/bc")
    with pytest.raises(ServiceBusError, match="expired"):
        POLICY.verify(POLICY.sign("sb://host/a/b", 1000), now=1000)


def test_token_for_the_namespace_grants_everything():
    assert POLICY.verify(POLICY.sign("sb://host/", 1000), now=0).covers("any/thing")


@pytest.mark.parametrize(
    "token",
    [
        AccessPolicy("root", "other").sign("sb://h/q", 1000),
        AccessPolicy("other", "secret").sign("sb://h/q", 1000),
        POLICY.sign("sb://h/q", 1000).replace("1000", "2000"),
        POLICY.sign("sb://h/q", 1000).replace("%2Fq", "%2Fother"),
        "SharedAccessSignature sr=x",
        "SharedAccessSignature ",
        "Bearer abc",
        "",
    ],
)
def test_forged_token_is_refused(token):
    with pytest.raises(ServiceBusError, match="unauthorized"):
        POLICY.verify(token, now=0)


def test_key_is_not_shown():
    assert "secret" not in repr(POLICY)


def test_connection_needs_a_grant_that_still_holds():
    grants = Grants()
    with pytest.raises(ServiceBusError, match="unauthorized"):
        grants.require("q")
    grants.add(POLICY.verify(POLICY.sign("sb://h/q", 1000), now=0))
    grants.require("amqps://h/Q/$DeadLetterQueue")
    assert grants.next_expiry == 1000
    grants.expire(1000)
    with pytest.raises(ServiceBusError, match="unauthorized"):
        grants.require("q")


def test_plain_password_is_policy_and_key():
    assert POLICY.verify_password(b"\x00root\x00secret")
    assert not POLICY.verify_password(b"\x00root\x00wrong")
    assert not POLICY.verify_password(b"root")


def test_entity_path_strips_scheme_and_host():
    assert entity_path("amqps://h:1/a/b/") == "a/b"
    assert entity_path("sb://h") == ""
