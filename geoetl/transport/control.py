"""The thread that asks the service about locked messages by lock token: renewal, and settlement without a link."""

import logging
import queue
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from geoetl.transport import sdk
from geoetl.transport.clients import REQUEST_TIMEOUT_S, Clients
from geoetl.transport.delivery import Delivery, Outcome
from geoetl.transport.sockets import close_socket

logger = logging.getLogger(__name__)

#: Attempts of one request, each on a fresh link; then the lock decides what happens to the message.
ATTEMPTS = 3

type OnRenewed = Callable[[list[Delivery], Exception | None], None]
type OnSettled = Callable[[Delivery, Exception | None], None]


class Control:
    """Sends requests one at a time, over one lazily opened control link per queue.

    Blocking is fine here: that is why it is not done on the reactor thread.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._links: dict[str, sdk.ControlLink] = {}
        self._thread = threading.Thread(target=self._run, name="servicebus-control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def renew(self, entity: str, deliveries: list[Delivery], on_done: OnRenewed) -> None:
        """Renew locks of one queue; `on_done` gets the deliveries with None, or with the error that concerns them all.

        `on_done` is called on the control thread, more than once when a batch had to be split.
        """
        self._jobs.put(lambda: self._renew(entity, deliveries, on_done))

    def submit(self, job: Callable[[], object]) -> None:
        """Run something that may take its time, such as the receivers of a signal."""
        self._jobs.put(job)

    def prefetch_tokens(self) -> None:
        """Fetch new tokens before the reactor asks for them."""
        self._jobs.put(self._clients.prefetch_tokens)

    def settle(self, delivery: Delivery, outcome: Outcome, on_done: OnSettled) -> None:
        """Settle by lock token; `on_done` is called on the control thread."""

        def job() -> None:
            error = self._attempt(delivery.link.entity, lambda link: link.settle(delivery, outcome))
            on_done(delivery, error)

        self._jobs.put(job)

    def stop(self, *, timeout_s: float) -> None:
        self._jobs.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def sockets(self) -> list[socket.socket | None]:
        return [link.sock for link in list(self._links.values())]

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                # The thread must survive: without it locks are lost in silence.
                logger.exception("error in the Service Bus control thread")
        for link in self._links.values():
            close_socket(link.sock)

    def _renew(self, entity: str, deliveries: list[Delivery], on_done: OnRenewed) -> None:
        wanted = [delivery for delivery in deliveries if delivery.outcome is None]
        if not wanted:
            on_done(deliveries, None)
            return
        tokens = [delivery.token for delivery in wanted]
        error = self._attempt(entity, lambda link: link.renew(tokens, timeout_s=REQUEST_TIMEOUT_S))
        if error is not None and sdk.is_lock_lost(error) and len(wanted) > 1:
            # One dead token fails the whole request (410): find out which.
            for delivery in wanted:
                self._renew(entity, [delivery], on_done)
            return
        on_done(deliveries, error)

    def _attempt(self, entity: str, request: Callable[[sdk.ControlLink], None]) -> Exception | None:
        """Make a request, on a fresh link after each failure; the last error, or None."""
        failure: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                request(self._link(entity))
            except Exception as error:
                failure = sdk.translate(error)
                if sdk.is_lock_lost(failure):
                    return failure
                self._drop(entity)
            else:
                return None
        return failure

    def _link(self, entity: str) -> sdk.ControlLink:
        if entity not in self._links:
            self._links[entity] = sdk.ControlLink(self._clients.control_receiver(entity))
        return self._links[entity]

    def _drop(self, entity: str) -> None:
        with suppress(KeyError):
            close_socket(self._links.pop(entity).sock)
