"""What an administrator may say about queues, subscriptions and topics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from geoetl.emulator.addresses import entity_path
from geoetl.emulator.conditions import ARGUMENT_ERROR, NOT_IMPLEMENTED, ServiceBusError
from geoetl.emulator.durations import FOREVER, parse_duration, parse_optional_duration

#: The longest lock Service Bus grants.
_MAX_LOCK_S: Final = 300.0
_MIN_IDLE_S: Final = 300.0
_MAX_DELIVERY_COUNT: Final = 2000
_STATUSES: Final = ("Active", "Disabled", "SendDisabled", "ReceiveDisabled")

QUEUE_DEFAULTS: Final = {
    "LockDuration": "PT1M",
    "MaxSizeInMegabytes": "1024",
    "RequiresDuplicateDetection": "false",
    "RequiresSession": "false",
    "DefaultMessageTimeToLive": FOREVER,
    "DeadLetteringOnMessageExpiration": "false",
    "DuplicateDetectionHistoryTimeWindow": "PT10M",
    "MaxDeliveryCount": "10",
    "EnableBatchedOperations": "true",
    "IsAnonymousAccessible": "false",
    "Status": "Active",
    "SupportOrdering": "true",
    "AutoDeleteOnIdle": FOREVER,
    "EnablePartitioning": "false",
    "EntityAvailabilityStatus": "Available",
    "EnableExpress": "false",
}
SUBSCRIPTION_DEFAULTS: Final = {
    "LockDuration": "PT1M",
    "RequiresSession": "false",
    "DefaultMessageTimeToLive": FOREVER,
    "DeadLetteringOnMessageExpiration": "false",
    "DeadLetteringOnFilterEvaluationExceptions": "true",
    "MaxDeliveryCount": "10",
    "EnableBatchedOperations": "true",
    "Status": "Active",
    "AutoDeleteOnIdle": FOREVER,
    "EntityAvailabilityStatus": "Available",
}
_TOPIC_DEFAULTS: Final = {
    "DefaultMessageTimeToLive": FOREVER,
    "MaxSizeInMegabytes": "1024",
    "RequiresDuplicateDetection": "false",
    "DuplicateDetectionHistoryTimeWindow": "PT10M",
    "EnableBatchedOperations": "true",
    "FilteringMessagesBeforePublishing": "false",
    "IsAnonymousAccessible": "false",
    "Status": "Active",
    "SupportOrdering": "true",
    "AutoDeleteOnIdle": FOREVER,
    "EnablePartitioning": "false",
    "EntityAvailabilityStatus": "Available",
    "EnableSubscriptionPartitioning": "false",
    "EnableExpress": "false",
}
#: Properties without a default: absent unless given.
_FREE_TEXT: Final = ("ForwardTo", "ForwardDeadLetteredMessagesTo", "UserMetadata", "MaxMessageSizeInKilobytes")

#: What the emulator does not do, and must therefore not accept: the property and the only value it may have.
_UNSUPPORTED: Final = {"RequiresDuplicateDetection": "false", "RequiresSession": "false"}


@dataclass(frozen=True, slots=True)
class QueueDescription:
    """The settings of a queue or subscription. Durations in seconds; None means never."""

    lock_duration_s: float
    max_delivery_count: int
    default_ttl_s: float | None
    is_dead_lettering_expired: bool
    #: Whether a message whose properties a filter cannot read becomes a dead letter of the subscription.
    is_dead_lettering_unreadable: bool
    auto_delete_on_idle_s: float | None
    can_send: bool
    can_receive: bool
    #: Paths of the queue or topic that gets all messages, and of the one that gets the dead letters.
    forward_to: str | None
    forward_dead_letters_to: str | None
    #: Everything as text, defaults filled in: what administration answers.
    properties: Mapping[str, str]

    @classmethod
    def parse(cls, given: Mapping[str, str], defaults: Mapping[str, str] = QUEUE_DEFAULTS) -> Self:
        """The settings an administrator gave, by their names in the Service Bus XML.

        Raises:
            ServiceBusError: a value is malformed, out of range, or asks for what the emulator does not do.
        """
        properties = _fill_in(given, defaults)
        lock_s = parse_duration(properties["LockDuration"])
        _require(0 < lock_s <= _MAX_LOCK_S, "LockDuration", properties, "more than 0 and at most PT5M")
        max_count = _whole_number("MaxDeliveryCount", properties)
        _require(1 <= max_count <= _MAX_DELIVERY_COUNT, "MaxDeliveryCount", properties, "1 to 2000")
        status = _status(properties)
        return cls(
            lock_duration_s=lock_s,
            max_delivery_count=max_count,
            default_ttl_s=parse_optional_duration(properties["DefaultMessageTimeToLive"]),
            is_dead_lettering_expired=_truth("DeadLetteringOnMessageExpiration", properties),
            is_dead_lettering_unreadable=_truth("DeadLetteringOnFilterEvaluationExceptions", properties),
            auto_delete_on_idle_s=_idle_limit(properties),
            can_send=status in ("Active", "ReceiveDisabled"),
            can_receive=status in ("Active", "SendDisabled"),
            forward_to=_path("ForwardTo", properties),
            forward_dead_letters_to=_path("ForwardDeadLetteredMessagesTo", properties),
            properties=properties,
        )


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """The settings of a topic. Durations in seconds; None means never."""

    default_ttl_s: float | None
    auto_delete_on_idle_s: float | None
    can_send: bool
    #: Everything as text, defaults filled in: what administration answers.
    properties: Mapping[str, str]

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """The settings an administrator gave, by their names in the Service Bus XML.

        Raises:
            ServiceBusError: a value is malformed, out of range, or asks for what the emulator does not do.
        """
        properties = _fill_in(given, _TOPIC_DEFAULTS)
        return cls(
            default_ttl_s=parse_optional_duration(properties["DefaultMessageTimeToLive"]),
            auto_delete_on_idle_s=_idle_limit(properties),
            can_send=_status(properties) in ("Active", "ReceiveDisabled"),
            properties=properties,
        )


def _fill_in(given: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    for name, only in _UNSUPPORTED.items():
        if given.get(name, only).lower() != only:
            raise ServiceBusError(NOT_IMPLEMENTED, f"This emulator does not support {name}={given[name]}.")
    free = {name: given[name] for name in _FREE_TEXT if given.get(name)}
    return {name: given.get(name) or default for name, default in defaults.items()} | free


def _idle_limit(properties: Mapping[str, str]) -> float | None:
    idle_s = parse_optional_duration(properties["AutoDeleteOnIdle"])
    _require(idle_s is None or idle_s >= _MIN_IDLE_S, "AutoDeleteOnIdle", properties, "at least PT5M")
    return idle_s


def _status(properties: Mapping[str, str]) -> str:
    _require(properties["Status"] in _STATUSES, "Status", properties, ", ".join(_STATUSES))
    return properties["Status"]


def _path(name: str, properties: Mapping[str, str]) -> str | None:
    # Clients write `sb://host/queue`: the namespace is this one, whatever they call its host.
    return entity_path(properties[name]) if name in properties else None


def _whole_number(name: str, properties: Mapping[str, str]) -> int:
    _require(properties[name].isdecimal(), name, properties, "a whole number")
    return int(properties[name])


def _truth(name: str, properties: Mapping[str, str]) -> bool:
    if name not in properties:
        return False
    text = properties[name].lower()
    _require(text in ("true", "false"), name, properties, "true or false")
    return text == "true"


def _require(holds: bool, name: str, properties: Mapping[str, str], accepted: str) -> None:
    if not holds:
        raise ServiceBusError(
            ARGUMENT_ERROR, f"The specified value '{properties[name]}' for {name} is invalid: accepted is {accepted}."
        )
