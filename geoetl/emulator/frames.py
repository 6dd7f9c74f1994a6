"""Frames on the wire: an 8-byte header and a body (AMQP 1.0, part 2.3)."""

import struct
from typing import Final, NamedTuple

from geoetl.emulator.conditions import FRAMING_ERROR, ServiceBusError

AMQP_FRAME: Final = 0
SASL_FRAME: Final = 1

#: A frame that says nothing but "alive".
EMPTY_FRAME: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"
FRAME_HEADER_SIZE: Final = 8

AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"

_HEADER = struct.Struct(">IBBH")


class Frame(NamedTuple):
    """A frame. An empty body is a heartbeat."""

    kind: int
    channel: int
    body: bytes


def encode_frame_header(body_size: int, channel: int, kind: int = AMQP_FRAME) -> bytes:
    """The 8 bytes before a body."""
    return _HEADER.pack(body_size + FRAME_HEADER_SIZE, 2, kind, channel)


class FrameReader:
    """Cuts a stream of bytes into protocol headers and frames.

    Args:
        max_frame_size: the size in bytes above which a frame breaks the connection.
    """

    def __init__(self, max_frame_size: int) -> None:
        self._max_frame_size = max_frame_size
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def read_header(self) -> bytes | None:
        """The next 8 bytes, when they are there."""
        end = self._at + FRAME_HEADER_SIZE
        if len(self._buffer) < end:
            return self._compact()
        header = bytes(self._buffer[self._at : end])
        self._at = end
        return header

    def read_frame(self) -> Frame | None:
        """The next frame, when all of it is there.

        Raises:
            ServiceBusError: what stands there is not a frame, or too large for one.
        """
        buffer, at = self._buffer, self._at
        if len(buffer) - at < FRAME_HEADER_SIZE:
            return self._compact()
        size, offset, kind, channel = _HEADER.unpack_from(buffer, at)
        if size > self._max_frame_size:
            raise ServiceBusError(FRAMING_ERROR, f"A frame of {size} bytes is over {self._max_frame_size}.")
        if offset < 2 or offset * 4 > size or kind > SASL_FRAME:
            raise ServiceBusError(FRAMING_ERROR, f"Not a frame: data offset {offset}, size {size}, type {kind}.")
        if len(buffer) - at < size:
            return self._compact()
        self._at = at + size
        return Frame(kind, channel, bytes(buffer[at + offset * 4 : at + size]))

    def _compact(self) -> None:
        # Once per read of the socket, not once per frame: moving the rest of a buffer is what costs.
        del self._buffer[: self._at]
        self._at = 0
