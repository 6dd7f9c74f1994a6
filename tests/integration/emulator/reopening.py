"""A namespace whose emulator is started again and again."""

from pathlib import Path

from geoetl.emulator.clock import ManualClock
from geoetl.emulator.namespace import Namespace
from geoetl.emulator.queue import Queue
from geoetl.emulator.sqlite_journal import SqliteJournal


class Reopening:
    """A namespace on a journal that is given up and read again."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self._directory = directory
        self.open()

    def open(self) -> None:
        self.journal = SqliteJournal(self._directory)
        self.namespace = Namespace(self.clock, self.journal)

    def reopen(self) -> Queue:
        self.journal.commit()
        self.journal.close()
        self.open()
        return self.namespace.queue("q")
