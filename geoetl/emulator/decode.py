"""AMQP 1.0 bytes to Python values. Never trusts a length or a count: the peer may be anything that found the port."""

import struct
from collections.abc import Callable
from typing import Any
from uuid import UUID

from geoetl.emulator.amqp_types import (
    Array,
    Byte,
    Char,
    Decimal,
    Described,
    Float,
    Int,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)

type Decoder = Callable[[bytes, int], tuple[Any, int]]

_read_u32 = struct.Struct(">I").unpack_from

#: Widths of the fixed-size encodings by the upper half of the constructor byte (AMQP 1.0, figure 1.3).
_FIXED_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}

#: Elements of width zero cost their sender nothing: an array may have this many beyond the bytes it takes.
_MAX_EMPTY_ELEMENTS = 4096


class DecodeError(ValueError):
    """The bytes are not the AMQP 1.0 encoding they claim to be."""


def decode(data: bytes, at: int = 0) -> tuple[Any, int]:
    """One value and the position after it.

    Raises:
        DecodeError: the bytes end early, a length or count lies, a constructor is unknown, or values nest too deep.
    """
    try:
        return _DECODERS[data[at]](data, at + 1)
    except DecodeError:
        raise
    except (IndexError, struct.error):
        raise DecodeError(f"AMQP value at byte {at} ends after the {len(data)} bytes given") from None
    except KeyError as error:
        raise DecodeError(f"AMQP value at byte {at} has the unknown constructor {error.args[0]!r}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise DecodeError(f"AMQP value at byte {at} is malformed: {error}") from error
    except RecursionError:
        raise DecodeError(f"AMQP value at byte {at} nests too deep") from None


def skip(data: bytes, at: int) -> int:
    """The position after the value at a position, without decoding it.

    Raises:
        DecodeError: the value runs past the end of the bytes.
    """
    try:
        end = _skip(data, at)
    except (IndexError, struct.error, RecursionError):
        end = len(data) + 1
    if end > len(data):
        raise DecodeError(f"AMQP value at byte {at} ends after the {len(data)} bytes given")
    return end


def _skip(data: bytes, at: int) -> int:
    constructor = data[at]
    at += 1
    if constructor == 0:
        return _skip(data, _skip(data, at))
    kind = constructor >> 4
    width = _FIXED_WIDTHS.get(kind)
    if width is not None:
        return at + width
    if kind in (0xA, 0xC, 0xE):
        return at + 1 + data[at]
    if kind in (0xB, 0xD, 0xF):
        return at + 4 + _read_u32(data, at)[0]
    raise DecodeError(f"AMQP value at byte {at - 1} has the unknown constructor {constructor:#04x}")


def _constant(value: Any) -> Decoder:
    return lambda _data, at: (value, at)


def _fixed(layout: str, kind: Callable[[Any], Any] | None = None) -> Decoder:
    codec = struct.Struct(layout)
    read, width = codec.unpack_from, codec.size
    if kind is None:
        return lambda data, at: (read(data, at)[0], at + width)
    return lambda data, at: (kind(read(data, at)[0]), at + width)


def _decode_boolean(data: bytes, at: int) -> tuple[bool, int]:
    if data[at] > 1:
        raise DecodeError(f"boolean at byte {at} is {data[at]}, neither 0 nor 1")
    return data[at] == 1, at + 1


def _decimal(width: int) -> Decoder:
    def decode_decimal(data: bytes, at: int) -> tuple[Decimal, int]:
        return Decimal(_slice(data, at, width)), at + width

    return decode_decimal


def _decode_uuid(data: bytes, at: int) -> tuple[UUID, int]:
    return UUID(bytes=_slice(data, at, 16)), at + 16


def _slice(data: bytes, at: int, size: int) -> bytes:
    part = data[at : at + size]
    if len(part) != size:
        raise IndexError
    return bytes(part)


def _variable(kind: Callable[[bytes], Any]) -> tuple[Decoder, Decoder]:
    def decode_short(data: bytes, at: int) -> tuple[Any, int]:
        size = data[at]
        return kind(_slice(data, at + 1, size)), at + 1 + size

    def decode_long(data: bytes, at: int) -> tuple[Any, int]:
        size = _read_u32(data, at)[0]
        return kind(_slice(data, at + 4, size)), at + 4 + size

    return decode_short, decode_long


def _same(data: bytes) -> bytes:
    return data


def _utf8(data: bytes) -> str:
    return data.decode()


def _symbol(data: bytes) -> Symbol:
    return Symbol(data, "ascii")


def _sequence(data: bytes, at: int, count: int, end: int) -> tuple[list[Any], int]:
    if count > end - at or end > len(data):
        raise IndexError
    values: list[Any] = []
    for _ in range(count):
        value, at = _DECODERS[data[at]](data, at + 1)
        values.append(value)
    if at != end:
        raise DecodeError(f"compound value says it ends at byte {end} but its elements end at byte {at}")
    return values, at


def _short_header(data: bytes, at: int) -> tuple[int, int, int]:
    return at + 2, data[at + 1], at + 1 + data[at]


def _long_header(data: bytes, at: int) -> tuple[int, int, int]:
    size, count = _read_u32(data, at)[0], _read_u32(data, at + 4)[0]
    return at + 8, count, at + 4 + size


type _Header = Callable[[bytes, int], tuple[int, int, int]]


def _list(header: _Header) -> Decoder:
    def decode_list(data: bytes, at: int) -> tuple[list[Any], int]:
        start, count, end = header(data, at)
        return _sequence(data, start, count, end)

    return decode_list


def _map(header: _Header) -> Decoder:
    def decode_map(data: bytes, at: int) -> tuple[dict[Any, Any], int]:
        start, count, end = header(data, at)
        if count % 2:
            raise DecodeError(f"map at byte {at} has {count} elements, an odd number")
        parts, end = _sequence(data, start, count, end)
        return dict(zip(parts[::2], parts[1::2], strict=True)), end

    return decode_map


def _array(header: _Header) -> Decoder:
    def decode_array(data: bytes, at: int) -> tuple[Array, int]:
        at, count, end = header(data, at)
        if count > max(end - at, _MAX_EMPTY_ELEMENTS) or end > len(data):
            raise IndexError
        descriptor, constructor = None, data[at]
        at += 1
        if constructor == 0:
            descriptor, at = _DECODERS[data[at]](data, at + 1)
            constructor, at = data[at], at + 1
        decode_element, values = _DECODERS[constructor], Array()
        for _ in range(count):
            value, at = decode_element(data, at)
            values.append(value if descriptor is None else Described(descriptor, value))
        if at != end:
            raise DecodeError(f"array says it ends at byte {end} but its elements end at byte {at}")
        return values, at

    return decode_array


def _decode_described(data: bytes, at: int) -> tuple[Described, int]:
    descriptor, at = _DECODERS[data[at]](data, at + 1)
    value, at = _DECODERS[data[at]](data, at + 1)
    return Described(descriptor, value), at


_binary8, _binary32 = _variable(_same)
_string8, _string32 = _variable(_utf8)
_symbol8, _symbol32 = _variable(_symbol)

_DECODERS: dict[int, Decoder] = {
    0x00: _decode_described,
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x43: _constant(UInt(0)),
    0x44: _constant(ULong(0)),
    0x45: lambda _data, at: ([], at),
    0x50: _fixed(">B", UByte),
    0x51: _fixed(">b", Byte),
    0x52: _fixed(">B", UInt),
    0x53: _fixed(">B", ULong),
    0x54: _fixed(">b", Int),
    0x55: _fixed(">b"),
    0x56: _decode_boolean,
    0x60: _fixed(">H", UShort),
    0x61: _fixed(">h", Short),
    0x70: _fixed(">I", UInt),
    0x71: _fixed(">i", Int),
    0x72: _fixed(">f", Float),
    0x73: _fixed(">I", lambda code: Char(chr(code))),
    0x74: _decimal(4),
    0x80: _fixed(">Q", ULong),
    0x81: _fixed(">q"),
    0x82: _fixed(">d"),
    0x83: _fixed(">q", Timestamp),
    0x84: _decimal(8),
    0x94: _decimal(16),
    0x98: _decode_uuid,
    0xA0: _binary8,
    0xA1: _string8,
    0xA3: _symbol8,
    0xB0: _binary32,
    0xB1: _string32,
    0xB3: _symbol32,
    0xC0: _list(_short_header),
    0xC1: _map(_short_header),
    0xD0: _list(_long_header),
    0xD1: _map(_long_header),
    0xE0: _array(_short_header),
    0xF0: _array(_long_header),
}
