"""Enforcement: whether memory runs out, and who must go before the kernel chooses somebody.

The kernel's choice may be the worker's main process, and nobody hears why. The victim is, as in Kubernetes' evictions,
who is the furthest above what it was expected to need
(https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/).
"""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from geoetl.resources.memory_group import MemoryGroup
from geoetl.resources.process_memory import private_bytes

#: Part of the limit at which somebody is ended.
_TIGHT = 0.95
#: Seconds between a kill by the kernel and the pool's report of a lost process, at most.
_REPORTED_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Worker:
    """A process at work."""

    pid: int
    used_bytes: int
    expected_bytes: int
    """0 where nothing was expected."""

    @property
    def excess_bytes(self) -> int:
        return self.used_bytes - self.expected_bytes


@dataclass(slots=True)
class MemoryWatch:
    """Looks at this worker's processes and the group they are in."""

    group: MemoryGroup
    limit_bytes: int
    """At most the group's own."""
    _kills: int = field(init=False)
    _killed_at: float = field(default=-_REPORTED_WITHIN_S, init=False)

    def __post_init__(self) -> None:
        self._kills = self.group.oom_kills()

    def tight(self) -> str | None:
        """What is nearly used up, in words; None where there is room."""
        self._look_for_kills()
        mine = sum(private_bytes(pid) for pid in (os.getpid(), *child_pids()))
        if mine > _TIGHT * self.limit_bytes:
            return f"this worker's processes take {mib(mine)} of {mib(self.limit_bytes)}"
        used = self.group.used_bytes()
        if used > _TIGHT * self.group.limit_bytes:
            whose = "machine" if self.group.is_machine else "container"
            return f"{mib(used)} of the {whose}'s {mib(self.group.limit_bytes)} are in use"
        return None

    def victim(self, workers: Iterable[Worker]) -> Worker | None:
        """Who must go.

        On a bare machine others may be to blame: there nobody is ended who takes no more than was expected.
        """
        alive = [worker for worker in workers if worker.used_bytes]
        worst = max(alive, key=lambda worker: worker.excess_bytes, default=None)
        is_others = self.group.is_machine and self.limit_bytes >= self.group.limit_bytes
        return None if worst is None or (is_others and worst.excess_bytes <= 0) else worst

    def was_killed_by_kernel(self) -> bool:
        """Whether the kernel has just ended a process of the group for want of memory."""
        self._look_for_kills()
        return time.monotonic() - self._killed_at < _REPORTED_WITHIN_S

    def _look_for_kills(self) -> None:
        kills = self.group.oom_kills()
        if kills > self._kills:
            self._kills, self._killed_at = kills, time.monotonic()


def child_pids() -> Sequence[int]:
    """The children of this process, whichever of its threads started them."""
    pids: list[int] = []
    for thread in Path("/proc/self/task").iterdir():
        try:
            pids += [int(pid) for pid in (thread / "children").read_text().split()]
        except FileNotFoundError:
            continue  # a thread that has ended since
    return pids


def mib(size_bytes: int) -> str:
    """A size as messages write it."""
    return f"{size_bytes / 2**20:,.0f} MiB"
