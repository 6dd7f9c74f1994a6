"""Azurite: blob storage on this machine."""

import contextlib
import http.client
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from geoetl.local.component import Health, ignore_progress
from geoetl.local.ports import HOST, Ports
from geoetl.local.processes import Process, start, wait_until_ready
from geoetl.local.tools import azurite_command

#: Azurite's built-in account. The key is public:
#: https://learn.microsoft.com/azure/storage/common/storage-use-azurite#well-known-storage-account-and-key
ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Azurite:
    """One Azurite, blobs only, with one account for both tiers."""

    name = "azurite"

    def __init__(
        self,
        *,
        folder: Path,
        ports: Ports,
        log: Path,
        record: Path,
        containers: Sequence[str] = ("bronze", "silver"),
        progress: Callable[[str], None] = ignore_progress,
    ) -> None:
        self._folder = folder
        self._ports = ports
        self._log = log
        self._record = record
        self._containers = containers
        self._progress = progress

    @property
    def connection_string(self) -> str:
        """For every Azure Storage client, GDAL included."""
        endpoint = f"http://{HOST}:{self._ports.of(self.name)}/{ACCOUNT}"
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={_KEY};BlobEndpoint={endpoint};"

    def start(self) -> None:
        """Start it where it does not run, and create the containers.

        Raises:
            StartFailed: It did not come up.
            ToolMissing: It is not installed and could not be.
            PortTaken: Another program has its port.
        """
        process = Process.read(self._record)
        if process is None or not process.is_running:
            command = azurite_command(self._progress)
            port = self._ports.claim(self.name)
            # The SDK is always ahead of the API versions that Azurite knows; without the flag it refuses every call.
            options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location", str(self._folder)]
            self._folder.mkdir(parents=True, exist_ok=True)
            process = start(
                [*command, *options, "--blobHost", HOST, "--blobPort", str(port)], log=self._log, record=self._record
            )
        wait_until_ready(process, self._answers, what="Azurite", log=self._log, timeout_s=60)
        self._ports.confirm(self.name)
        self._create_containers()

    def stop(self) -> None:
        """Stop it; blobs stay."""
        process = Process.read(self._record)
        if process is not None:
            process.stop()
        self._record.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all blobs."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def health(self) -> Health:
        """By an HTTP request that Azurite, and nobody else, answers with its name."""
        process = Process.read(self._record)
        if process is None or not process.is_running:
            return Health(state="stopped")
        address = f"http://{HOST}:{self._ports.of(self.name)}"
        if not self._answers():
            return Health(state="unhealthy", detail=f"does not answer at {address}")
        return Health(state="healthy", detail=f"{address}/{ACCOUNT}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self._ports.of(self.name), timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().getheader("Server", "").startswith("Azurite-Blob")
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _create_containers(self) -> None:
        # Imported here: it takes 0.4 s, which `status` and `down` need not pay.
        from azure.core.exceptions import ResourceExistsError  # noqa: PLC0415
        from azure.storage.blob import BlobServiceClient  # noqa: PLC0415

        with BlobServiceClient.from_connection_string(self.connection_string) as service:
            for name in self._containers:
                with contextlib.suppress(ResourceExistsError):
                    service.create_container(name).close()
