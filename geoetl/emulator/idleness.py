"""Deletes queues nobody has used for as long as their AutoDeleteOnIdle says."""

from collections.abc import Callable

from geoetl.emulator.queue import Queue
from geoetl.emulator.timers import Timers


class IdleWatch:
    """Watches one queue from now on.

    Args:
        queue: what is watched.
        timers: who calls when the time may have come.
        delete: called once when the queue has been idle for long enough.
    """

    def __init__(self, queue: Queue, timers: Timers, delete: Callable[[Queue], None]) -> None:
        self._queue = queue
        self._timers = timers
        self._delete = delete
        self._arm(queue.touched_at)

    def tick(self, now: float) -> None:
        """Deletes the queue if it has been idle since long enough; looks again later if not."""
        idle_s = self._queue.description.auto_delete_on_idle_s
        if idle_s is None or self._queue.is_deleted:
            return
        if self._queue.is_in_use:
            self._arm(now)
        elif self._queue.touched_at + idle_s <= now:
            self._delete(self._queue)
        else:
            self._arm(self._queue.touched_at)

    def _arm(self, since: float) -> None:
        idle_s = self._queue.description.auto_delete_on_idle_s
        if idle_s is not None:
            self._timers.arm(since + idle_s, self)
