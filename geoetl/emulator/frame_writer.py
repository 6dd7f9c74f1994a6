"""Writes frames to a connection, those of one turn of the event loop at once."""

import asyncio
from collections.abc import Callable

from geoetl.emulator.frames import AMQP_FRAME, encode_frame_header


class FrameWriter:
    """Collects what is to be sent.

    Args:
        transport: where it is sent.
        before_flush: runs before bytes leave: what clients are told must be true after a crash, too.
    """

    def __init__(self, transport: asyncio.Transport, before_flush: Callable[[], None]) -> None:
        self._transport = transport
        self._before_flush = before_flush
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Sends bytes that are whole frames or headers, at the end of this turn of the loop."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(data)

    def write_frame(self, channel: int, body: bytes, kind: int = AMQP_FRAME) -> None:
        self.write(encode_frame_header(len(body), channel, kind) + body)

    def flush(self) -> None:
        """Sends what was collected now."""
        data = b"".join(self._out)
        self._out.clear()
        if not data or self._transport.is_closing():
            return
        try:
            self._before_flush()
        except BaseException:
            # Nothing may be told that could not be written down; the client finds out by asking again.
            self._transport.abort()
            raise
        self._transport.write(data)

    def discard(self) -> None:
        """Forgets what was collected."""
        self._out.clear()
