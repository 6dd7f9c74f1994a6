"""Filters: which messages of a topic a subscription gets.

https://learn.microsoft.com/azure/service-bus-messaging/topic-filters
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from geoetl.emulator.conditions import ARGUMENT_ERROR, NOT_IMPLEMENTED, ServiceBusError
from geoetl.emulator.message import Message

TRUE_FILTER: Final = "TrueFilter"
FALSE_FILTER: Final = "FalseFilter"
SQL_FILTER: Final = "SqlFilter"
CORRELATION_FILTER: Final = "CorrelationFilter"

#: System properties by their names in filters, with their place in the properties section (AMQP 1.0, part 3.2.4).
SYSTEM_PROPERTIES: Final = {
    "CorrelationId": 5,
    "MessageId": 0,
    "To": 2,
    "ReplyTo": 4,
    "Label": 3,
    "SessionId": 10,
    "ReplyToSessionId": 12,
    "ContentType": 6,
}
_INTEGERS: Final = ("int", "long", "short", "byte", "unsignedByte", "unsignedShort", "unsignedInt", "unsignedLong")
_NUMBERS: Final = ("double", "float", "decimal")


@dataclass(frozen=True, slots=True)
class FilterDescription:
    """A filter as an administrator gave it, all as text: what administration answers and the journal keeps."""

    #: One of the four kinds above.
    kind: str = TRUE_FILTER
    #: System properties and their values, or `SqlExpression` and what belongs to it.
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    #: Application properties, or the parameters of an expression: XML schema type and text by name.
    values: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])


class Facts:
    """What filters look at in one message; decoded once, and only when a filter asks.

    Args:
        message: the message.
    """

    def __init__(self, message: Message) -> None:
        self._message = message

    @cached_property
    def application_properties(self) -> dict[Any, Any]:
        """By name.

        Raises:
            ServiceBusError: they cannot be read.
        """
        return self._message.read_application_properties()

    def system(self, name: str) -> str | None:
        """A system property as text.

        Raises:
            ServiceBusError: the properties cannot be read.
        """
        value = self._properties[SYSTEM_PROPERTIES[name]]
        return None if value is None else str(value)

    @cached_property
    def _properties(self) -> list[Any]:
        return self._message.read_properties()


type Filter = Callable[[Facts], bool]


def always(_facts: Facts) -> bool:
    """What :data:`TRUE_FILTER` says."""
    return True


def never(_facts: Facts) -> bool:
    """What :data:`FALSE_FILTER` says."""
    return False


def correlation_filter(description: FilterDescription) -> Filter:
    """A filter for messages whose properties all equal those given, in type and case.

    Raises:
        ServiceBusError: no property is given, or one has a type that cannot be compared.
    """
    expected = {name: parse_value(*value) for name, value in description.values.items()}
    fields = dict(description.fields)
    if not expected and not fields:
        raise ServiceBusError(ARGUMENT_ERROR, "SubCode=40000. A correlation filter must name at least one property.")

    def matches(facts: Facts) -> bool:
        return all(facts.system(name) == text for name, text in fields.items()) and all(
            are_equal(facts.application_properties.get(name), value) for name, value in expected.items()
        )

    return matches


def are_equal(left: Any, right: Any) -> bool:
    """Whether two property values are the same: numbers by value, and nothing equals what is missing."""
    if left is None or right is None or isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def parse_value(kind: str, text: str) -> Any:
    """The value of a text by its XML schema type.

    Raises:
        ServiceBusError: it is not of that type, or the type cannot be compared with a property.
    """
    try:
        if kind == "string":
            return text
        if kind in _INTEGERS:
            return int(text)
        if kind in _NUMBERS:
            return float(text)
        if kind == "boolean":
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        if kind == "dateTime":
            return _milliseconds(text)
    except (ValueError, KeyError):
        raise ServiceBusError(ARGUMENT_ERROR, f"'{text}' in a filter is not of type {kind}.") from None
    raise ServiceBusError(NOT_IMPLEMENTED, f"This emulator cannot compare values of type {kind} in a filter.")


def _milliseconds(text: str) -> int:
    # AMQP timestamps are whole milliseconds; a time without a zone is UTC, as in .NET.
    at = datetime.fromisoformat(text if text.endswith("Z") or "+" in text else f"{text}Z")
    return round(at.timestamp() * 1000)
