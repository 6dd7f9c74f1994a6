"""Waking a thread that sleeps in `select`, from any other thread."""

import socket
from contextlib import suppress


class Wakeup:
    """A socket pair: `set` makes `fileno` readable until `clear`.

    Many calls of `set` cost one byte. The reader must call `clear` *before* it looks for work: the other order loses
    a wake-up for ever (a worker stalled on it).
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._is_set = False

    def fileno(self) -> int:
        return self._reader.fileno()

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            with suppress(OSError):  # full (then it is readable anyway) or closed (then nobody waits)
                self._writer.send(b"\0")

    def clear(self) -> None:
        with suppress(OSError):
            self._reader.recv(4096)
        self._is_set = False

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
