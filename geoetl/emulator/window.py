"""The window of a session towards its peer: how many transfer frames may be under way (AMQP 1.0, part 2.5.6)."""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

#: The largest window AMQP's serial numbers can tell from a negative one.
MAX_WINDOW: Final = 0x7FFFFFFF
SERIAL_MASK: Final = 0xFFFFFFFF


class Sender(Protocol):
    """The link a transfer frame belongs to."""

    @property
    def is_detached(self) -> bool: ...


class TransferWindow:
    """Sends transfer frames as the peer's window allows, and holds the rest back in order.

    Args:
        write: sends the body of a frame.
        size: the window the peer began with.
    """

    def __init__(self, write: Callable[[bytes], None], size: int) -> None:
        self._write = write
        self._room = size
        self._held: deque[tuple[Sender, bytes]] = deque()
        self.next_outgoing_id = 0

    @property
    def is_open(self) -> bool:
        return self._room > 0

    def send(self, sender: Sender, body: bytes) -> None:
        """Sends a transfer frame, now or when the window opens; not at all if its link is detached until then."""
        if self._room > 0 and not self._held:
            self._write_now(body)
        else:
            self._held.append((sender, body))

    def update(self, next_incoming_id: int, size: int) -> None:
        """Takes the peer's word on what it has seen and how much more it takes."""
        room = (next_incoming_id + size - self.next_outgoing_id) & SERIAL_MASK
        self._room = room if room <= MAX_WINDOW else 0
        while self._held and self._room > 0:
            sender, body = self._held.popleft()
            if not sender.is_detached:
                self._write_now(body)

    def _write_now(self, body: bytes) -> None:
        self.next_outgoing_id = (self.next_outgoing_id + 1) & SERIAL_MASK
        self._room -= 1
        self._write(body)
