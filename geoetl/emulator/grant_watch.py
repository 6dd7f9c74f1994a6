"""Takes grants back when they expire."""

import asyncio
from collections.abc import Callable

from geoetl.emulator.clock import Clock
from geoetl.emulator.locks import NEVER
from geoetl.emulator.tokens import Grants


class GrantWatch:
    """The grants of one connection, and the timer of their expiry.

    Args:
        clock: what time it is.
        on_expired: called when grants have been taken back.
    """

    def __init__(self, clock: Clock, on_expired: Callable[[], None]) -> None:
        self.grants = Grants(self._arm)
        self._clock = clock
        self._on_expired = on_expired
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Calls nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self.stop()
        expires_at = self.grants.next_expiry
        if expires_at < NEVER:
            self._timer = self._loop.call_later(max(expires_at - self._clock.now(), 0), self._expire)

    def _expire(self) -> None:
        self.grants.expire(self._clock.now())
        self._on_expired()
        self._arm()
