"""Keeps a connection alive, and notices when its peer is not (AMQP 1.0, part 2.4.5)."""

import asyncio
from collections.abc import Callable


class Liveness:
    """The timers of one connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last_heard = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None
        self._heartbeat: asyncio.TimerHandle | None = None

    def hear(self) -> None:
        """Notes that the peer has sent something."""
        self._last_heard = self._loop.time()

    def set_deadline(self, within_s: float, on_late: Callable[[], None]) -> None:
        """Calls `on_late` unless :meth:`watch_silence` or :meth:`stop` comes first."""
        self._watch = self._loop.call_later(within_s, on_late)

    def watch_silence(self, limit_s: float, on_silence: Callable[[float], None]) -> None:
        """Calls `on_silence` with its length in seconds when nothing is heard for `limit_s`."""
        if self._watch is not None:
            self._watch.cancel()
        silence_s = self._loop.time() - self._last_heard
        if silence_s >= limit_s:
            on_silence(silence_s)
        else:
            self._watch = self._loop.call_later(limit_s - silence_s, self.watch_silence, limit_s, on_silence)

    def beat(self, interval_s: float, send: Callable[[], None]) -> None:
        """Calls `send` now and at every interval."""
        send()
        self._heartbeat = self._loop.call_later(interval_s, self.beat, interval_s, send)

    def stop(self) -> None:
        """Calls nobody any more."""
        for timer in (self._watch, self._heartbeat):
            if timer is not None:
                timer.cancel()
