"""Deletes entities nobody has used for as long as their AutoDeleteOnIdle says.

https://learn.microsoft.com/azure/service-bus-messaging/message-expiration#temporary-entities
"""

from collections.abc import Callable
from typing import Protocol

from geoetl.emulator.timers import Timers


class Perishable(Protocol):
    """A queue, subscription or topic as idleness sees it."""

    @property
    def idle_limit_s(self) -> float | None:
        """After how long without use it goes; None: never."""
        ...

    @property
    def is_deleted(self) -> bool: ...

    @property
    def is_in_use(self) -> bool:
        """Whether it is in use right now."""
        ...

    @property
    def touched_at(self) -> float:
        """When it was last used, in seconds since the Unix epoch."""
        ...


class IdleWatch:
    """Watches one entity from now on.

    Args:
        entity: what is watched.
        timers: who calls when the time may have come.
        delete: called once when the entity has been idle for long enough.
    """

    def __init__(self, entity: Perishable, timers: Timers, delete: Callable[[], None]) -> None:
        self._entity = entity
        self._timers = timers
        self._delete = delete
        self._arm(entity.touched_at)

    def tick(self, now: float) -> None:
        """Deletes the entity if it has been idle since long enough; looks again later if not."""
        idle_s = self._entity.idle_limit_s
        if idle_s is None or self._entity.is_deleted:
            return
        if self._entity.is_in_use:
            self._arm(now)
        elif self._entity.touched_at + idle_s <= now:
            self._delete()
        else:
            self._arm(self._entity.touched_at)

    def _arm(self, since: float) -> None:
        idle_s = self._entity.idle_limit_s
        if idle_s is not None:
            self._timers.arm(since + idle_s, self)
