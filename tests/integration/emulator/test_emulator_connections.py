"""The server against peers that are slow, silent, greedy, lying or not AMQP at all."""

import os
import struct
import time
from collections.abc import Iterator

import pytest

from geoetl.emulator import EmulatorServer, RunningServer
from geoetl.emulator.amqp_types import Described, Symbol, UInt, ULong, UShort
from geoetl.emulator.broker import Limits
from geoetl.emulator.frames import SASL_HEADER, encode_frame_header
from geoetl.emulator.journal import NoJournal
from geoetl.emulator.message import Message
from geoetl.emulator.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Transfer,
)
from tests.integration.emulator.peer import BODY, SOURCE, Peer


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with EmulatorServer.in_thread(limits=Limits(idle_timeout_s=60, max_message_bytes=64 * 1024)) as running:
        running.call(lambda it: it.namespace.create("q", {}))
        yield running


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x00" * 100,
        b"AMQP\x00\x01\x00\x00",
        b"AMQP\x03\x02\x00\x00",
        SASL_HEADER + b"\xff" * 64,
        SASL_HEADER + struct.pack(">IBBH", 12, 2, 1, 0) + b"\x00\x00\x00\x00",
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: minus one\r\n\r\n",
        b"PUT /q HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /q HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET /" + b"a" * 70_000,
        *(bytes([first]) + os.urandom(200) for first in (1, 127, 128, 255)),
    ],
)
def test_who_speaks_nonsense_is_cut_off(connect, data):
    peer = connect()
    peer.socket.sendall(data)
    assert peer.is_cut_off()


def test_server_lives_after_random_bytes_in_every_phase(connect, server):
    for length in range(1, 40):
        peer = connect()
        peer.open()
        body = os.urandom(length)
        peer.socket.sendall(encode_frame_header(len(body), 0) + body)
        assert peer.is_cut_off()
    peer = connect()
    peer.open()


def test_wrong_password_is_refused(connect):
    peer = connect()
    assert peer.sign_in(response=b"\x00RootManageSharedAccessKey\x00wrong") == 1
    assert peer.is_cut_off()


def test_link_without_a_token_is_unauthorized(connect):
    peer = connect()
    peer.open(mechanism="ANONYMOUS")
    peer.receive_from("q")
    assert peer.read(Attach).source is None
    error = peer.read(Detach).error
    assert error is not None
    assert error.value[0] == "amqp:unauthorized-access"


def test_frame_over_the_maximum_ends_the_connection_with_the_reason(connect):
    peer = connect()
    peer.open()
    peer.socket.sendall(struct.pack(">IBBH", 1 << 20, 2, 0, 0))
    error = peer.read(Close).error
    assert error is not None
    assert error.value[0] == "amqp:connection:framing-error"


def test_client_gets_the_heartbeats_it_asked_for(connect):
    peer = connect()
    peer.open(idle_time_out=UInt(100))
    beats, started = 0, time.monotonic()
    while beats < 5:
        beats += peer.read_frame() is None
    assert time.monotonic() - started < 2


def test_silent_client_is_cut_off_with_the_reason():
    with EmulatorServer.in_thread(limits=Limits(idle_timeout_s=0.3)) as server:
        peer = Peer(server.port)
        peer.open()
        assert peer.opened.idle_time_out == 300
        error = peer.read(Close).error
        assert error is not None
        assert error.value[0] == "amqp:resource-limit-exceeded"
        assert peer.is_cut_off()
        peer.socket.close()


def test_no_frame_is_larger_than_the_client_takes(connect, fill):
    queue = fill(1, b"\x00\x53\x75\xb0" + struct.pack(">I", 20_000) + b"z" * 20_000)
    peer = connect()
    peer.open(max_frame_size=UInt(1024))
    peer.receive_from(queue)
    peer.read(Attach)
    peer.give_credit(1)
    first, payload = peer.read_transfer()
    more = first.more
    while more:
        transfer, part = peer.read_transfer()
        payload, more = payload + part, transfer.more
    assert payload.endswith(b"z" * 20_000)
    assert max(peer.frame_sizes) <= 1024


def test_server_waits_for_the_window_of_the_session(connect, fill, server):
    queue = fill(10)
    peer = connect()
    peer.open(window=2)
    peer.receive_from(queue)
    peer.read(Attach)
    peer.give_credit(10, window=2)
    for number in range(2):
        assert peer.read_transfer()[0].delivery_id == number
    assert server.call(lambda it: it.namespace.queue(queue).counts.locked) == 2
    peer.give_credit(8, seen=2, taken=2, window=3)
    for number in range(2, 5):
        assert peer.read_transfer()[0].delivery_id == number
    assert server.call(lambda it: it.namespace.queue(queue).counts.locked) == 5


def test_drained_credit_comes_back(connect, fill, server):
    queue = fill(1)
    peer = connect()
    peer.open()
    peer.receive_from(queue)
    peer.read(Attach)
    peer.give_credit(10, drain=True)
    peer.read_transfer()
    flow = peer.read(Flow)
    assert (flow.delivery_count, flow.link_credit, flow.drain) == (10, 0, True)
    server.call(lambda it: it.namespace.queue(queue).send(Message(body=BODY)))
    assert server.call(lambda it: it.namespace.queue(queue).counts.locked) == 1


def test_settling_all_numbers_there_are_settles_those_that_exist(connect, fill, server):
    queue = fill(3)
    peer = connect()
    peer.open()
    peer.receive_from(queue)
    peer.read(Attach)
    peer.give_credit(3)
    for _ in range(3):
        peer.read_transfer()
    peer.write(Disposition(role=True, first=UInt(0), last=UInt(2**32 - 1), state=Described(ULong(0x24), [])))
    assert [peer.read(Disposition).first for _ in range(3)] == [0, 1, 2]
    assert server.call(lambda it: it.namespace.queue(queue).counts.total) == 0


def test_message_over_the_limit_is_rejected_and_the_link_goes_on(connect, fill, server):
    queue = fill(0)
    peer = connect()
    peer.open()
    peer.send_to(queue)
    peer.read(Attach)
    for more in (True, True, False):
        peer.write(Transfer(UInt(0), UInt(0), b"t", UInt(0), more=more), b"x" * 30_000)
    state = peer.read(Disposition).state
    assert state is not None
    assert state.value[0].value[0] == "amqp:link:message-size-exceeded"
    peer.write(Transfer(UInt(0), UInt(1), b"u", UInt(0)), BODY)
    assert peer.read(Disposition).state == Described(ULong(0x24), [])
    assert server.call(lambda it: it.namespace.queue(queue).counts.active) == 1


def test_malformed_message_is_rejected(connect, fill):
    peer = connect()
    peer.open()
    peer.send_to(fill(0))
    peer.read(Attach)
    for number, payload in enumerate((b"\xff\xff", b"\x00\x53\x70\xa1\x01x", b"\x00\x53\x75\xa0\xff")):
        peer.write(Transfer(UInt(0), UInt(number), b"t", UInt(0)), payload)
        state = peer.read(Disposition).state
        assert state is not None
        assert state.value[0].value[0] == "amqp:decode-error"


@pytest.mark.parametrize(
    "fields",
    [
        {"source": Described(SOURCE, ["q", None, None, None, None, None, None, {Symbol("com.microsoft:x"): "s"}])},
        {"target": Described(ULong(0x30), [])},
    ],
    ids=["filter", "transaction"],
)
def test_what_is_not_supported_is_refused_as_such(connect, fields):
    peer = connect()
    peer.open()
    peer.receive_from("q", **fields)
    peer.read(Attach)
    error = peer.read(Detach).error
    assert error is not None
    assert error.value[0] == "amqp:not-implemented"


def test_session_that_breaks_a_rule_ends_and_the_connection_goes_on(connect):
    peer = connect()
    peer.open()
    peer.write(Detach(UInt(7), closed=True))
    error = peer.read(End).error
    assert error is not None
    assert error.value[0] == "amqp:session:unattached-handle"
    peer.write(Begin(None, UInt(0), UInt(10), UInt(10)))
    assert peer.read(Begin).remote_channel == UShort(0)


def test_dead_letter_queue_takes_no_messages(connect):
    peer = connect()
    peer.open()
    peer.send_to("q/$DeadLetterQueue")
    peer.read(Attach)
    error = peer.read(Detach).error
    assert error is not None
    assert error.value[0] == "amqp:not-allowed"


class FullDisk(NoJournal):
    """A journal that can be told to fail."""

    is_full = False

    def commit(self) -> None:
        if self.is_full:
            raise OSError("No space left on device")


def test_client_is_cut_off_rather_than_told_what_was_not_written_down():
    journal = FullDisk()
    with EmulatorServer.in_thread(journal=journal) as server:
        server.call(lambda it: it.namespace.create("q", {}))
        peer, other = Peer(server.port), Peer(server.port)
        peer.open()
        peer.send_to("q")
        peer.read(Attach)
        journal.is_full = True
        peer.write(Transfer(UInt(0), UInt(0), b"t", UInt(0)), BODY)
        assert peer.is_cut_off()
        journal.is_full = False
        other.open()
        for each in (peer, other):
            each.socket.close()
