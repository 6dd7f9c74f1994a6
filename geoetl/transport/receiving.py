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
from geoetl.transport.declare import Declarations
from geoetl.transport.delivery import Delivery, Outcome
from geoetl.transport.links import ReceiveLink
from geoetl.transport.options import Options
from geoetl.transport.reactor import Reactor
from geoetl.transport.signals import lock_lost

logger = logging.getLogger(__name__)

#: How long a message may wait without a slot before it is given back to the queue.
WAITING_LIMIT_S = 1.0

#: A budget must be full for so long before the credit of its links is withdrawn.
WITHDRAW_AFTER_S = 0.02

#: Bounds of closing: for confirmations of settlements, and for detaching.
CLOSE_TIMEOUT_S = 2.0


class Receiving:
    """All receive links of a process to one namespace, with the two threads that serve them."""

    def __init__(self, clients: Clients, options: Options, declarations: Declarations) -> None:
        self.clients = clients
        self.declarations = declarations
        self.reactor = Reactor()
        self.control = Control(clients)
        self._options = options
        self._links: list[ReceiveLink] = []
        #: Every message under our lock, until its settlement is confirmed.
        self._held: set[Delivery] = set()
        self._served = 0
        #: Budgets that are full, with the time since when.
        self._full_since: dict[int, float] = {}
        self._is_sweeping = False

    def start(self) -> None:
        self.reactor.start()
        self.control.start()
        self.reactor.call(self._tick)

    def stop(self) -> None:
        self.control.stop(timeout_s=CLOSE_TIMEOUT_S)
        self.reactor.stop(timeout_s=CLOSE_TIMEOUT_S)

    # -- what channels ask for -------------------------------------------------------------------------------------

    def consume(self, entity: str, budget: Budget, sink: Callable[[Delivery], None], *, no_ack: bool) -> ReceiveLink:
        """Begin to receive; the link opens in the background and reopens for ever."""
        link = ReceiveLink(self, entity, budget, sink, no_ack=no_ack)
        self.reactor.call(self._links.append, link)
        link.open_soon()
        return link

    def set_prefetch(self, budget: Budget, prefetch_count: int) -> None:
        budget.prefetch_count = prefetch_count
        self.reactor.call(self.serve, budget)

    def settle(self, delivery: Delivery, outcome: Outcome, *, reason: str = "", description: str = "") -> None:
        """Decide what becomes of a message; returns at once."""
        self.reactor.call(self._decide, delivery, outcome, reason, description)

    def requeue(self, delivery: Delivery) -> None:
        """Abandon a message after a pause that grows with its delivery count; its slot is free at once."""
        self.reactor.call(self._requeue, delivery)

    def cancel(self, link: ReceiveLink) -> None:
        """No more messages from this link; those handed out can still be settled."""
        self.reactor.call(self._cancel, link)

    def close(self, links: list[ReceiveLink]) -> None:
        """Give back everything not settled and detach; waits at most some seconds."""
        idle = threading.Event()
        self.reactor.call(self._give_back_all, links)
        self.reactor.call(self._set_when_confirmed, links, idle, time.monotonic() + CLOSE_TIMEOUT_S)
        idle.wait(CLOSE_TIMEOUT_S + 1)
        taken: list[sdk.ReceivingLink] = []
        self.reactor.call_and_wait(self._detach, links, taken, timeout_s=CLOSE_TIMEOUT_S)
        closers = [threading.Thread(target=link.close, name="servicebus-close", daemon=True) for link in taken]
        for closer in closers:
            closer.start()
        for closer in closers:
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
        self._hold(delivery)
        link = delivery.link
        if link.is_stopping:
            self._decide(delivery, Outcome.RELEASE)
        elif link.no_ack:
            self._decide(delivery, Outcome.COMPLETE)
            link.sink(delivery)
        else:
            link.budget.waiting.append(delivery)

    def on_settled(self, delivery: Delivery, error: Exception | None) -> None:
        self._held.discard(delivery)
        if error is None:
            return
        if sdk.is_lock_lost(error):
            self._report_lock_lost(delivery)
        else:
            logger.warning("%s of a message of %s refused: %s", delivery.outcome, delivery.link.entity, error)

    def settle_by_token(self, delivery: Delivery) -> None:
        """The receive link cannot say it (any more): ask the control thread."""
        if delivery.outcome is not None:
            self.control.settle(delivery, delivery.outcome, self._on_settled_by_token)

    def serve(self, budget: Budget) -> None:
        """Hand out waiting messages while there are slots, then give or withdraw credit."""
        while (delivery := budget.next_to_deliver()) is not None:
            self._served += 1
            delivery.link.last_served = self._served
            delivery.link.sink(delivery)
        free = budget.free_slots
        may_withdraw = False
        if free:
            self._full_since.pop(id(budget), None)
        elif id(budget) not in self._full_since:
            self._full_since[id(budget)] = time.monotonic()
            self.reactor.call_later(WITHDRAW_AFTER_S, self.serve, budget)
        else:
            may_withdraw = time.monotonic() - self._full_since[id(budget)] >= WITHDRAW_AFTER_S
        for link in sorted((link for link in self._links if link.budget is budget), key=lambda link: link.last_served):
            link.adjust_credit(free, may_withdraw=may_withdraw or free > 0)

    # -- settling (reactor thread) ---------------------------------------------------------------------------------

    def _decide(self, delivery: Delivery, outcome: Outcome, reason: str = "", description: str = "") -> None:
        if delivery.outcome is not None:
            return
        delivery.outcome, delivery.reason, delivery.description = outcome, reason, description
        delivery.link.budget.forget(delivery)
        if not delivery.link.settle(delivery, outcome):
            self.settle_by_token(delivery)
        elif outcome is Outcome.RELEASE:
            self._held.discard(delivery)
        self.serve(delivery.link.budget)

    def _requeue(self, delivery: Delivery) -> None:
        options = self._options
        delay_s = min(options.requeue_delay_s * 2 ** min(delivery.delivery_count, 20), options.requeue_delay_max_s)
        delivery.link.budget.forget(delivery)
        self.reactor.call_later(delay_s, self._decide, delivery, Outcome.ABANDON)
        self.serve(delivery.link.budget)

    def _on_settled_by_token(self, delivery: Delivery, error: Exception | None) -> None:
        """Control thread. A lost lock is no proof of failure here: an unconfirmed settlement may have been applied."""
        self.reactor.call(self._held.discard, delivery)
        entity = delivery.link.entity
        if error is None:
            logger.debug("%s by lock token on %s", delivery.outcome, entity)
        elif sdk.is_lock_lost(error):
            logger.info("%s on %s unconfirmed: its link was lost before the answer", delivery.outcome, entity)
        else:
            logger.warning("%s on %s failed: %s", delivery.outcome, entity, error)

    # -- locks (reactor thread) ------------------------------------------------------------------------------------

    def _hold(self, delivery: Delivery) -> None:
        self._held.add(delivery)
        if not self._is_sweeping:
            self._is_sweeping = True
            self.reactor.call_later(delivery.lock_s / 6, self._renew_due)

    def _renew_due(self) -> None:
        """Renew every lock that is a third gone, queue by queue; again while anything is held."""
        now = time.monotonic()
        due: dict[str, list[Delivery]] = {}
        for delivery in self._held:
            # The sweep comes every sixth of a lock at least, so a lock is renewed at the latest at a third.
            if (
                delivery.outcome is None
                and not (delivery.is_renewing or delivery.is_lock_lost)
                and (now - delivery.renewed_at >= delivery.lock_s / 6)
            ):
                delivery.is_renewing = True
                due.setdefault(delivery.link.entity, []).append(delivery)
        for entity, deliveries in due.items():
            self.control.renew(entity, deliveries, self._on_renewed_elsewhere)
        self._is_sweeping = bool(self._held)
        if self._held:
            self.reactor.call_later(min(delivery.lock_s for delivery in self._held) / 6, self._renew_due)

    def _on_renewed_elsewhere(self, deliveries: list[Delivery], error: Exception | None) -> None:
        self.reactor.call(self._on_renewed, deliveries, error)

    def _on_renewed(self, deliveries: list[Delivery], error: Exception | None) -> None:
        for delivery in deliveries:
            delivery.is_renewing = False
            if error is None:
                delivery.renewed_at = time.monotonic()
            elif sdk.is_lock_lost(error) and delivery.outcome is None:
                self._report_lock_lost(delivery)
        if error is not None and not sdk.is_lock_lost(error):
            logger.warning("renewing %d locks failed, will try again: %s", len(deliveries), error)

    def _report_lock_lost(self, delivery: Delivery) -> None:
        if delivery.is_lock_lost:
            return
        delivery.is_lock_lost = True
        self._held.discard(delivery)
        properties = delivery.message.application_properties or {}
        known = {_text(name): _text(value) for name, value in properties.items() if _text(name) in {"id", "task"}}
        logger.warning(
            "lock lost: message of %s, task %s[%s]; it will be delivered again and may run twice",
            delivery.link.entity, known.get("task"), known.get("id"),
        )  # fmt: skip
        lock_lost.send(
            sender=type(self), queue=delivery.link.entity, lock_token=str(delivery.token),
            delivery_count=delivery.delivery_count, message=known,
        )  # fmt: skip

    # -- closing, and once a second (reactor thread) ---------------------------------------------------------------

    def _cancel(self, link: ReceiveLink) -> None:
        link.is_stopping = True
        for delivery in [d for d in link.budget.waiting if d.link is link]:
            self._decide(delivery, Outcome.RELEASE)
        self.serve(link.budget)

    def _give_back_all(self, links: Iterable[ReceiveLink]) -> None:
        for link in links:
            link.is_stopping = True
        for delivery in [d for d in self._held if d.link in links and d.outcome is None]:
            self._decide(delivery, Outcome.RELEASE)
        for link in links:
            self.serve(link.budget)

    def _set_when_confirmed(self, links: list[ReceiveLink], idle: threading.Event, deadline: float) -> None:
        if time.monotonic() < deadline and any(link.has_unconfirmed for link in links):
            self.reactor.call_later(0.002, self._set_when_confirmed, links, idle, deadline)
        else:
            idle.set()

    def _detach(self, links: list[ReceiveLink], taken: list[sdk.ReceivingLink]) -> None:
        for link in links:
            if (open_link := link.detach()) is not None:
                taken.append(open_link)
            with contextlib.suppress(ValueError):
                self._links.remove(link)

    def _tick(self) -> None:
        for link in list(self._links):
            link.tick()
        limit = time.monotonic() - WAITING_LIMIT_S
        for delivery in [d for d in self._held if d.outcome is None and d.arrived_at < limit]:
            if delivery in delivery.link.budget.waiting:
                self._decide(delivery, Outcome.RELEASE)
        self.reactor.call_later(1.0, self._tick)

    def sockets(self) -> list[socket.socket | None]:
        """The sockets of all open links; for forked children."""
        return [link.sock for link in self._links] + self.control.sockets()

    def close_inherited(self) -> None:
        self.reactor.close_inherited()


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
