"""Receiving in one process: who holds which message, and what becomes of it.

Public methods may be called from any thread. Everything after an underscore, and everything the links call, runs on the
reactor thread, so no lock is needed.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from azure.servicebus import ServiceBusReceivedMessage

from geoetl.transport import sdk
from geoetl.transport.clients import Clients
from geoetl.transport.control import Control
from geoetl.transport.credit import Budget
from geoetl.transport.declare import Declarations, Existence
from geoetl.transport.delivery import Delivery, Outcome
from geoetl.transport.links import ReceiveLink
from geoetl.transport.locks import Locks
from geoetl.transport.options import Options
from geoetl.transport.reactor import Reactor

logger = logging.getLogger(__name__)

#: How long a message may wait without a slot before it is given back to the queue.
WAITING_LIMIT_S = 1.0

#: How often it is checked whether tokens need to be fetched.
PREFETCH_TOKENS_EVERY_S = 20.0

#: Pause before settling by token is tried again; for as long as the lock may be ours.
RETRY_SETTLING_S = 1.0

#: Bounds of closing: for confirmations of settlements, and for detaching.
CLOSE_TIMEOUT_S = 2.0


class Receiving:
    """All receive links of a process to one namespace, with the two threads that serve them."""

    def __init__(self, clients: Clients, options: Options, declarations: Declarations) -> None:
        self.clients = clients
        self.declarations = declarations
        self.reactor = Reactor()
        self.control = Control(clients)
        self.locks = Locks(self.reactor, self.control)
        self._options = options
        self._links: list[ReceiveLink] = []
        #: Threads that close links.
        self._closers: list[threading.Thread] = []
        self._served = 0

    def start(self) -> None:
        self.reactor.start()
        self.control.start()
        self.reactor.call(self._tick)
        self.reactor.call(self._prefetch_tokens)

    def stop(self) -> None:
        self.control.stop(timeout_s=CLOSE_TIMEOUT_S)
        self.reactor.stop(timeout_s=CLOSE_TIMEOUT_S)

    # -- what channels ask for -------------------------------------------------------------------------------------

    def consume(
        self,
        entity: str,
        budget: Budget,
        sink: Callable[[Delivery], None],
        *,
        no_ack: bool,
        declarations: Existence | None = None,
    ) -> ReceiveLink:
        """Begin to receive; the link opens in the background and reopens for ever.

        Args:
            entity: a queue's name or a subscription's path.
            budget: the slots its messages take.
            sink: takes the messages, on the reactor thread.
            no_ack: settle messages on arrival.
            declarations: who creates the entity when it is missing; by default, it is a queue.
        """
        link = ReceiveLink(self, entity, budget, sink, no_ack=no_ack, declarations=declarations or self.declarations)
        self.reactor.call(self._links.append, link)
        link.open_soon()
        return link

    def set_prefetch(self, budget: Budget, prefetch_count: int) -> None:
        budget.prefetch_count = prefetch_count
        self.reactor.call(self.serve, budget)

    def settle(self, delivery: Delivery, outcome: Outcome, *, reason: str = "", description: str = "") -> None:
        """Decide what becomes of a message; returns at once."""
        self.reactor.call_now(self._decide, delivery, outcome, reason, description)

    def requeue(self, delivery: Delivery) -> None:
        """Abandon a message after a pause that grows with its delivery count; its slot is free at once."""
        self.reactor.call(self._requeue, delivery)

    def cancel(self, link: ReceiveLink) -> None:
        """No more messages from this link; it is closed once those handed out are settled."""
        self.reactor.call(self._cancel, link)

    def close(self, links: list[ReceiveLink]) -> None:
        """Give back everything not settled and detach; waits at most some seconds."""
        idle = threading.Event()
        self.reactor.call(self._give_back_all, links)
        self.reactor.call(self._set_when_confirmed, links, idle, time.monotonic() + CLOSE_TIMEOUT_S)
        idle.wait(CLOSE_TIMEOUT_S + 1)
        self.reactor.call_and_wait(self._detach, links, timeout_s=CLOSE_TIMEOUT_S)
        for closer in self._closers:
            closer.join(CLOSE_TIMEOUT_S)

    # -- what links report (reactor thread) ------------------------------------------------------------------------

    def lock_s_of(self, message: ServiceBusReceivedMessage) -> float:
        """How long the fresh lock lasts, by the stricter of the option and what the message says.

        The queue may have been created by somebody else with a shorter lock. Clocks may differ, so the answer is
        never below a second: renewing too often is harmless.
        """
        until = message.locked_until_utc
        told = (until - datetime.now(UTC)).total_seconds() if until else self._options.lock_duration_s
        return max(1.0, min(told, self._options.lock_duration_s))

    def on_arrival(self, delivery: Delivery) -> None:
        self.locks.hold(delivery)
        link = delivery.link
        if link.is_stopping:
            self._decide(delivery, Outcome.RELEASE)
        elif link.no_ack:
            self._decide(delivery, Outcome.COMPLETE)
            link.sink(delivery)
        else:
            link.budget.waiting.append(delivery)

    def on_settled(self, delivery: Delivery, error: Exception | None) -> None:
        self.locks.let_go(delivery)
        if error is None:
            _tell_completed(delivery)
        elif sdk.is_lock_lost(error):
            self.locks.report_lost(delivery)
        else:
            logger.warning("%s on %s refused: %s", delivery.outcome, delivery.link.entity, error)

    def settle_by_token(self, delivery: Delivery) -> None:
        """The receive link cannot say it (any more): ask the control thread."""
        if delivery.outcome is not None:
            self.control.settle(delivery, delivery.outcome, self._on_settled_elsewhere)

    def serve(self, budget: Budget) -> None:
        """Hand out waiting messages while there are slots, then give or withdraw credit."""
        while (delivery := budget.next_to_deliver()) is not None:
            self._served += 1
            delivery.link.last_served = self._served
            delivery.link.sink(delivery)
        now = time.monotonic()
        held_s = budget.hold(now)
        if held_s is not None and (budget.look_at is None or now + held_s < budget.look_at):
            budget.look_at = now + held_s
            self.reactor.call_later(held_s, self._look_again, budget)
        free = budget.free_slots
        for link in sorted((link for link in self._links if link.budget is budget), key=lambda link: link.last_served):
            link.adjust_credit(free, is_held=held_s is not None)

    def _look_again(self, budget: Budget) -> None:
        budget.look_at = None
        self.serve(budget)

    # -- settling (reactor thread) ---------------------------------------------------------------------------------

    def _decide(self, delivery: Delivery, outcome: Outcome, reason: str = "", description: str = "") -> None:
        if delivery.outcome is not None:
            return
        delivery.outcome, delivery.reason, delivery.description = outcome, reason, description
        delivery.link.budget.forget(delivery)
        with delivery.link.in_one_write():
            if not delivery.link.settle(delivery, outcome):
                self.settle_by_token(delivery)
            elif outcome is Outcome.RELEASE:
                self.locks.let_go(delivery)
            self.serve(delivery.link.budget)

    def _requeue(self, delivery: Delivery) -> None:
        options = self._options
        delay_s = min(options.requeue_delay_s * 2 ** min(delivery.delivery_count, 20), options.requeue_delay_max_s)
        delivery.link.budget.forget(delivery)
        self.reactor.call_later(delay_s, self._decide, delivery, Outcome.ABANDON)
        self.serve(delivery.link.budget)

    def _on_settled_elsewhere(self, delivery: Delivery, error: Exception | None) -> None:
        self.reactor.call(self._on_settled_by_token, delivery, error)

    def _on_settled_by_token(self, delivery: Delivery, error: Exception | None) -> None:
        entity = delivery.link.entity
        if error is None:
            logger.debug("%s by lock token on %s", delivery.outcome, entity)
            _tell_completed(delivery)
        elif not sdk.is_lock_lost(error) and time.monotonic() < delivery.renewed_at + delivery.lock_s:
            self.reactor.call_later(RETRY_SETTLING_S, self.settle_by_token, delivery)
            return
        else:
            log = logger.info if sdk.is_lock_lost(error) else logger.warning
            log("%s on %s unconfirmed, and its lock has ended: %s", delivery.outcome, entity, error)
            # No proof of failure where it was sent before the link was lost: that may have been applied. One that is
            # to be delivered again anyway has nothing to lose.
            if not delivery.is_sent and delivery.outcome in {Outcome.COMPLETE, Outcome.DEAD_LETTER}:
                self.locks.report_lost(delivery)
        self.locks.let_go(delivery)

    # -- closing, and once a second (reactor thread) ---------------------------------------------------------------

    def _cancel(self, link: ReceiveLink) -> None:
        link.is_stopping = True
        for delivery in [d for d in link.budget.waiting if d.link is link]:
            self._decide(delivery, Outcome.RELEASE)
        self.serve(link.budget)

    def _give_back_all(self, links: Iterable[ReceiveLink]) -> None:
        for link in links:
            link.is_stopping = True
        for delivery in [d for d in self.locks if d.link in links and d.outcome is None]:
            self._decide(delivery, Outcome.RELEASE)
        for link in links:
            self.serve(link.budget)

    def _set_when_confirmed(self, links: list[ReceiveLink], idle: threading.Event, deadline: float) -> None:
        if time.monotonic() < deadline and any(link.has_unconfirmed for link in links):
            self.reactor.call_later(0.002, self._set_when_confirmed, links, idle, deadline)
        else:
            idle.set()

    def _detach(self, links: list[ReceiveLink]) -> None:
        """Close links on threads of their own: they wait for the service's answer."""
        self._closers = [closer for closer in self._closers if closer.is_alive()]
        for link in links:
            if (taken := link.detach()) is not None:
                closer = threading.Thread(target=taken.close, name="servicebus-close", daemon=True)
                closer.start()
                self._closers.append(closer)
            with contextlib.suppress(ValueError):
                self._links.remove(link)

    def _tick(self) -> None:
        for link in list(self._links):
            link.tick()
        self._detach_cancelled()
        limit = time.monotonic() - WAITING_LIMIT_S
        waiting = [delivery for link in self._links for delivery in link.budget.waiting]
        for delivery in waiting:
            if delivery.arrived_at < limit:
                self._decide(delivery, Outcome.RELEASE)
        self.reactor.call_later(1.0, self._tick)

    def _detach_cancelled(self) -> None:
        """Let go of links that nobody wants messages from, and whose messages are all settled."""
        if stopping := [link for link in self._links if link.is_stopping]:
            in_use = {delivery.link for delivery in self.locks}
            self._detach([link for link in stopping if link not in in_use])

    def _prefetch_tokens(self) -> None:
        self.control.prefetch_tokens()
        self.reactor.call_later(PREFETCH_TOKENS_EVERY_S, self._prefetch_tokens)

    def sockets(self) -> list[socket.socket | None]:
        """The sockets of all open links; for forked children."""
        return [link.sock for link in self._links] + self.control.sockets()

    def close_inherited(self) -> None:
        self.reactor.close_inherited()


def _tell_completed(delivery: Delivery) -> None:
    if delivery.outcome is Outcome.COMPLETE and delivery.after_completion is not None:
        delivery.after_completion()
