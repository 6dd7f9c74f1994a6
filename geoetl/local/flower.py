"""Flower as a process of the stack: the web page that shows workers and tasks."""

import os
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import override

from geoetl.local.component import ToolMissing
from geoetl.local.port_service import PortService
from geoetl.local.ports import HOST, Ports
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


class Flower(PortService):
    """One Flower on the loopback address, open to whoever is on this machine."""

    name = "flower"
    title = "Flower"

    def __init__(self, *, home: Path, ports: Ports, log: Path, record: Path) -> None:
        super().__init__(ports=ports, log=log, record=record)
        self._home = home

    @property
    @override
    def address(self) -> str:
        return f"http://{HOST}:{self._ports.of(self.name)}"

    @override
    def prepare(self) -> None:
        check_installed()

    @override
    def command(self, port: int) -> Sequence[str]:
        return flower_command("--address=" + HOST, f"--port={port}")

    @override
    def environ(self) -> Mapping[str, str]:
        # Flower's buttons use its API, which it opens to nobody unless told to, or signed in.
        return {**os.environ, "GEOETL_HOME": str(self._home), "FLOWER_UNAUTHENTICATED_API": "true"}

    @override
    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/healthcheck", timeout=2) as answer:  # noqa: S310 - our own address
                return answer.status == 200
        except OSError:
            return False

    def remove(self) -> None:
        """Nothing: it forgets what it has seen."""
