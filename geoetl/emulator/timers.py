"""What falls due, and when: one heap for all queues. Holds no thread and no event loop; its owner runs it."""

import heapq
from collections.abc import Callable
from typing import Protocol

from geoetl.emulator.clock import Clock
from geoetl.emulator.locks import NEVER


class Timed(Protocol):
    """Something with work to do at a time."""

    def tick(self, now: float) -> None:
        """Does what is due at a time, in seconds since the Unix epoch, and arms itself again."""
        ...


class Timers:
    """Runs each :class:`Timed` at the time it asked for.

    Args:
        clock: tells what is due.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Timed]] = []
        self._armed = 0
        #: Called with the new earliest time whenever it moves forward; the owner sets its alarm by it.
        self.on_earlier: Callable[[float], None] = lambda _due: None

    def arm(self, due: float, timed: Timed) -> None:
        """Asks for a tick at a time. An earlier request of the same object stays: ticks may come without need."""
        is_earliest = not self._heap or due < self._heap[0][0]
        self._armed += 1
        heapq.heappush(self._heap, (due, self._armed, timed))
        if is_earliest:
            self.on_earlier(due)

    @property
    def next_due(self) -> float | None:
        """When to run next; None when nothing waits."""
        return self._heap[0][0] if self._heap else None

    def run(self) -> None:
        """Does everything that is due."""
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            _, _, timed = heapq.heappop(self._heap)
            timed.tick(now)


class Alarm:
    """Ticks for one :class:`Timed`, at the earliest of the times it asks for.

    Args:
        timers: who calls.
        timed: who is called.
    """

    def __init__(self, timers: Timers, timed: Timed) -> None:
        self._timers = timers
        self._timed = timed
        self._due = NEVER

    def set(self, due: float) -> None:
        """Asks for a tick at a time, unless there will be an earlier one."""
        if due < self._due:
            self._due = due
            self._timers.arm(due, self._timed)

    def clear(self) -> None:
        """Forgets the time asked for: it has come."""
        self._due = NEVER
