"""AMQP 1.0 values that plain Python values cannot tell apart.

Python values map to one AMQP type each: ``None`` null, ``bool`` boolean, ``int`` long, ``float`` double, ``str``
string, ``bytes`` binary, ``UUID`` uuid, ``list`` list, ``dict`` map. Everything else has a class here, so that a
decoded value encodes to the same type again. AMQP 1.0, part 1.6.
"""

from dataclasses import dataclass
from typing import Any


class UByte(int):
    """An 8-bit unsigned integer."""

    __slots__ = ()


class UShort(int):
    """A 16-bit unsigned integer."""

    __slots__ = ()


class UInt(int):
    """A 32-bit unsigned integer."""

    __slots__ = ()


class ULong(int):
    """A 64-bit unsigned integer; also the descriptor of every performative and section."""

    __slots__ = ()


class Byte(int):
    """An 8-bit signed integer."""

    __slots__ = ()


class Short(int):
    """A 16-bit signed integer."""

    __slots__ = ()


class Int(int):
    """A 32-bit signed integer."""

    __slots__ = ()


class Timestamp(int):
    """Milliseconds since the Unix epoch, UTC."""

    __slots__ = ()


class Float(float):
    """A 32-bit IEEE 754 number."""

    __slots__ = ()


class Char(str):
    """One Unicode character."""

    __slots__ = ()


class Symbol(str):
    """An ASCII name from a constrained domain: conditions, mechanisms, annotation keys."""

    __slots__ = ()


class Array(list[Any]):
    """Values that all have the AMQP type of the first one."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Decimal:
    """A decimal32, decimal64 or decimal128, carried through as its bytes: nothing here computes with it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor saying what it is."""

    descriptor: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Encoded:
    """Bytes that already are one encoded AMQP value."""

    data: bytes
