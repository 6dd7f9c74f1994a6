"""Admission: work begins only while the estimates of all that runs on this machine, or in this container, fit."""

import hashlib
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from geoetl.resources.held_files import HeldFile, left_behind, locked
from geoetl.resources.memory_group import MemoryGroup, memory_group

#: Seconds between looks while waiting. What frees room is the end of another process, which rings no bell.
_LOOK_S = 0.25
_SUFFIX = ".share"


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Why work cannot begin now."""

    wanted_bytes: int
    taken_bytes: int
    """By what runs."""
    budget_bytes: int


class Share:
    """Memory that was promised to one attempt; given back by `release`, or by the end of its process."""

    def __init__(self, file: HeldFile, *, size_bytes: int, allowed_bytes: int) -> None:
        self._file = file
        self.size_bytes = size_bytes
        self.allowed_bytes = allowed_bytes
        """What it may take at most: all that was promised to nobody else when it began, and what it was promised."""

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        self._file.release()


class MemoryRoom:
    """The memory of one group of processes, shared out by estimates."""

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.folder = folder
        """Where the shares of all its processes are."""

    def take(self, wanted_bytes: int) -> Share | NoRoom:
        """Promise memory, if there is room.

        Work that is larger than the budget may begin alone: an estimate may be wrong, and if it is not, the failure
        says so better than a task that waits for ever.

        Raises:
            OSError: The folder cannot be used.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.folder / "lock"):
            taken = self._taken_bytes()
            if taken and taken + wanted_bytes > self.budget_bytes:
                return NoRoom(wanted_bytes, taken, self.budget_bytes)
            file = HeldFile(self.folder, f"{wanted_bytes}-", _SUFFIX)
        return Share(file, size_bytes=wanted_bytes, allowed_bytes=max(wanted_bytes, self.budget_bytes - taken))

    def wait(self, wanted_bytes: int, *, within_s: float) -> Share | NoRoom:
        """As `take`, but wait for room."""
        until = time.monotonic() + within_s
        while True:
            found = self.take(wanted_bytes)
            if isinstance(found, Share) or time.monotonic() >= until:
                return found
            time.sleep(_LOOK_S)

    def _taken_bytes(self) -> int:
        taken = 0
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with left_behind(path) as is_left:
                if not is_left:
                    taken += int(path.name.partition("-")[0])
        return taken


def room_of(
    folder: Path, *, limit_bytes: int | None, reserve_bytes: int, group: MemoryGroup | None = None
) -> MemoryRoom:
    """The room of this process's group.

    Args:
        folder: Where the workers of this machine can see each other's shares.
        limit_bytes: In place of the group's own limit, where that is larger.
        reserve_bytes: Kept for everything but tasks.
        group: For tests.
    """
    group = group or memory_group()
    limit = min(group.limit_bytes, limit_bytes or group.limit_bytes)
    # A folder may be shared by machines and containers, each with a memory of its own.
    key = hashlib.sha256(f"{platform.node()} {group.name}".encode()).hexdigest()[:12]
    return MemoryRoom(folder / f"geoetl-memory-{os.getuid()}-{key}", max(0, limit - reserve_bytes))
