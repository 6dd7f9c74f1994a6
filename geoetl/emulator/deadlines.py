"""Sequence numbers with a time each, earliest first."""

import heapq
from collections.abc import Iterator

from geoetl.emulator.locks import NEVER


class Deadlines:
    """What falls due when. Numbers whose message is gone meanwhile stay until their time; who pops them looks."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    @property
    def next_due(self) -> float:
        """The earliest time, in seconds since the Unix epoch; infinity when there is none."""
        return self._heap[0][0] if self._heap else NEVER

    def add(self, at: float, sequence_number: int) -> None:
        heapq.heappush(self._heap, (at, sequence_number))

    def pop_due(self, now: float) -> Iterator[int]:
        """Removes and yields what is due at a time."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[1]
