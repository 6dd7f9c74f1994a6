"""Terminal delivery states (AMQP 1.0, part 3.4) and how errors travel in them."""

from typing import Any, Final

from geoetl.emulator.amqp_types import Described, Symbol, ULong
from geoetl.emulator.conditions import ServiceBusError
from geoetl.emulator.encode import encode

ACCEPTED: Final = 0x24
REJECTED: Final = 0x25
RELEASED: Final = 0x26
MODIFIED: Final = 0x27
ERROR: Final = 0x1D

ACCEPTED_STATE: Final = encode(Described(ULong(ACCEPTED), []))
RELEASED_STATE: Final = encode(Described(ULong(RELEASED), []))
#: The echo of a successful dead-lettering: a rejection that carries an error reads as a failure to the client.
REJECTED_STATE: Final = encode(Described(ULong(REJECTED), []))


def error_value(error: ServiceBusError) -> Described:
    """An error as detach, end, close and rejected carry it.

    The null at its end could be left out, but azure-servicebus 7.15 for Python reads a third field of any rejection.
    """
    return Described(ULong(ERROR), [Symbol(error.condition), error.description, None])


def rejected_state(error: ServiceBusError) -> bytes:
    """An encoded rejection that tells why."""
    return encode(Described(ULong(REJECTED), [error_value(error)]))


def fields_of(value: Any, count: int) -> list[Any]:
    """The fields of a described list, filled up with nulls; all nulls when it is something else."""
    fields: list[Any] = value.value if isinstance(value, Described) and isinstance(value.value, list) else []
    return (fields + [None] * count)[:count]
