"""Everything one process has open at one Service Bus namespace, shared by all its kombu connections."""

import atexit
import os
import threading
from string import punctuation
from typing import Any

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage

from geoetl.transport import fork, sdk
from geoetl.transport.bodies import Bodies, claim_of
from geoetl.transport.broadcast import merged, to_topic_message
from geoetl.transport.clients import Clients
from geoetl.transport.declare import Declarations
from geoetl.transport.errors import QueueUnavailableError
from geoetl.transport.exchanges import Exchanges
from geoetl.transport.options import Options, open_body_store
from geoetl.transport.publisher import Publisher
from geoetl.transport.receiving import Receiving
from geoetl.transport.sender import Senders
from geoetl.transport.urls import Address

#: Service Bus allows letters, digits and these in an entity name; everything else becomes `_` (as in kombu).
_ENTITY_NAME = {ord(mark): "_" for mark in set(punctuation) - set("_.-")}


def entity_name(name: str, options: Options) -> str:
    """A legal name on the service for a queue or an exchange."""
    return (options.queue_name_prefix + name).translate(_ENTITY_NAME)


class Namespace:
    """Senders, declarations and, once something is consumed, the reactor. Belongs to the process that made it."""

    def __init__(self, address: Address, options: Options) -> None:
        sdk.check_version()
        self.pid = os.getpid()
        self.address = address
        self.options = options
        self.clients = Clients(address, options)
        self.declarations = Declarations(self.clients, options)
        self.exchanges = Exchanges(self.clients, options)
        self.bodies = Bodies(open_body_store(options), from_bytes=options.body_store_from_bytes)
        self._senders = Senders(self.clients, options, self.declarations)
        self._topic_senders = Senders(self.clients, options, self.exchanges)
        self._publisher = Publisher(self._send_payloads)
        self._lock = threading.Lock()
        self._receiving: Receiving | None = None
        #: It was there once in this process.
        self.was_reached = False

    @property
    def is_ours(self) -> bool:
        """False in a child that inherited the object; it must leave it alone."""
        return self.pid == os.getpid()

    @property
    def receiving(self) -> Receiving:
        """The reactor and control threads, started at first use: a process that only publishes has none."""
        # Without the lock: Celery's cold shutdown settles inside a signal handler, which may interrupt who holds it.
        if (receiving := self._receiving) is not None:
            return receiving
        with self._lock:
            if self._receiving is None:
                receiving = Receiving(self.clients, self.options, self.declarations)
                receiving.start()
                self._receiving = receiving
            return self._receiving

    def entity_name(self, name: str) -> str:
        """What a queue or an exchange is called on the service."""
        return entity_name(name, self.options)

    def check_reachable(self, *, timeout_s: float) -> None:
        """Connect to the namespace, and no more.

        Raises:
            ConnectionError: no connection; the name may be wrong, or the port closed.
        """
        self.clients.check_reachable(timeout_s=timeout_s)
        self.was_reached = True

    def send(self, entity: str, messages: list[ServiceBusMessage]) -> None:
        self._senders.send(entity, messages)

    def publish(self, topic: str, payload: dict[str, Any]) -> None:
        """Send to all subscriptions of a topic; nothing happens while the control plane is off.

        Raises:
            ServiceBusError: the service refused.
        """
        if self.exchanges.is_off:
            return
        message = to_topic_message(payload)
        try:
            self._topic_senders.send(topic, [message])
        except QueueUnavailableError:  # deleted meanwhile, and now forgotten: make it anew
            self._topic_senders.send(topic, [message])

    def publish_soon(self, topic: str, payload: dict[str, Any], *, is_awaited: bool) -> None:
        """The same in the background: returns at once, and the message may be lost.

        Args:
            topic: its name.
            payload: what kombu publishes.
            is_awaited: somebody waits for it, so it is not held back to be sent with others.
        """
        if not self.exchanges.is_off:
            self._publisher.submit(topic, payload, is_awaited=is_awaited)

    def _send_payloads(self, topic: str, payloads: list[dict[str, Any]]) -> None:
        self._topic_senders.send(topic, [to_topic_message(payload) for payload in merged(payloads)])

    def take_one(self, entity: str) -> tuple[ServiceBusReceivedMessage, bytes | None] | None:
        """Receive and remove one message if there is one, with its body if that was stored; for `basic_get`."""
        with self.clients.puller(entity) as puller:
            message = next(iter(puller.receive_messages(1, max_wait_time=1)), None)
            if message is None:
                return None
            claim = claim_of(message)
            body = self.bodies.fetch(claim) if claim is not None else None
            puller.complete_message(message)
            if claim is not None:
                self.bodies.discard(claim)
            return message, body

    def purge(self, entity: str) -> int:
        """Remove the messages that are ready; how many."""
        removed = 0
        with self.clients.puller(entity, receive_and_delete=True) as puller:
            while messages := puller.receive_messages(500, max_wait_time=1):
                removed += len(messages)
                for message in messages:
                    if (claim := claim_of(message)) is not None:
                        self.bodies.discard(claim)
        return removed

    def finish(self) -> None:
        """Send the last events and leave nothing behind on the service; takes some seconds at most."""
        self._publisher.stop()
        self.exchanges.remove_all()

    def close(self) -> None:
        """Stop the threads and drop the connections. Messages still held come back when their lock expires."""
        self.finish()
        if self._receiving is not None:
            self._receiving.stop()
        self._senders.close()
        self._topic_senders.close()
        self.bodies.close()

    def close_inherited(self) -> None:
        """In a forked child: close the parent's sockets without a word on them."""
        sockets = self._senders.sockets() + self._topic_senders.sockets()
        if self._receiving is not None:
            sockets += self._receiving.sockets()
            self._receiving.close_inherited()
        for sock in sockets:
            fork.close_quietly(sock)


def namespace_for(address: Address, options: Options) -> Namespace:
    """The namespace object of this process for an address; made when first asked for."""
    return fork.per_process((address, options), lambda: Namespace(address, options))


@atexit.register
def _finish_all() -> None:
    # Sockets and threads need no farewell; a link that hangs must not hold up the end of the process.
    for namespace in fork.all_of_this_process():
        namespace.finish()


def close_all() -> None:
    """Close every namespace of this process: threads, links, senders. For tests and orderly shutdowns."""
    for namespace in fork.forget_all():
        namespace.close()
