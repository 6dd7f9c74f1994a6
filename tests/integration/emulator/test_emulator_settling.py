"""Settling as clients other than azure-servicebus for Python do it, frame by frame."""

import struct
from uuid import UUID

import pytest

from geoetl.emulator.amqp_types import Described, Symbol, UInt, ULong
from geoetl.emulator.performatives import Attach, Detach, Disposition, Flow
from tests.integration.emulator.peer import Management, Peer

REJECTED, MODIFIED = ULong(0x25), ULong(0x27)


def take_one(peer: Peer, queue: str) -> None:
    peer.open()
    peer.receive_from(queue)
    peer.read(Attach)
    peer.give_credit(1)
    peer.read_transfer()


def settle(peer: Peer, state: Described) -> None:
    peer.write(Disposition(role=True, first=UInt(0), state=state))
    assert peer.read(Disposition).state is not None


@pytest.mark.parametrize("flags", [[None, None], [None, False], [False, False], [True, False]])
def test_modified_message_counts_as_delivered(connect, fill, server, flags):
    # The clients for .NET and JavaScript abandon without `delivery-failed`.
    queue, peer = fill(1), connect()
    take_one(peer, queue)
    settle(peer, Described(MODIFIED, [*flags, {Symbol("why"): "tired"}]))
    (message,) = server.call(lambda it: it.namespace.queue(queue).peek(0, 9))
    assert (message.delivery_count, message.read_application_properties()) == (1, {"why": "tired"})
    assert [type(name) for name in message.read_application_properties()] == [str]


def test_dead_letter_keeps_the_properties_it_is_rejected_with(connect, fill, server):
    queue, peer = fill(1), connect()
    take_one(peer, queue)
    info = {Symbol("DeadLetterReason"): "r", Symbol("DeadLetterErrorDescription"): "d", Symbol("tries"): 3}
    error = Described(ULong(0x1D), [Symbol("com.microsoft:dead-letter"), None, info])
    settle(peer, Described(REJECTED, [error]))
    (dead,) = server.call(lambda it: it.namespace.queue(queue).dead_letters.peek(0, 9))
    assert dead.read_application_properties() == {
        "DeadLetterReason": "r", "DeadLetterErrorDescription": "d", "tries": 3
    }  # fmt: skip


def test_dead_letter_keeps_the_properties_of_its_settlement_by_token(connect, fill, server):
    queue, peer = fill(1), connect()
    peer.open()
    management = Management(peer, queue)
    peer.receive_from(queue)
    peer.read(Attach)
    peer.give_credit(1)
    peer.read_transfer()
    (message,) = server.call(lambda it: it.namespace.queue(queue).peek(0, 9))
    settlement = {
        "disposition-status": "suspended",
        "lock-tokens": [UUID(bytes_le=message.lock_token)],
        "deadletter-reason": "r",
        "properties-to-modify": {"tries": 3},
    }
    assert management.ask("update-disposition", settlement)[0] == 200
    (dead,) = server.call(lambda it: it.namespace.queue(queue).dead_letters.peek(0, 9))
    assert dead.read_application_properties() == {"DeadLetterReason": "r", "tries": 3}


def test_nothing_of_a_message_comes_after_its_link_is_detached(connect, fill, server):
    queue, peer = fill(1, b"\x00\x53\x75\xb0" + struct.pack(">I", 20_000) + b"z" * 20_000), connect()
    peer.open(window=2, max_frame_size=UInt(1024))
    peer.receive_from(queue)
    peer.read(Attach)
    peer.give_credit(1, window=2)
    for _ in range(2):
        assert peer.read_transfer()[0].more
    peer.write(Detach(UInt(0), closed=True))
    peer.read(Detach)
    peer.write(Flow(UInt(2), UInt(1000), UInt(0), UInt(1000), echo=True))
    assert peer.read(Flow).next_outgoing_id == 2
