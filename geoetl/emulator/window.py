"""The window of a session towards its peer: how many transfer frames may be under way (AMQP 1.0, part 2.5.6)."""

from collections import deque
from collections.abc import Callable
from typing import Final

#: The largest window AMQP's serial numbers can tell from a negative one.
MAX_WINDOW: Final = 0x7FFFFFFF
SERIAL_MASK: Final = 0xFFFFFFFF


class TransferWindow:
    """Sends transfer frames as the peer's window allows, and holds the rest back in order.

    Args:
        write: sends the body of a frame.
        size: the window the peer began with.
    """

    def __init__(self, write: Callable[[bytes], None], size: int) -> None:
        self._write = write
        self._room = size
        self._held: deque[bytes] = deque()
        self.next_outgoing_id = 0

    @property
    def is_open(self) -> bool:
        return self._room > 0

    def send(self, body: bytes) -> None:
        """Sends a transfer frame, now or when the window opens."""
        if self._room > 0 and not self._held:
            self._write_now(body)
        else:
            self._held.append(body)

    def update(self, next_incoming_id: int, size: int) -> None:
        """Takes the peer's word on what it has seen and how much more it takes."""
        room = (next_incoming_id + size - self.next_outgoing_id) & SERIAL_MASK
        self._room = room if room <= MAX_WINDOW else 0
        while self._held and self._room > 0:
            self._write_now(self._held.popleft())

    def _write_now(self, body: bytes) -> None:
        self.next_outgoing_id = (self.next_outgoing_id + 1) & SERIAL_MASK
        self._room -= 1
        self._write(body)
