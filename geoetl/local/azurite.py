"""Azurite: blob storage on this machine."""

import contextlib
import http.client
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import override

from geoetl.local.component import ignore_progress
from geoetl.local.port_service import PortService
from geoetl.local.ports import HOST, Ports
from geoetl.local.tools import azurite_command

#: Azurite's built-in account. The key is public:
#: https://learn.microsoft.com/azure/storage/common/storage-use-azurite#well-known-storage-account-and-key
ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Azurite(PortService):
    """One Azurite, blobs only, with one account for both tiers."""

    name = "azurite"
    title = "Azurite"

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
        super().__init__(ports=ports, log=log, record=record)
        self._folder = folder
        self._containers = containers
        self._progress = progress
        self._program: Sequence[str] = ()

    @property
    def connection_string(self) -> str:
        """For every Azure Storage client, GDAL included."""
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={_KEY};BlobEndpoint={self.address};"

    @property
    @override
    def address(self) -> str:
        return f"http://{HOST}:{self._ports.of(self.name)}/{ACCOUNT}"

    @override
    def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._program = azurite_command(self._progress)

    @override
    def command(self, port: int) -> Sequence[str]:
        # The SDK is always ahead of the API versions that Azurite knows; without the flag it refuses every call.
        options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location", str(self._folder)]
        return [*self._program, *options, "--blobHost", HOST, "--blobPort", str(port)]

    @override
    def start(self) -> None:
        super().start()
        self._create_containers()

    def remove(self) -> None:
        """Delete all blobs."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @override
    def answers(self) -> bool:
        # By an HTTP request that Azurite, and nobody else, answers with its name.
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
