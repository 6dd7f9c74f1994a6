"""A service of the stack that is one process and listens on one port, which it keeps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from geoetl.local.component import Health
from geoetl.local.ports import Ports
from geoetl.local.processes import Process, start, wait_until_ready


class PortService(ABC):
    """What starting, stopping and asking have in common. A `Component`, but for `remove`."""

    name: str
    title: ClassVar[str]
    """What messages call it."""
    start_timeout_s: ClassVar[float] = 60

    def __init__(self, *, ports: Ports, log: Path, record: Path) -> None:
        self._ports = ports
        self._log = log
        self._record = record

    @property
    @abstractmethod
    def address(self) -> str:
        """Where people, and its own clients, find it."""

    @abstractmethod
    def prepare(self) -> None:
        """Have ready what it needs, before its port is claimed: another program could take that meanwhile.

        Raises:
            ToolMissing: A program is missing.
        """

    @abstractmethod
    def command(self, port: int) -> Sequence[str]:
        """What starts it."""

    def environ(self) -> Mapping[str, str] | None:
        """The environment of the process; None: this one's."""
        return None

    @abstractmethod
    def answers(self) -> bool:
        """Whether it, and nobody else, answers at its port."""

    def start(self) -> None:
        """Start it where it does not run.

        Raises:
            StartFailed: It did not come up.
            ToolMissing: It is not installed and could not be.
            PortTaken: Another program has its port.
        """
        process = Process.read(self._record)
        if process is None or not process.is_running:
            self.prepare()
            command = self.command(self._ports.claim(self.name))
            process = start(command, log=self._log, record=self._record, environ=self.environ())
        wait_until_ready(process, self.answers, what=self.title, log=self._log, timeout_s=self.start_timeout_s)
        self._ports.confirm(self.name)

    def stop(self) -> None:
        """Stop it; what it keeps stays."""
        process = Process.read(self._record)
        if process is not None:
            process.stop()
        self._record.unlink(missing_ok=True)

    def health(self) -> Health:
        """By its own answer."""
        process = Process.read(self._record)
        if process is None or not process.is_running:
            return Health(state="stopped")
        if not self.answers():
            return Health(state="unhealthy", detail=f"does not answer at {self.address}")
        return Health(state="healthy", detail=self.address)
