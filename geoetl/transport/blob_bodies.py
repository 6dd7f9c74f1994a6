"""Bodies in a container of Azure Blob Storage."""

import os
import threading
from contextlib import suppress

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from geoetl.transport.bodies import BodyMissingError


class BlobBodyStore:
    """A `BodyStore` in one container, which is created when it is missing and may be.

    Args:
        container: the container, with a credential that may read, write and delete its blobs.

    Example:
        >>> from azure.storage.blob import ContainerClient
        >>> from geoetl.transport.blob_bodies import BlobBodyStore
        >>> store = BlobBodyStore(ContainerClient("https://account.blob.core.windows.net", "celery-bodies"))
        >>> options = {"body_store": store}
    """

    def __init__(self, container: ContainerClient) -> None:
        self._template = container
        self._lock = threading.Lock()
        self._client: tuple[int, ContainerClient] | None = None

    @classmethod
    def from_connection_string(cls, connection_string: str, container: str) -> "BlobBodyStore":
        """A store in a container of the account that a connection string names."""
        return cls(ContainerClient.from_connection_string(connection_string, container))

    def put(self, name: str, body: bytes) -> None:
        client = self._container()
        try:
            # A retry inside the SDK may find what its first attempt has written.
            client.upload_blob(name, body, overwrite=True)
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):
                client.create_container()
            client.upload_blob(name, body, overwrite=True)

    def get(self, name: str) -> bytes:
        try:
            return self._container().download_blob(name).readall()
        except ResourceNotFoundError as error:
            raise BodyMissingError(f"Container '{self._template.container_name}' has no blob '{name}'.") from error

    def delete(self, name: str) -> None:
        try:
            self._container().delete_blob(name)
        except ResourceNotFoundError:
            return

    def _container(self) -> ContainerClient:
        """The client of this process: a child must not speak on the connections that it inherited."""
        with self._lock:
            if self._client is None or self._client[0] != os.getpid():
                template = self._template
                client = ContainerClient.from_container_url(template.url, credential=template.credential)
                self._client = os.getpid(), client
            return self._client[1]
