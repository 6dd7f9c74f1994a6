"""The Service Bus emulator as a process of the stack."""

import shutil
import socket
import sys
from pathlib import Path

from geoetl.local.component import Health
from geoetl.local.ports import HOST, Ports
from geoetl.local.processes import Process, start, wait_until_ready

#: The first bytes of an AMQP connection that will log in with SASL (AMQP 1.0, part 5.3.2).
_SASL_HEADER = b"AMQP\x03\x01\x00\x00"

#: No secret: whoever reaches the loopback address of this machine may use the emulator.
_KEY = "geoetl-local-emulator"


class Emulator:
    """One emulator: AMQP and administration on one port, queues and messages on disk."""

    name = "emulator"

    def __init__(self, *, folder: Path, ports: Ports, log: Path, record: Path) -> None:
        self._folder = folder
        self._ports = ports
        self._log = log
        self._record = record

    @property
    def connection_string(self) -> str:
        """For the Service Bus SDK."""
        endpoint = f"sb://{HOST}:{self._ports.of(self.name)}"
        access = f"SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey={_KEY}"
        return f"Endpoint={endpoint};{access};UseDevelopmentEmulator=true;"

    def start(self) -> None:
        """Start it where it does not run.

        Raises:
            StartFailed: It did not come up.
            PortTaken: Another program has its port.
        """
        process = Process.read(self._record)
        if process is None or not process.is_running:
            port = self._ports.claim(self.name)
            self._folder.mkdir(parents=True, exist_ok=True)
            options = ["--port", str(port), "--key", _KEY, "--data", str(self._folder)]
            command = [sys.executable, "-m", "geoetl.emulator", *options]
            process = start(command, log=self._log, record=self._record)
        wait_until_ready(process, self._answers, what="The Service Bus emulator", log=self._log, timeout_s=30)
        self._ports.confirm(self.name)

    def stop(self) -> None:
        """Stop it; queues and messages stay."""
        process = Process.read(self._record)
        if process is not None:
            process.stop()
        self._record.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all queues and messages."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def health(self) -> Health:
        """By the beginning of an AMQP handshake."""
        process = Process.read(self._record)
        if process is None or not process.is_running:
            return Health(state="stopped")
        address = f"{HOST}:{self._ports.of(self.name)}"
        if not self._answers():
            return Health(state="unhealthy", detail=f"speaks no AMQP at {address}")
        return Health(state="healthy", detail=f"amqp://{address}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self._ports.of(self.name)), timeout=2) as connection:
                connection.sendall(_SASL_HEADER)
                return connection.recv(8).startswith(b"AMQP")
        except OSError:
            return False
