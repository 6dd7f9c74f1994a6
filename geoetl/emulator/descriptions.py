"""What an administrator may say about a queue, and the ISO 8601 durations it is said in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from geoetl.emulator.conditions import ARGUMENT_ERROR, NOT_IMPLEMENTED, ServiceBusError

#: "Never": the largest .NET time span, which Service Bus gives for a time to live nobody set.
FOREVER: Final = "P10675199DT2H48M5.4775807S"
_FOREVER_S: Final = 10_675_199 * 86_400

#: The longest lock Service Bus grants.
_MAX_LOCK_S: Final = 300.0
_MIN_IDLE_S: Final = 300.0
_MAX_DELIVERY_COUNT: Final = 2000

_DURATION: Final = re.compile(
    r"P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_UNITS_S: Final = {
    "years": 365 * 86_400,
    "months": 30 * 86_400,
    "weeks": 7 * 86_400,
    "days": 86_400,
    "hours": 3600,
    "minutes": 60,
    "seconds": 1,
}

#: Properties in the order Service Bus lists them (clients parse by name, its XML schema by order), with their defaults.
_DEFAULTS: Final[dict[str, str]] = {
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
_FREE_TEXT: Final = ("UserMetadata", "MaxMessageSizeInKilobytes")

#: What the emulator does not do, and must therefore not accept: the property and the only value it may have.
_UNSUPPORTED: Final = {
    "RequiresDuplicateDetection": "false",
    "RequiresSession": "false",
    "ForwardTo": "",
    "ForwardDeadLetteredMessagesTo": "",
}


def parse_duration(text: str) -> float:
    """Seconds in an ISO 8601 duration, a year counted as 365 days and a month as 30, as Service Bus does.

    Raises:
        ServiceBusError: the text is not a duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ServiceBusError(ARGUMENT_ERROR, f"'{text}' is not an ISO 8601 duration such as PT30S.")
    return sum(float(amount) * _UNITS_S[unit] for unit, amount in match.groupdict().items() if amount)


@dataclass(frozen=True, slots=True)
class QueueDescription:
    """The settings of a queue. Durations in seconds; None means never."""

    lock_duration_s: float
    max_delivery_count: int
    default_ttl_s: float | None
    is_dead_lettering_expired: bool
    auto_delete_on_idle_s: float | None
    can_send: bool
    can_receive: bool
    #: Everything as text, in the order of Service Bus, defaults filled in: what administration answers.
    properties: Mapping[str, str]

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """The settings an administrator gave, by their names in the Service Bus XML.

        Raises:
            ServiceBusError: a value is malformed, out of range, or asks for what the emulator does not do.
        """
        for name, only in _UNSUPPORTED.items():
            if given.get(name, only).lower() != only:
                raise ServiceBusError(NOT_IMPLEMENTED, f"This emulator does not support {name}={given[name]}.")
        free = {name: given[name] for name in _FREE_TEXT if given.get(name)}
        properties = {name: given.get(name) or default for name, default in _DEFAULTS.items()} | free
        lock_s = parse_duration(properties["LockDuration"])
        _require(0 < lock_s <= _MAX_LOCK_S, "LockDuration", properties, "more than 0 and at most PT5M")
        max_count = _whole_number("MaxDeliveryCount", properties)
        _require(1 <= max_count <= _MAX_DELIVERY_COUNT, "MaxDeliveryCount", properties, "1 to 2000")
        idle_s = _optional(parse_duration(properties["AutoDeleteOnIdle"]))
        _require(idle_s is None or idle_s >= _MIN_IDLE_S, "AutoDeleteOnIdle", properties, "at least PT5M")
        status = properties["Status"]
        statuses = ("Active", "Disabled", "SendDisabled", "ReceiveDisabled")
        _require(status in statuses, "Status", properties, ", ".join(statuses))
        return cls(
            lock_duration_s=lock_s,
            max_delivery_count=max_count,
            default_ttl_s=_optional(parse_duration(properties["DefaultMessageTimeToLive"])),
            is_dead_lettering_expired=_truth("DeadLetteringOnMessageExpiration", properties),
            auto_delete_on_idle_s=idle_s,
            can_send=status in ("Active", "ReceiveDisabled"),
            can_receive=status in ("Active", "SendDisabled"),
            properties=properties,
        )


def _optional(seconds: float) -> float | None:
    return seconds if seconds < _FOREVER_S else None


def _whole_number(name: str, properties: Mapping[str, str]) -> int:
    _require(properties[name].isdecimal(), name, properties, "a whole number")
    return int(properties[name])


def _truth(name: str, properties: Mapping[str, str]) -> bool:
    text = properties[name].lower()
    _require(text in ("true", "false"), name, properties, "true or false")
    return text == "true"


def _require(holds: bool, name: str, properties: Mapping[str, str], accepted: str) -> None:
    if not holds:
        raise ServiceBusError(
            ARGUMENT_ERROR, f"The specified value '{properties[name]}' for {name} is invalid: accepted is {accepted}."
        )
