"""Flower as a process of the stack: the web page that shows workers and tasks."""

import os
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from geoetl.local.component import Health, ToolMissing
from geoetl.local.ports import HOST, Ports
from geoetl.local.processes import Process, start, wait_until_ready
from geoetl.worker.monitor import flower_command


def check_installed() -> None:
    """Flower is an optional part.

    Raises:
        ToolMissing: It is not there.
    """
    if find_spec("flower") is None:
        raise ToolMissing(
            "Flower is not installed.", hint=f"Install it: `{sys.executable} -m pip install 'geoetl[flower]'`."
        )


class Flower:
    """One Flower on the loopback address, open to whoever is on this machine."""

    name = "flower"

    def __init__(self, *, home: Path, ports: Ports, log: Path, record: Path) -> None:
        self._home = home
        self._ports = ports
        self._log = log
        self._record = record

    @property
    def url(self) -> str:
        """Its address for a browser."""
        return f"http://{HOST}:{self._ports.of(self.name)}"

    def start(self) -> None:
        """Start it where it does not run.

        Raises:
            ToolMissing: The package is not installed.
            StartFailed: It did not come up.
            PortTaken: Another program has its port.
        """
        process = Process.read(self._record)
        if process is None or not process.is_running:
            check_installed()
            port = self._ports.claim(self.name)
            # Flower's buttons use its API, which it opens to nobody unless told to, or signed in.
            environ = {**os.environ, "GEOETL_HOME": str(self._home), "FLOWER_UNAUTHENTICATED_API": "true"}
            command = flower_command("--address=" + HOST, f"--port={port}")
            process = start(command, log=self._log, record=self._record, environ=environ)
        wait_until_ready(process, self._answers, what="Flower", log=self._log, timeout_s=60)
        self._ports.confirm(self.name)

    def stop(self) -> None:
        """Stop it; it forgets what it has seen."""
        process = Process.read(self._record)
        if process is not None:
            process.stop()
        self._record.unlink(missing_ok=True)

    def remove(self) -> None:
        """Nothing: it keeps nothing."""

    def health(self) -> Health:
        """By its own answer."""
        process = Process.read(self._record)
        if process is None or not process.is_running:
            return Health(state="stopped")
        if not self._answers():
            return Health(state="unhealthy", detail=f"does not answer at {self.url}")
        return Health(state="healthy", detail=self.url)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthcheck", timeout=2) as answer:  # noqa: S310 - our own address
                return answer.status == 200
        except OSError:
            return False
