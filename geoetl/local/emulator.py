"""The Service Bus emulator as a process of the stack."""

import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import override

from geoetl.local.port_service import PortService
from geoetl.local.ports import HOST, Ports

#: The first bytes of an AMQP connection that will log in with SASL (AMQP 1.0, part 5.3.2).
_SASL_HEADER = b"AMQP\x03\x01\x00\x00"

#: No secret: whoever reaches the loopback address of this machine may use the emulator.
_KEY = "geoetl-local-emulator"


class Emulator(PortService):
    """One emulator: AMQP and administration on one port, queues and messages on disk."""

    name = "emulator"
    title = "The Service Bus emulator"
    start_timeout_s = 30

    def __init__(self, *, folder: Path, ports: Ports, log: Path, record: Path) -> None:
        super().__init__(ports=ports, log=log, record=record)
        self._folder = folder

    @property
    def connection_string(self) -> str:
        """For the Service Bus SDK."""
        endpoint = f"sb://{HOST}:{self._ports.of(self.name)}"
        access = f"SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey={_KEY}"
        return f"Endpoint={endpoint};{access};UseDevelopmentEmulator=true;"

    @property
    @override
    def address(self) -> str:
        return f"amqp://{HOST}:{self._ports.of(self.name)}"

    @override
    def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    @override
    def command(self, port: int) -> Sequence[str]:
        options = ["--port", str(port), "--key", _KEY, "--data", str(self._folder)]
        return [sys.executable, "-m", "geoetl.emulator", *options]

    @override
    def answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self._ports.of(self.name)), timeout=2) as connection:
                connection.sendall(_SASL_HEADER)
                return connection.recv(8).startswith(b"AMQP")
        except OSError:
            return False

    def remove(self) -> None:
        """Delete all queues and messages."""
        shutil.rmtree(self._folder, ignore_errors=True)
