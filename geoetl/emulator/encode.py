"""Python values to AMQP 1.0 bytes. Compact encodings wherever AMQP has one, because clients count frames in bytes."""

import struct
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any
from uuid import UUID

from geoetl.emulator.amqp_types import (
    Array,
    Byte,
    Char,
    Decimal,
    Described,
    Encoded,
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

pack_u16 = struct.Struct(">H").pack
pack_u32 = struct.Struct(">I").pack
pack_u64 = struct.Struct(">Q").pack
pack_i8 = struct.Struct(">b").pack
pack_i16 = struct.Struct(">h").pack
pack_i32 = struct.Struct(">i").pack
pack_i64 = struct.Struct(">q").pack
pack_f32 = struct.Struct(">f").pack
pack_f64 = struct.Struct(">d").pack


def encode(value: Any) -> bytes:
    """The AMQP encoding of a value, constructor byte included.

    Raises:
        TypeError: the value has no AMQP type.
    """
    try:
        encoder = _ENCODERS[type(value)]
    except KeyError:
        raise TypeError(f"{type(value).__name__} has no AMQP 1.0 type") from None
    return encoder(value)


def encode_described(code: int, fields: list[Any]) -> bytes:
    """A described list with a small numeric descriptor; trailing nulls are left out (AMQP 1.0, 1.4)."""
    while fields and fields[-1] is None:
        fields.pop()
    return b"\x00\x53" + bytes((code,)) + _encode_list(fields)


def _encode_bool(value: bool) -> bytes:
    return b"\x41" if value else b"\x42"


def _encode_long(value: int) -> bytes:
    return b"\x55" + pack_i8(value) if -128 <= value < 128 else b"\x81" + pack_i64(value)


def _encode_int(value: Int) -> bytes:
    return b"\x54" + pack_i8(value) if -128 <= value < 128 else b"\x71" + pack_i32(value)


def _encode_uint(value: UInt) -> bytes:
    if value == 0:
        return b"\x43"
    return b"\x52" + bytes((value,)) if value < 256 else b"\x70" + pack_u32(value)


def _encode_ulong(value: ULong) -> bytes:
    if value == 0:
        return b"\x44"
    return b"\x53" + bytes((value,)) if value < 256 else b"\x80" + pack_u64(value)


def _variable(short: bytes, long: bytes) -> Callable[[bytes], bytes]:
    def encode_bytes(data: bytes) -> bytes:
        size = len(data)
        return short + bytes((size,)) + data if size < 256 else long + pack_u32(size) + data

    return encode_bytes


_encode_binary = _variable(b"\xa0", b"\xb0")
_encode_utf8 = _variable(b"\xa1", b"\xb1")
_encode_ascii = _variable(b"\xa3", b"\xb3")


def _compound(short: bytes, long: bytes, count: int, body: bytes) -> bytes:
    if count < 256 and len(body) < 255:
        return short + bytes((len(body) + 1, count)) + body
    return long + pack_u32(len(body) + 4) + pack_u32(count) + body


def _encode_list(values: list[Any] | tuple[Any, ...]) -> bytes:
    if not values:
        return b"\x45"
    return _compound(b"\xc0", b"\xd0", len(values), b"".join([encode(value) for value in values]))


def _encode_map(values: dict[Any, Any]) -> bytes:
    body = b"".join([encode(key) + encode(value) for key, value in values.items()])
    return _compound(b"\xc1", b"\xd1", 2 * len(values), body)


def _encode_decimal(value: Decimal) -> bytes:
    return {4: b"\x74", 8: b"\x84", 16: b"\x94"}[len(value.data)] + value.data


def _wide(body: bytes, count: int) -> bytes:
    return pack_u32(len(body) + 4) + pack_u32(count) + body


def _join(values: Iterable[Any]) -> bytes:
    return b"".join([encode(value) for value in values])


def _array_body(values: Array) -> bytes:
    # An empty array still names an element type; the null constructor says nothing false about it.
    constructor, element = _array_element(values[0] if values else None)
    return constructor + b"".join([element(value) for value in values])


#: Array elements share one constructor, so each type has its widest encoding only: constructor, body of one element.
_ARRAY_ELEMENTS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    type(None): (b"\x40", lambda _: b""),
    bool: (b"\x56", lambda value: b"\x01" if value else b"\x00"),
    int: (b"\x81", pack_i64),
    float: (b"\x82", pack_f64),
    str: (b"\xb1", lambda value: pack_u32(len(value.encode())) + value.encode()),
    bytes: (b"\xb0", lambda value: pack_u32(len(value)) + value),
    UUID: (b"\x98", lambda value: value.bytes),
    UByte: (b"\x50", lambda value: bytes((value,))),
    UShort: (b"\x60", pack_u16),
    UInt: (b"\x70", pack_u32),
    ULong: (b"\x80", pack_u64),
    Byte: (b"\x51", pack_i8),
    Short: (b"\x61", pack_i16),
    Int: (b"\x71", pack_i32),
    Timestamp: (b"\x83", pack_i64),
    Float: (b"\x72", pack_f32),
    Char: (b"\x73", lambda value: pack_u32(ord(value))),
    Symbol: (b"\xb3", lambda value: pack_u32(len(value)) + value.encode("ascii")),
    Array: (b"\xf0", lambda value: _wide(_array_body(value), len(value))),
    list: (b"\xd0", lambda value: _wide(_join(value), len(value))),
    dict: (b"\xd1", lambda value: _wide(_join(chain.from_iterable(value.items())), 2 * len(value))),
}


def _array_element(value: Any) -> tuple[bytes, Callable[[Any], bytes]]:
    """The constructor all elements of an array share, and how each is written without it."""
    if isinstance(value, Described):
        constructor, element = _array_element(value.value)
        return b"\x00" + encode(value.descriptor) + constructor, lambda each: element(each.value)
    if isinstance(value, Decimal):
        return _encode_decimal(value)[:1], lambda each: each.data
    return _ARRAY_ELEMENTS[type(value)]


def _encode_array(values: Array) -> bytes:
    return _compound(b"\xe0", b"\xf0", len(values), _array_body(values))


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"\x40",
    bool: _encode_bool,
    int: _encode_long,
    float: lambda value: b"\x82" + pack_f64(value),
    str: lambda value: _encode_utf8(value.encode()),
    bytes: _encode_binary,
    bytearray: lambda value: _encode_binary(bytes(value)),
    memoryview: lambda value: _encode_binary(bytes(value)),
    UUID: lambda value: b"\x98" + value.bytes,
    list: _encode_list,
    tuple: _encode_list,
    dict: _encode_map,
    UByte: lambda value: b"\x50" + bytes((value,)),
    UShort: lambda value: b"\x60" + pack_u16(value),
    UInt: _encode_uint,
    ULong: _encode_ulong,
    Byte: lambda value: b"\x51" + pack_i8(value),
    Short: lambda value: b"\x61" + pack_i16(value),
    Int: _encode_int,
    Timestamp: lambda value: b"\x83" + pack_i64(value),
    Float: lambda value: b"\x72" + pack_f32(value),
    Char: lambda value: b"\x73" + pack_u32(ord(value)),
    Symbol: lambda value: _encode_ascii(value.encode("ascii")),
    Array: _encode_array,
    Decimal: _encode_decimal,
    Described: lambda value: b"\x00" + encode(value.descriptor) + encode(value.value),
    Encoded: lambda value: value.data,
}
