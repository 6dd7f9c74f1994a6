"""Frames and performatives: what goes out can be read, what comes in is checked."""

import struct

import pytest
from azure.servicebus._pyamqp import _decode as sdk_decode
from azure.servicebus._pyamqp import _encode as sdk_encode
from azure.servicebus._pyamqp import performatives as sdk
from hypothesis import given
from hypothesis import strategies as st

from geoetl.emulator.amqp_types import Described, Symbol, UInt, ULong
from geoetl.emulator.conditions import ServiceBusError
from geoetl.emulator.decode import DecodeError, decode
from geoetl.emulator.encode import encode, encode_described
from geoetl.emulator.frames import Frame, FrameReader, encode_frame_header
from geoetl.emulator.outcomes import ACCEPTED_STATE, rejected_state
from geoetl.emulator.performatives import (
    Begin,
    Detach,
    Disposition,
    Flow,
    Open,
    Transfer,
    decode_performative,
    encode_performative,
    encode_settled,
    encode_transfer,
)

U32 = st.integers(0, 2**32 - 1)


def test_performative_comes_back_with_its_payload():
    body = encode_performative(Transfer(UInt(1), UInt(2), b"tag", UInt(0), settled=False)) + b"payload"
    performative, end = decode_performative(body)
    assert performative == Transfer(UInt(1), UInt(2), b"tag", UInt(0), settled=False)
    assert body[end:] == b"payload"


@given(U32, U32, st.booleans())
def test_fast_transfer_says_the_same_as_the_plain_one(handle, number, settled):
    fast, end = decode_performative(encode_transfer(handle, number, b"t" * 16, settled=settled))
    assert fast == Transfer(UInt(handle), UInt(number), b"t" * 16, UInt(0), settled)
    assert end == len(encode_transfer(handle, number, b"t" * 16, settled=settled))


@given(st.booleans(), U32, st.integers(0, 400))
def test_fast_disposition_says_the_same_as_the_plain_one(role, number, size):
    state = rejected_state(ServiceBusError("a:b", "x" * size)) if size else ACCEPTED_STATE
    fast, _ = decode_performative(encode_settled(role, number, state))
    assert fast == Disposition(role, UInt(number), UInt(number), settled=True, state=decode(state)[0])


def test_sdk_reads_our_disposition():
    code, fields = sdk_decode.decode_frame(memoryview(encode_settled(False, 7, ACCEPTED_STATE)))
    assert (code, fields[:4]) == (0x15, [False, 7, 7, True])


def test_we_read_the_sdks_flow():
    frame = sdk.FlowFrame(
        next_incoming_id=1, incoming_window=2, next_outgoing_id=3, outgoing_window=4, handle=5, link_credit=6
    )
    _, body = sdk_encode.encode_frame(frame)
    flow, _ = decode_performative(bytes(body))
    assert isinstance(flow, Flow)
    assert (flow.next_incoming_id, flow.incoming_window, flow.handle, flow.link_credit) == (1, 2, 5, 6)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (encode(1), "does not start"),
        (encode(Described(ULong(0x10), {})), "does not start"),
        (encode(Described(ULong(0x99), [])), "unknown descriptor"),
        (encode(Described([], [])), "unknown descriptor"),
        (encode_described(0x10, []), "lacks mandatory"),
        (encode_described(0x10, [5]), "has a"),
        (encode_described(0x16, [None, True]), "lacks a mandatory"),
        (encode_described(0x16, [UInt(1), True, None, 1]), "has 3 fields"),
    ],
)
def test_wrong_performative_is_refused(body, said):
    with pytest.raises(DecodeError, match=said):
        decode_performative(body)


@given(
    st.sampled_from([Open, Begin, Flow, Transfer, Disposition, Detach]), st.lists(st.binary(max_size=9), max_size=12)
)
def test_any_fields_are_decoded_or_refused(kind, parts):
    codes = {Open: 0x10, Begin: 0x11, Flow: 0x13, Transfer: 0x14, Disposition: 0x15, Detach: 0x16}
    body = (
        b"\x00\x53" + bytes((codes[kind],)) + b"\xc0" + bytes((sum(map(len, parts)) + 1, len(parts))) + b"".join(parts)
    )
    try:
        performative, _ = decode_performative(body)
    except DecodeError:
        return
    assert isinstance(performative, kind)


@given(st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=50)), max_size=8), st.integers(1, 40))
def test_frames_are_cut_wherever_the_stream_is(frames, step):
    stream = b"".join(encode_frame_header(len(body), channel) + body for channel, body in frames)
    reader, read = FrameReader(512), []
    for at in range(0, len(stream), step):
        reader.feed(stream[at : at + step])
        while (frame := reader.read_frame()) is not None:
            read.append(frame)
    assert read == [Frame(0, channel, body) for channel, body in frames]


@pytest.mark.parametrize(
    "header",
    [
        struct.pack(">IBBH", 513, 2, 0, 0),
        struct.pack(">IBBH", 8, 1, 0, 0),
        struct.pack(">IBBH", 8, 3, 0, 0),
        struct.pack(">IBBH", 0, 2, 0, 0),
        struct.pack(">IBBH", 8, 2, 9, 0),
        b"GET / HT",
    ],
)
def test_what_is_no_frame_is_refused(header):
    reader = FrameReader(512)
    reader.feed(header)
    with pytest.raises(ServiceBusError, match="framing-error"):
        reader.read_frame()


def test_error_travels_with_its_condition():
    state, _ = decode(rejected_state(ServiceBusError("amqp:not-found", "gone")))
    assert state.value[0].value == [Symbol("amqp:not-found"), "gone", None]
