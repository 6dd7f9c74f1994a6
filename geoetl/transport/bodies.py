"""The claim check: a body too large for a message is kept in a store, and the message says where.

Bodies are written by whoever publishes and fetched before the task sees its message, on threads of their own, since the
reactor must not wait for a store. A body is deleted when the service has confirmed that its message is completed; the
body of a dead-lettered message stays, so that it can be sent back to its queue.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage

from geoetl.transport.delivery import Delivery
from geoetl.transport.errors import TransportError

logger = logging.getLogger(__name__)

#: Application property with the name of the body in the store.
CLAIM_PROPERTY = "kombu_body"

#: Bodies fetched or deleted at the same time.
THREADS = 4


class BodyMissingError(TransportError):
    """The store has no such body: it was deleted, or another store is meant."""


class NoBodyStoreError(TransportError):
    """A message came whose body is in a store, and this process has none configured."""


class BodyStore(Protocol):
    """Where large bodies are kept. Methods block and may be called from several threads, and in forked children."""

    def put(self, name: str, body: bytes) -> None:
        """Keep a body; names never repeat."""
        ...

    def get(self, name: str) -> bytes:
        """A body.

        Raises:
            BodyMissingError: there is none; anything else that is raised counts as temporary.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a body; a missing one is fine."""
        ...


class Bodies:
    """The claim check of one process.

    Args:
        store: where large bodies go; None refuses them as before.
        from_bytes: bodies of this size and more go there.
    """

    def __init__(self, store: BodyStore | None, *, from_bytes: int) -> None:
        self._store = store
        self._from_bytes = from_bytes
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="servicebus-body")

    def check_in(self, entity: str, message: ServiceBusMessage) -> ServiceBusMessage:
        """Keep a large body and return a message without it; any other message as it is. May block."""
        if self._store is None:
            return message
        body = b"".join(message.body)
        if len(body) < self._from_bytes:
            return message
        name = f"{entity}/{message.message_id}"
        self._store.put(name, body)
        return ServiceBusMessage(
            b"",
            message_id=message.message_id,
            correlation_id=message.correlation_id,
            subject=message.subject,
            content_type=message.content_type,
            application_properties={**(message.application_properties or {}), CLAIM_PROPERTY: name},
            scheduled_enqueue_time_utc=message.scheduled_enqueue_time_utc,
            time_to_live=message.time_to_live,
        )

    def fetch(self, claim: str) -> bytes:
        """A body. May block.

        Raises:
            BodyMissingError: the store does not have it.
            NoBodyStoreError: there is no store here.
            Exception: whatever the store raises.
        """
        if self._store is None:
            raise NoBodyStoreError(f"It is in a store as '{claim}'; set the transport option `body_store` here too.")
        return self._store.get(claim)

    def fetch_for(
        self, delivery: Delivery, claim: str, *, on_done: Callable[[], None], on_failed: Callable[[Exception], None]
    ) -> None:
        """Give a delivery its body, then call one of the two on another thread; returns at once."""

        def job() -> None:
            try:
                delivery.body = self.fetch(claim)
            except Exception as error:  # a store may fail in its own words; the message decides what happens next
                on_failed(error)
                return
            on_done()

        self._pool.submit(job)

    def discard(self, claim: str) -> None:
        """Delete a body that nobody needs any more; returns at once, and only logs a failure."""
        if self._store is not None:
            self._pool.submit(self._delete, self._store, claim)

    def _delete(self, store: BodyStore, claim: str) -> None:
        try:
            store.delete(claim)
        except Exception as error:  # as above; the task is done, only its body is left behind
            logger.warning("the body %s stays in the store: %s", claim, error)

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()


def claim_of(message: ServiceBusReceivedMessage) -> str | None:
    """Where the body of a message is, if it is not in the message."""
    properties = message.application_properties or {}
    claim = properties.get(CLAIM_PROPERTY.encode()) or properties.get(CLAIM_PROPERTY)
    return claim.decode(errors="replace") if isinstance(claim, bytes) else None if claim is None else str(claim)
