"""How far attempts are: told by children through memory that they share with their worker's main process.

A child writes a slot as often as it likes, for the price of a few assignments. The main process reads all slots, and
records what is new in one statement for all of its children.
"""

import mmap
import struct
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from billiard.process import current_process

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries

SQL = load_queries("geoetl.engine.sql", "tasks.sql")

#: More than a worker has children (``GEOETL_WORKER__CONCURRENCY`` is at most 256).
_SLOTS = 512
_ID_BYTES = 16
#: Attempt, steps done, steps in all.
_NUMBERS = struct.Struct("=III")
_SLOT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Report:
    """How far one attempt of a task is."""

    task_id: str
    attempt: int
    done: int
    total: int


class ProgressBoard:
    """One slot for each child of a worker. Made before the pool forks: afterwards parent and children share it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLOTS * _SLOT_BYTES)
        self._told: dict[str, Report] = {}

    def write(self, task_id: str, attempt: int, *, done: int, total: int) -> None:
        """In a child: leave word."""
        # The pool numbers its children, and gives the number of one that died to its successor. Pools without
        # processes have one slot: the last to write is read.
        start = getattr(current_process(), "index", 0) % _SLOTS * _SLOT_BYTES
        numbers = start + _ID_BYTES
        # The name goes first and comes last: nobody reads numbers of one task under the name of another.
        self._memory[start:numbers] = bytes(_ID_BYTES)
        _NUMBERS.pack_into(self._memory, numbers, attempt, done, total)
        self._memory[start:numbers] = UUID(task_id).bytes

    def news(self, of: Collection[str]) -> list[Report]:
        """In the main process: what these tasks said since the last call."""
        found = {report.task_id: report for report in self._read() if report.task_id in of}
        news = [report for report in found.values() if self._told.get(report.task_id) != report]
        self._told = found
        return news

    def _read(self) -> list[Report]:
        reports: list[Report] = []
        for start in range(0, _SLOTS * _SLOT_BYTES, _SLOT_BYTES):
            name = self._memory[start : start + _ID_BYTES]
            if any(name):
                reports.append(Report(str(UUID(bytes=name)), *_NUMBERS.unpack_from(self._memory, start + _ID_BYTES)))
        return reports


def record(conn: Connection, reports: Collection[Report]) -> None:
    """Store reports of attempts that still own their tasks."""
    columns = {
        "ids": [report.task_id for report in reports],
        "attempts": [report.attempt for report in reports],
        "done": [report.done for report in reports],
        "totals": [report.total for report in reports],
    }
    conn.execute(SQL["report"], columns)
