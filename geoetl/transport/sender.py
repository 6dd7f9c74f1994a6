"""Sending: one link per queue, used by one thread at a time, replaced when it breaks."""

import logging
import random
import socket
import threading
import time
from collections.abc import Sequence

from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import MessageSizeExceededError, MessagingEntityNotFoundError

from geoetl.transport import sdk
from geoetl.transport.clients import Clients
from geoetl.transport.declare import Existence
from geoetl.transport.errors import TRANSIENT_SEND_ERRORS, MessageTooLargeError, QueueUnavailableError
from geoetl.transport.options import Options
from geoetl.transport.sockets import close_socket

logger = logging.getLogger(__name__)

#: Pause before the third attempt of a send; tripled for each further one. The second comes at once.
FIRST_PAUSE_S = 0.3


class Senders:
    """The senders of a process, opened when first used. Thread-safe; a send blocks until the service accepted it."""

    def __init__(self, clients: Clients, options: Options, declarations: Existence) -> None:
        self._clients = clients
        self._options = options
        self._declarations = declarations
        self._lock = threading.Lock()
        self._by_entity: dict[str, _Sender] = {}

    def send(self, entity: str, messages: Sequence[ServiceBusMessage]) -> None:
        """Send messages to a queue, in order, in as few batches as fit.

        After a broken connection it is not known whether the service took the last batch; it is sent again. Delivery
        is at least once.

        Raises:
            MessageTooLargeError: a message is over the limit; those before it are sent.
            QueueUnavailableError: the queue does not exist.
            ServiceBusError: the service refused, or a transient error outlasted the attempts.
        """
        self._declarations.ensure(entity)
        with self._lock:
            sender = self._by_entity.setdefault(entity, _Sender(entity, self._clients, self._options))
        try:
            sender.send(messages)
        except MessagingEntityNotFoundError as error:
            self._declarations.forget(entity)
            raise QueueUnavailableError(
                f"Cannot send to '{entity}': the namespace has no such queue"
                + (" any more." if self._options.create_queues else ", and `create_queues` is off. Create it first.")
            ) from error

    def sockets(self) -> list[socket.socket | None]:
        return [sender.link.sock for sender in list(self._by_entity.values()) if sender.link is not None]

    def close(self) -> None:
        with self._lock:
            for sender in self._by_entity.values():
                sender.close()
            self._by_entity.clear()


class _Sender:
    def __init__(self, entity: str, clients: Clients, options: Options) -> None:
        self.entity = entity
        self.link: sdk.SendingLink | None = None
        self._clients = clients
        self._options = options
        self._lock = threading.Lock()

    def send(self, messages: Sequence[ServiceBusMessage]) -> None:
        with self._lock:
            sent = 0
            for attempt in range(1, self._options.send_attempts + 1):
                try:
                    while sent < len(messages):
                        sent += self._send_some(messages[sent:])
                except TRANSIENT_SEND_ERRORS as error:
                    self._drop()
                    if attempt == self._options.send_attempts:
                        raise
                    logger.debug("sending to %s failed, attempt %d: %s", self.entity, attempt, error)
                    if attempt > 1:
                        # The caller waits for the service anyway; backoff with jitter spares a throttled namespace.
                        time.sleep(FIRST_PAUSE_S * 3 ** (attempt - 2) * random.uniform(0.5, 1.0))  # noqa: S311
                else:
                    return

    def _send_some(self, messages: Sequence[ServiceBusMessage]) -> int:
        """Send the first message, or as many as fit into one batch; how many."""
        link = self._open()
        count = 1
        if len(messages) > 1:
            batch = sdk.new_batch(link.batch_limit_bytes)
            count = 0
            for message in messages:
                try:
                    batch.add_message(message)
                except MessageSizeExceededError:
                    break
                count += 1
            if count > 1:
                link.sender.send_messages(batch, timeout=self._options.send_timeout_s)
                return count
        self._send_one(link, messages[0])
        return 1

    def _send_one(self, link: sdk.SendingLink, message: ServiceBusMessage) -> None:
        try:
            link.sender.send_messages(message, timeout=self._options.send_timeout_s)
        except MessageSizeExceededError as error:
            raise MessageTooLargeError(
                entity=self.entity,
                what=f"task {message.subject or '?'}[{message.correlation_id or message.message_id}]",
                size_bytes=sdk.encoded_size(message),
                limit_bytes=link.message_limit_bytes,
            ) from error

    def _open(self) -> sdk.SendingLink:
        if self.link is None:
            self.link = sdk.SendingLink(self._clients.sender(self.entity))
        return self.link

    def _drop(self) -> None:
        broken, self.link = self.link, None
        if broken is not None:
            close_socket(broken.sock)

    def close(self) -> None:
        with self._lock:
            self._drop()
