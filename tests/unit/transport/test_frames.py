"""Reading frames from a socket: only whole ones count, and nothing ever waits."""

import socket
import time
from io import BytesIO

import pytest
from azure.servicebus.exceptions import ServiceBusConnectionError

from geoetl.transport.frames import READ_BYTES, has_more, has_whole_frame, read_available

FRAME = b"\x00\x00\x00\x0c\x02\x00\x00\x00body"


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(("data", "is_whole"), [(b"", False), (FRAME[:3], False), (FRAME[:-1], False), (FRAME, True),
                                                (FRAME + FRAME[:1], True)])  # fmt: skip
def test_frame_is_whole_when_all_of_its_size_is_there(data, is_whole):
    assert has_whole_frame(BytesIO(data)) is is_whole


def test_what_was_read_before_does_not_count():
    buffer = BytesIO(FRAME + FRAME[:5])
    buffer.seek(len(FRAME))
    assert not has_whole_frame(buffer)


def test_silent_socket_is_not_waited_for(pair):
    ours, _ = pair
    ours.settimeout(30)
    began = time.monotonic()
    assert read_available(ours) == b""
    assert time.monotonic() - began < 10


def test_all_that_has_arrived_is_taken_at_once(pair):
    ours, theirs = pair
    theirs.sendall(FRAME * 3)
    assert read_available(ours) == FRAME * 3
    assert not has_more(ours, FRAME * 3)
    assert has_more(ours, b"x" * READ_BYTES)


def test_closed_connection_is_said(pair):
    ours, theirs = pair
    theirs.close()
    with pytest.raises(ServiceBusConnectionError, match="closed the connection"):
        read_available(ours)
