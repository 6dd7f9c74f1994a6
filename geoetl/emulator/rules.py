"""The rules of a subscription."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from geoetl.emulator.conditions import NOT_IMPLEMENTED, ServiceBusError
from geoetl.emulator.filters import (
    CORRELATION_FILTER,
    FALSE_FILTER,
    SQL_FILTER,
    TRUE_FILTER,
    Filter,
    FilterDescription,
    always,
    correlation_filter,
    never,
)
from geoetl.emulator.sql_filters import sql_filter

#: The rule of a new subscription whose creator gave none: it lets everything pass.
DEFAULT_RULE: Final = "$Default"

_FILTERS: Final[dict[str, Callable[[FilterDescription], Filter]]] = {
    TRUE_FILTER: lambda _description: always,
    FALSE_FILTER: lambda _description: never,
    SQL_FILTER: sql_filter,
    CORRELATION_FILTER: correlation_filter,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: messages that its filter matches go to the subscription."""

    name: str
    description: FilterDescription
    matches: Filter
    created_at: float


def make_rule(name: str, description: FilterDescription, created_at: float) -> Rule:
    """The rule of a description.

    Raises:
        ServiceBusError: its filter is malformed, or more than the emulator does.
    """
    return Rule(name, description, _filter(description), created_at)


def _filter(description: FilterDescription) -> Filter:
    make = _FILTERS.get(description.kind)
    if make is None:
        known = ", ".join(_FILTERS)
        raise ServiceBusError(NOT_IMPLEMENTED, f"Filters are of the kinds {known}; '{description.kind}' is not known.")
    return make(description)
