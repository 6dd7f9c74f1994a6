"""Queues on the service: creating, counting and deleting them over the administration API."""

import logging
import threading
from datetime import timedelta
from typing import Protocol

from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)

from geoetl.transport.clients import Clients
from geoetl.transport.errors import administration_error
from geoetl.transport.options import Options

logger = logging.getLogger(__name__)

#: The shortest time after which the service deletes an idle queue.
MIN_IDLE_LIMIT = timedelta(minutes=5)


class Existence(Protocol):
    """Sees to it that what one sends to or receives from exists."""

    def ensure(self, entity: str) -> None: ...

    def forget(self, entity: str) -> None: ...


class Declarations:
    """What this process knows to exist. Thread-safe; every call may block on HTTP."""

    def __init__(self, clients: Clients, options: Options) -> None:
        self._clients = clients
        self._options = options
        self._lock = threading.Lock()
        self._known: set[str] = set()

    def ensure(self, entity: str, *, idle_limit: timedelta | None = None) -> None:
        """Create a queue unless it is known to exist, or creating is not our business.

        Args:
            entity: its name on the service.
            idle_limit: have the service delete it when nobody used it for so long (at least five minutes).

        Raises:
            QueueUnavailableError: the service refuses to create it: no right, no room, or no name for a queue.
            NamespaceBusyError: the administration API is throttled or ill.
            azure.core.exceptions.AzureError: it cannot be reached.
        """
        if entity in self._known or not self._options.create_queues:
            return
        with self._lock:
            if entity not in self._known:
                self._create(entity, idle_limit)
                self._known.add(entity)

    def _create(self, entity: str, idle_limit: timedelta | None) -> None:
        try:
            with self._clients.admin() as admin:
                admin.create_queue(
                    entity,
                    **self._options.spec_of(entity).as_properties(),
                    auto_delete_on_idle=max(idle_limit, MIN_IDLE_LIMIT) if idle_limit is not None else None,
                )
            logger.info("created queue %s", entity)
        except ResourceExistsError:
            return
        except HttpResponseError as error:
            raise administration_error(
                error, f"create queue '{entity}'",
                or_else=", or create the queue beforehand and set the transport option `create_queues` to False",
            ) from error  # fmt: skip

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
            raise administration_error(error, f"delete queue '{entity}'") from error
