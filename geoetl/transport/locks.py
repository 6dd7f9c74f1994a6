"""Every message under our lock: renewed for as long as it is held, and never lost in silence. Reactor thread only."""

import logging
import math
import time
from collections.abc import Iterator

from geoetl.transport import sdk
from geoetl.transport.control import Control
from geoetl.transport.delivery import Delivery
from geoetl.transport.reactor import Reactor
from geoetl.transport.signals import lock_lost

logger = logging.getLogger(__name__)

#: A lock is renewed when between a sixth and a third of it is gone: sweeps come every sixth.
SWEEPS_PER_LOCK = 6

#: After a failed renewal the next attempt comes soon, however long the lock.
RETRY_RENEWAL_S = 2.0


class Locks:
    """The table of held messages and the sweeps that renew them."""

    def __init__(self, reactor: Reactor, control: Control) -> None:
        self._reactor = reactor
        self._control = control
        self._held: set[Delivery] = set()
        self._next_sweep_at = math.inf

    def __iter__(self) -> Iterator[Delivery]:
        return iter(list(self._held))

    def hold(self, delivery: Delivery) -> None:
        """Keep the lock from now on."""
        self._held.add(delivery)
        self._sweep_within(delivery.lock_s / SWEEPS_PER_LOCK)

    def let_go(self, delivery: Delivery) -> None:
        """The message is settled, or not ours any more."""
        self._held.discard(delivery)

    def _sweep_within(self, delay_s: float) -> None:
        at = time.monotonic() + delay_s
        if at < self._next_sweep_at:
            self._next_sweep_at = at
            self._reactor.call_later(delay_s, self._sweep, at)

    def _sweep(self, at: float) -> None:
        """Renew every lock that is due, one request for each queue; come again while anything is held."""
        if at != self._next_sweep_at:  # another sweep was wanted earlier and took this one's place
            return
        self._next_sweep_at = math.inf
        now = time.monotonic()
        due: dict[str, list[Delivery]] = {}
        for delivery in self._held:
            if delivery.wants_renewal and now - delivery.renewed_at >= delivery.lock_s / SWEEPS_PER_LOCK:
                delivery.is_renewing = True
                due.setdefault(delivery.link.entity, []).append(delivery)
        for entity, deliveries in due.items():
            self._control.renew(entity, deliveries, self._on_renewed_elsewhere)
        if self._held:
            self._sweep_within(min(delivery.lock_s for delivery in self._held) / SWEEPS_PER_LOCK)

    def _on_renewed_elsewhere(self, deliveries: list[Delivery], error: Exception | None) -> None:
        self._reactor.call(self._on_renewed, deliveries, error)

    def _on_renewed(self, deliveries: list[Delivery], error: Exception | None) -> None:
        for delivery in deliveries:
            delivery.is_renewing = False
            if error is None:
                delivery.renewed_at = time.monotonic()
            elif sdk.is_lock_lost(error) and delivery.outcome is None:
                self.report_lost(delivery)
        if error is not None and not sdk.is_lock_lost(error):
            logger.warning("renewing %d locks failed, will try again: %s", len(deliveries), error)
            self._sweep_within(RETRY_RENEWAL_S)

    def report_lost(self, delivery: Delivery) -> None:
        """Tell, once, that a message is not ours any more; if nobody has seen it yet, nobody will."""
        if delivery.is_lock_lost:
            return
        delivery.is_lock_lost = True
        self.let_go(delivery)
        budget = delivery.link.budget
        if delivery in budget.waiting:
            budget.forget(delivery)
            return
        task = _task_of(delivery)
        logger.warning(
            "lock lost: message of %s, task %s[%s]; it will be delivered again and may run twice",
            delivery.link.entity, task.get("task"), task.get("id"),
        )  # fmt: skip
        facts = {
            "queue": delivery.link.entity,
            "lock_token": str(delivery.token),
            "delivery_count": delivery.delivery_count,
            "message": task,
        }
        self._control.submit(lambda: lock_lost.send(sender=type(self), **facts))


def _task_of(delivery: Delivery) -> dict[str, str]:
    """Id and name of the task in a message, as far as they are known."""
    properties = delivery.message.application_properties or {}
    return {_text(name): _text(value) for name, value in properties.items() if _text(name) in {"id", "task"}}


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
