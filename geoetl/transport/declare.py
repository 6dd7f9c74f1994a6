"""Queues on the service: creating, counting and deleting them over the administration API."""

import logging
import threading
from datetime import timedelta

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)

from geoetl.transport.clients import Clients
from geoetl.transport.errors import QueueUnavailableError
from geoetl.transport.options import Options

logger = logging.getLogger(__name__)


class Declarations:
    """What this process knows to exist. Thread-safe; every call may block on HTTP."""

    def __init__(self, clients: Clients, options: Options) -> None:
        self._clients = clients
        self._options = options
        self._lock = threading.Lock()
        self._known: set[str] = set()

    def ensure(self, entity: str) -> None:
        """Create a queue unless it is known to exist, or creating is not our business.

        Raises:
            QueueUnavailableError: no right to create it.
            azure.core.exceptions.AzureError: the administration API cannot be reached.
        """
        if entity in self._known or not self._options.create_queues:
            return
        with self._lock:
            if entity not in self._known:
                self._create(entity)
                self._known.add(entity)

    def _create(self, entity: str) -> None:
        try:
            with self._clients.admin() as admin:
                admin.create_queue(
                    entity,
                    lock_duration=timedelta(seconds=self._options.lock_duration_s),
                    max_delivery_count=self._options.max_delivery_count,
                    dead_lettering_on_message_expiration=self._options.dead_letter_on_expiry,
                )
            logger.info("created queue %s", entity)
        except ResourceExistsError:
            return
        except ClientAuthenticationError as error:
            raise QueueUnavailableError(
                f"May not create queue '{entity}': the credential has no Manage right ({error.message}). Create the "
                "queue beforehand and set the transport option `create_queues` to False, or grant the right."
            ) from error

    def forget(self, entity: str) -> None:
        """The service said that the queue is gone: look again next time."""
        with self._lock:
            self._known.discard(entity)

    def exists(self, entity: str) -> bool:
        return self._count(entity) is not None

    def active_messages(self, entity: str) -> int:
        """Messages that are waiting or locked, without scheduled and dead-lettered ones; 0 for a missing queue."""
        return self._count(entity) or 0

    def _count(self, entity: str) -> int | None:
        try:
            with self._clients.admin() as admin:
                return admin.get_queue_runtime_properties(entity).active_message_count or 0
        except ResourceNotFoundError:
            return None

    def delete(self, entity: str) -> None:
        """Delete a queue with everything in it; a missing one is fine."""
        self.forget(entity)
        try:
            with self._clients.admin() as admin:
                admin.delete_queue(entity)
        except ResourceNotFoundError:
            return
        except HttpResponseError as error:
            raise QueueUnavailableError(f"Could not delete queue '{entity}': {error.message}") from error
