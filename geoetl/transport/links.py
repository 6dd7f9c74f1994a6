"""One consumer's link to one queue, across reconnections. Touched by the reactor thread only."""

import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.exceptions import MessagingEntityNotFoundError

from geoetl.transport import sdk
from geoetl.transport.credit import NO_ACK_CREDIT, Budget, credit_to_issue
from geoetl.transport.declare import Existence
from geoetl.transport.delivery import Delivery, Outcome
from geoetl.transport.signals import link_lost, link_restored
from geoetl.transport.sockets import close_socket

if TYPE_CHECKING:
    from geoetl.transport.receiving import Receiving

logger = logging.getLogger(__name__)

#: First and longest pause between attempts to open a link; each pause is doubled and jittered by half.
REOPEN_PAUSE_S = (0.05, 15.0)

#: A link that was up for so long, in seconds, is reopened without a pause. A busy service attaches links and detaches
#: them at once, so that a link was opened says little.
STEADY_AFTER_S = 1.0

#: A settlement not answered for so long is repeated by lock token.
SETTLE_TIMEOUT_S = 5.0


class ReceiveLink:
    """A queue being consumed for one channel."""

    def __init__(
        self,
        receiving: "Receiving",
        entity: str,
        budget: Budget,
        sink: Callable[[Delivery], None],
        *,
        no_ack: bool,
        declarations: Existence,
    ) -> None:
        self.entity = entity
        self.budget = budget
        #: Hands a delivery to the application; called on the reactor thread, must not block.
        self.sink = sink
        self.no_ack = no_ack
        #: Position in the order of service; the queue with the smallest is served next.
        self.last_served = 0
        #: Number of times the link was opened; messages of an earlier opening are settled by lock token.
        self.epoch = 0
        #: Set when the link was ready for the first time.
        self.ready = threading.Event()
        #: No more messages are wanted; what was handed out can still be settled.
        self.is_stopping = False
        self.is_closed = False
        self._receiving = receiving
        self._declarations = declarations
        self._sdk: sdk.ReceivingLink | None = None
        self._opened_at = 0.0
        #: Before the next attempt to open it.
        self._pause_s = 0.0

    @property
    def is_unwanted(self) -> bool:
        """Whether there is no reason to open it (again): what it received can be settled by lock token."""
        return self.is_closed or self.is_stopping

    @property
    def has_unconfirmed(self) -> bool:
        return self._sdk is not None and self._sdk.has_unconfirmed

    # -- opening ---------------------------------------------------------------------------------------------------

    def open_soon(self) -> None:
        """Open on a short-lived thread: connecting blocks, and the reactor must not."""
        threading.Thread(target=self._open, name=f"servicebus-open-{self.entity}", daemon=True).start()

    def _open(self) -> None:
        shortest_s, longest_s = REOPEN_PAUSE_S
        attempts = 0
        while True:
            time.sleep(self._pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            self._pause_s = min(max(self._pause_s * 2, shortest_s), longest_s)
            if self.is_unwanted:
                return
            attempts += 1
            try:
                self._declarations.ensure(self.entity)
                opened = sdk.ReceivingLink(self._receiving.clients.receiver(self.entity))
            except Exception as error:
                if isinstance(error, MessagingEntityNotFoundError):
                    self._declarations.forget(self.entity)
                log = logger.warning if attempts == 1 else logger.debug
                log("cannot receive from %s yet, trying on: %s", self.entity, error)
            else:
                self._receiving.reactor.call(self._adopt, opened, attempts)
                return

    def _adopt(self, opened: sdk.ReceivingLink, attempts: int) -> None:
        if self.is_unwanted:
            close_socket(opened.sock)
            return
        self._sdk = opened
        self.epoch += 1
        self._opened_at = time.monotonic()
        self._receiving.reactor.watch(opened.sock, self.on_readable)
        self.ready.set()
        if self.epoch > 1:
            logger.info("receiving from %s again after %d attempts", self.entity, attempts)
            self._receiving.control.submit(
                lambda: link_restored.send(sender=type(self), queue=self.entity, attempts=attempts)
            )
        else:
            logger.info("receiving from %s", self.entity)
        self._receiving.serve(self.budget)

    def on_lost(self, error: Exception) -> None:
        """The connection or link is gone: settle by token what was not confirmed, and open again."""
        if self._sdk is None:
            return
        lost, self._sdk = self._sdk, None
        if time.monotonic() - self._opened_at >= STEADY_AFTER_S:
            self._pause_s = 0.0
        error = sdk.translate(error)
        self._receiving.reactor.unwatch(lost.sock)
        for delivery in lost.take_unconfirmed():
            self._receiving.settle_by_token(delivery)
        close_socket(lost.sock)
        if self.is_unwanted:
            logger.info("lost the link to %s, which is not needed any more: %s", self.entity, error)
            return
        logger.warning("lost the link to %s, reopening: %s", self.entity, error)
        self._receiving.control.submit(lambda: link_lost.send(sender=type(self), queue=self.entity, error=error))
        self.open_soon()

    # -- messages --------------------------------------------------------------------------------------------------

    def on_readable(self) -> None:
        """Process what has arrived: confirmations of settlements, then messages."""
        if (link := self._sdk) is None:
            return
        messages, has_more = link.read()
        for delivery, error in link.confirmed():
            self._receiving.on_settled(delivery, error)
        if link.lost is not None:
            self.on_lost(link.lost)
        elif has_more:
            self._receiving.reactor.call(self.on_readable)
        for message in messages:
            self._receiving.on_arrival(self._delivery(message))
        if messages:
            self._receiving.serve(self.budget)

    def _delivery(self, message: ServiceBusReceivedMessage) -> Delivery:
        token = message.lock_token
        assert isinstance(token, UUID), "a message received under peek-lock has a lock token"
        return Delivery(
            link=self, epoch=self.epoch, message=message, token=token, lock_s=self._receiving.lock_s_of(message)
        )

    def settle(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Send an outcome over the link the message came by; False when that is not possible any more."""
        if self._sdk is None or delivery.epoch != self.epoch:
            return False
        try:
            self._sdk.settle(delivery, outcome)
        except Exception as error:
            self.on_lost(error)
            return False
        delivery.is_sent = True
        return True

    @contextmanager
    def in_one_write(self) -> Generator[None]:
        """What is sent inside goes out in one write: a settlement, and the credit that it makes free."""
        if (link := self._sdk) is None:
            yield
            return
        link.hold_frames()
        try:
            yield
        finally:
            try:
                link.send_frames()
            except OSError as error:
                self.on_lost(error)

    def adjust_credit(self, free_slots: int, *, is_held: bool) -> None:
        if self._sdk is None or (is_held and not self.is_stopping and not self.no_ack):
            return
        wanted = 0 if self.is_stopping else NO_ACK_CREDIT if self.no_ack else free_slots
        credit = credit_to_issue(wanted=wanted, current=self._sdk.credit)
        if credit is None:
            return
        try:
            self._sdk.set_credit(credit)
        except Exception as error:
            self.on_lost(error)

    def tick(self) -> None:
        """Once a second: keep the connection and its token alive, and give up on unanswered settlements."""
        if self._sdk is None:
            return
        try:
            self._sdk.tick()
        except Exception as error:
            self.on_lost(error)
            return
        for delivery in self._sdk.take_unconfirmed(older_than_s=SETTLE_TIMEOUT_S):
            self._receiving.settle_by_token(delivery)

    def detach(self) -> sdk.ReceivingLink | None:
        """Take the open link away from the reactor, to be closed elsewhere."""
        self.is_closed = True
        taken, self._sdk = self._sdk, None
        if taken is not None:
            self._receiving.reactor.unwatch(taken.sock)
        return taken

    @property
    def sock(self) -> socket.socket | None:
        """The socket of the open link; for forked children."""
        return self._sdk.sock if self._sdk is not None else None
