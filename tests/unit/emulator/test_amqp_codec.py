"""AMQP values survive our codec and the SDK's, and no bytes bring the decoder down."""

import contextlib
import struct
from typing import Any
from uuid import UUID

import pytest
from azure.servicebus._pyamqp import _decode as sdk_decode
from azure.servicebus._pyamqp import _encode as sdk_encode
from azure.servicebus._pyamqp.types import AMQPTypes
from hypothesis import given
from hypothesis import strategies as st

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
from geoetl.emulator.decode import DecodeError, decode, skip
from geoetl.emulator.encode import encode

I64 = st.integers(-(2**63), 2**63 - 1)
ASCII = st.text(st.characters(max_codepoint=127), max_size=300)
SCALARS: dict[type, st.SearchStrategy[Any]] = {
    type(None): st.none(),
    bool: st.booleans(),
    int: I64,
    float: st.floats(allow_nan=False),
    str: st.text(max_size=300),
    bytes: st.binary(max_size=300),
    UUID: st.uuids(),
    UByte: st.integers(0, 2**8 - 1).map(UByte),
    UShort: st.integers(0, 2**16 - 1).map(UShort),
    UInt: st.integers(0, 2**32 - 1).map(UInt),
    ULong: st.integers(0, 2**64 - 1).map(ULong),
    Byte: st.integers(-(2**7), 2**7 - 1).map(Byte),
    Short: st.integers(-(2**15), 2**15 - 1).map(Short),
    Int: st.integers(-(2**31), 2**31 - 1).map(Int),
    Timestamp: I64.map(Timestamp),
    Float: st.floats(width=32, allow_nan=False).map(Float),
    Char: st.characters(exclude_categories=["Cs"]).map(Char),
    Symbol: ASCII.map(Symbol),
    Decimal: st.sampled_from([4, 8, 16]).flatmap(lambda n: st.binary(min_size=n, max_size=n)).map(Decimal),
}
scalars = st.one_of(*SCALARS.values())
decimals_of_16 = st.binary(min_size=16, max_size=16).map(Decimal)
arrays = st.one_of(
    *(st.lists(values, max_size=5).map(Array) for kind, values in SCALARS.items() if kind is not Decimal),
    st.lists(decimals_of_16, max_size=3).map(Array),
    st.lists(I64.map(lambda n: Described(Symbol("x:y"), n)), max_size=3).map(Array),
)
map_keys = st.one_of(st.text(max_size=5), ASCII.map(Symbol), I64)
values = st.recursive(
    scalars | arrays,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(map_keys, inner, max_size=5),
        st.builds(Described, st.one_of(SCALARS[ULong], SCALARS[Symbol]), inner),
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same AMQP types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, tuple):
        return all(map(same, one, other))
    if isinstance(one, Described):
        return same(one.descriptor, other.descriptor) and same(one.value, other.value)
    return one == other


@given(values)
def test_value_comes_back_with_its_types(value):
    data = encode(value)
    decoded, end = decode(data)
    assert same(decoded, value)
    assert end == skip(data, 0) == len(data)


@given(values)
def test_value_can_be_read_in_the_middle_of_bytes(value):
    data = b"\x40" + encode(value) + b"\x41"
    assert same(decode(data, 1)[0], value)
    assert skip(data, 1) == len(data) - 1


@given(st.binary(max_size=200))
def test_garbage_is_decoded_or_refused(data):
    for read in (decode, skip):
        with contextlib.suppress(DecodeError):
            read(data, 0)


@given(values, st.data())
def test_damaged_value_is_decoded_or_refused(value, draw):
    data = bytearray(encode(value))
    data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        decode(bytes(data))


@given(values)
def test_shortened_value_is_refused(value):
    data = encode(value)
    with pytest.raises(DecodeError):
        decode(data[:-1])


def test_encoded_value_is_taken_as_it_is():
    assert encode([Encoded(encode("a")), 1]) == encode(["a", 1])


def test_unknown_type_is_named():
    with pytest.raises(TypeError, match="set has no AMQP"):
        encode({1})


@pytest.mark.parametrize(
    "data",
    [
        b"\xf0" + struct.pack(">II", 5, 2**32 - 1) + b"\x40",
        b"\xd0" + struct.pack(">II", 2**32 - 1, 2**32 - 1),
        b"\xc0\x04\x02\x40\x40\x40",
        b"\xc1\x02\x01\x40",
        b"\xc1\x03\x02\x45\x40",
        b"\x00" * 100_000,
        b"\xc0\xff\x01" * 2000,
        b"\x56\x02",
        b"\xa1\x01\xff",
        b"\x73\xff\xff\xff\xff",
    ],
    ids=["array bomb", "list bomb", "long list", "odd map", "unhashable", "nested", "deep", "bool", "utf8", "char"],
)
def test_lying_bytes_are_refused(data):
    with pytest.raises(DecodeError):
        decode(data)


SDK_TYPES = {
    AMQPTypes.boolean: bool,
    AMQPTypes.ubyte: UByte,
    AMQPTypes.ushort: UShort,
    AMQPTypes.uint: UInt,
    AMQPTypes.ulong: ULong,
    AMQPTypes.byte: Byte,
    AMQPTypes.short: Short,
    AMQPTypes.int: Int,
    AMQPTypes.long: int,
    AMQPTypes.double: float,
    AMQPTypes.uuid: UUID,
    AMQPTypes.binary: bytes,
    AMQPTypes.string: str,
}


@pytest.mark.parametrize(("sdk_type", "kind"), SDK_TYPES.items(), ids=list(SDK_TYPES))
def test_what_the_sdk_writes_is_read_as_the_same_type(sdk_type, kind):
    @given(SCALARS[kind])
    def check(value: Any) -> None:
        out = bytearray()
        sdk_encode.encode_value(out, {"TYPE": sdk_type, "VALUE": value})
        assert same(decode(bytes(out))[0], value)

    check()


def sdk_view(value: Any) -> Any:
    """A value as the SDK decodes it: strings are bytes to it."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        return {sdk_view(key): sdk_view(item) for key, item in value.items()}
    return [sdk_view(item) for item in value] if isinstance(value, list) else value


SDK_KINDS = [kind for kind in SCALARS if kind not in (Char, Decimal)]
sdk_values = st.recursive(
    st.one_of(*(SCALARS[kind] for kind in SDK_KINDS)),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=8,
)


@given(sdk_values)
def test_what_we_write_is_read_by_the_sdk(value):
    data = memoryview(encode(value))
    rest, decoded = sdk_decode._DECODE_BY_CONSTRUCTOR[data[0]](data[1:])
    assert decoded == sdk_view(value)
    assert len(rest) == 0
