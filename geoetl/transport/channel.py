"""kombu's channel: what Celery calls to declare, publish, consume and settle."""

import logging
import queue as queues
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from kombu.transport import virtual
from kombu.utils.uuid import uuid

from geoetl.transport.batch import PublishBatch
from geoetl.transport.bodies import BodyMissingError, claim_of
from geoetl.transport.credit import Budget
from geoetl.transport.delivery import Delivery, Outcome
from geoetl.transport.errors import QueueUnavailableError
from geoetl.transport.fanout import FanoutChannel
from geoetl.transport.links import ReceiveLink
from geoetl.transport.messages import from_service_bus, to_service_bus
from geoetl.transport.namespace import Namespace
from geoetl.transport.recipient import Recipient

if TYPE_CHECKING:
    from geoetl.transport.transport import Transport

logger = logging.getLogger(__name__)

#: How long a channel waits for the links of its consumers, so that a worker is ready when it says so. They open anyway.
CONSUME_READY_TIMEOUT_S = 5.0


class QoS(virtual.QoS):
    """kombu's bookkeeping of unacknowledged messages, without its idea of requeueing: the service does that."""

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self._quick_ack(delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Nothing: `Channel.close` gives unsettled messages back."""
        self._on_collect.cancel()


class Channel(FanoutChannel):
    """A channel over the process's namespace object. Settling is thread-safe; the rest is for one thread."""

    QoS = QoS
    do_restore = False
    #: Bodies travel as they are; nothing is base64.
    body_encoding = None
    from_transport_options = ("deadletter_queue",)

    def __init__(self, connection: "Transport", **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._namespace: Namespace = connection.namespace
        self._budget = Budget()
        self._unsettled: dict[str, Delivery] = {}
        #: By consumer tag.
        self._recipients: dict[str, Recipient] = {}
        #: Those of cancelled consumers too: what they received is settled or given back over them.
        self._links: list[ReceiveLink] = []
        self._ready_by: float | None = None

    @property
    def namespace(self) -> Namespace:
        """The namespace of this process; a channel inherited over a fork moves to the child's own."""
        if not self._namespace.is_ours and self.connection is not None:
            self._namespace = self.connection.namespace
            self._links, self._unsettled = [], {}
        return self._namespace

    def entity(self, queue: str) -> str:
        """What a queue is on the service: the name of a queue, or the path of a subscription."""
        subscription = self.subscription(queue)
        return subscription.path if subscription is not None else self._namespace.entity_name(queue)

    # -- queues ----------------------------------------------------------------------------------------------------

    def queue_declare(self, queue: str | None = None, passive: bool = False, **kwargs: Any) -> Any:
        """Declare a queue. The message count is only asked for with `passive`: it costs an HTTP request."""
        if passive:
            return super().queue_declare(queue, passive=True, **kwargs)
        name = queue or f"amq.gen-{uuid()}"
        self._new_queue(name, **kwargs)
        # kombu re-exports the tuple of a library that is its own dependency, not ours.
        return virtual.base.queue_declare_ok_t(name, 0, 0)  # pyright: ignore[reportPrivateImportUsage]

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        if not self.wait_for_binding(queue, kwargs):
            self.create_queue(queue, kwargs)

    def create_queue(self, queue: str, arguments: dict[str, Any]) -> None:
        self.namespace.declarations.ensure(self.entity(queue), idle_limit=_idle_limit(arguments))

    def _has_queue(self, queue: str, **_: Any) -> Any:
        return self.subscription(queue) is not None or self.namespace.declarations.exists(self.entity(queue))

    def _size(self, queue: str) -> Any:
        subscription = self.subscription(queue)
        if subscription is not None:
            return self.namespace.exchanges.active_messages(subscription)
        return self.namespace.declarations.active_messages(self.entity(queue))

    def _delete(self, queue: str, *_: Any, **__: Any) -> None:
        self.namespace.declarations.delete(self.entity(queue))

    def _purge(self, queue: str) -> int:
        return self.namespace.purge(self.entity(queue))

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> Any:
        """The queues bound to an exchange; bindings are known only in the process that declared them.

        Raises:
            QueueUnavailableError: none is, on a direct exchange: the message would be lost without a word.
        """
        bound = super()._lookup(exchange, routing_key, default)
        if not bound and exchange and self.typeof(exchange).type == "direct":
            raise QueueUnavailableError(
                f"No queue is bound to exchange '{exchange}' with routing key '{routing_key}' in this process. Service "
                "Bus has no exchanges, so bindings are known only where they are declared: publish to the queue by its "
                "name, or declare it (`declare=[queue]`, or `task_queues`)."
            )
        return bound

    # -- publishing ------------------------------------------------------------------------------------------------

    def _put(self, queue: str, message: dict[str, Any], *, batch: PublishBatch | None = None, **_: Any) -> None:
        self.create_if_declared(queue)
        outgoing = to_service_bus(
            message, now=datetime.now(UTC), expires_grace_s=self._namespace.options.expires_grace_s
        )
        outgoing = self.namespace.bodies.check_in(self.entity(queue), outgoing)
        if batch is not None:
            batch.add(self.entity(queue), outgoing)
        else:
            self.namespace.send(self.entity(queue), [outgoing])

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        return PublishBatch(self, max_size=max_size)

    # -- consuming -------------------------------------------------------------------------------------------------

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        super().basic_qos(prefetch_size, prefetch_count, apply_global)
        self._budget.prefetch_count = prefetch_count
        if self._links:
            self.namespace.receiving.set_prefetch(self._budget, prefetch_count)

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[..., Any], consumer_tag: str, **kwargs: Any
    ) -> None:
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        transport = self.connection
        assert transport is not None, "kombu consumes on open channels"
        recipient = Recipient(self, queue, transport.callback_of(queue))
        self._recipients[consumer_tag] = recipient

        def sink(delivery: Delivery) -> None:
            claim = claim_of(delivery.message)
            if claim is None:
                transport.deliver_soon(recipient, delivery)
            else:
                self._deliver_with_body(delivery, claim, lambda: transport.deliver_soon(recipient, delivery))

        self.create_if_declared(queue)
        exchanges = self.namespace.exchanges if self.subscription(queue) is not None else None
        if exchanges is not None and exchanges.is_off:
            return
        link = self.namespace.receiving.consume(
            self.entity(queue), self._budget, sink, no_ack=no_ack, declarations=exchanges
        )
        recipient.link = link
        self._links = [*(other for other in self._links if not other.is_closed), link]
        # All queues together: a worker of twenty queues must not take minutes to start when the service is away.
        self._ready_by = self._ready_by or time.monotonic() + CONSUME_READY_TIMEOUT_S
        link.ready.wait(max(0.0, self._ready_by - time.monotonic()))

    def _deliver_with_body(self, delivery: Delivery, claim: str, deliver: Callable[[], None]) -> None:
        bodies = self._namespace.bodies

        def discard() -> None:
            bodies.discard(claim)

        def on_fetched() -> None:
            if delivery.link.no_ack:  # settled on arrival
                discard()
            deliver()

        def on_failed(error: Exception) -> None:
            if isinstance(error, BodyMissingError):
                logger.error("dead-lettering a message of %s: %s", delivery.link.entity, error)
                self.dead_letter(delivery, reason="BodyMissing", description=f"({error}) refused")
            else:
                logger.warning("a message of %s goes back, its body cannot be fetched: %s", delivery.link.entity, error)
                self._namespace.receiving.requeue(delivery)

        if not delivery.link.no_ack:
            delivery.after_completion = discard
        bodies.fetch_for(delivery, claim, on_done=on_fetched, on_failed=on_failed)

    def basic_cancel(self, consumer_tag: str) -> None:
        super().basic_cancel(consumer_tag)
        if (recipient := self._recipients.pop(consumer_tag, None)) is None:
            return
        recipient.is_cancelled = True
        if self._namespace.is_ours and recipient.link is not None:
            self._namespace.receiving.cancel(recipient.link)
        if self.connection is not None:
            self.connection.give_back(recipient)

    def close_links(self, entity: str) -> None:
        closing = [link for link in self._links if link.entity == entity]
        self._links = [link for link in self._links if link.entity != entity]
        if closing and self._namespace.is_ours:
            self._namespace.receiving.close(closing)

    def receive(self, delivery: Delivery) -> dict[str, Any]:
        """The payload of a delivery, which is from now on unsettled.

        Raises:
            UnreadableMessageError: no kombu producer wrote it.
        """
        tag = str(delivery.token)
        payload = from_service_bus(delivery.message, delivery_tag=tag, stored_body=delivery.body)
        if not delivery.link.no_ack:
            self._unsettled[tag] = delivery
        return payload

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        super().basic_ack(delivery_tag, multiple)
        if (delivery := self._unsettled.pop(delivery_tag, None)) is not None:
            self._namespace.receiving.settle(delivery, Outcome.COMPLETE)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        super().basic_reject(delivery_tag, requeue)
        if (delivery := self._unsettled.pop(delivery_tag, None)) is None:
            return
        if requeue:
            self._namespace.receiving.requeue(delivery)
        else:
            self.dead_letter(delivery, reason="RejectedByWorker", description="rejected without requeue")

    def dead_letter(self, delivery: Delivery, *, reason: str, description: str) -> None:
        """Move a message to the dead-letter queue, where its reason says who did it."""
        message = delivery.message
        task = f"task {message.subject or '?'}[{message.correlation_id or '?'}]"
        self._namespace.receiving.settle(
            delivery, Outcome.DEAD_LETTER, reason=reason,
            description=f"{task} {description} by {socket.gethostname()}, delivery {delivery.delivery_count + 1}",
        )  # fmt: skip

    def release(self, delivery: Delivery) -> None:
        """Give back a message that nobody here will look at; not counted as a failed delivery."""
        self._namespace.receiving.settle(delivery, Outcome.RELEASE)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Fetch one message if there is one. It is removed at once, so it cannot be rejected back to the queue."""
        return super().basic_get(queue, no_ack=True, **kwargs)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        taken = self.namespace.take_one(self.entity(queue))
        if taken is None:
            raise queues.Empty
        message, body = taken
        return from_service_bus(message, delivery_tag=self._next_delivery_tag(), stored_body=body)

    def close(self) -> None:
        """Close the channel: what was not settled goes back to its queue, uncounted."""
        if not self.closed:
            self.unbind_all()
            super().close()
            if self._links and self._namespace.is_ours:
                self._namespace.receiving.close(self._links)
            self._links, self._unsettled = [], {}


def _idle_limit(arguments: dict[str, Any]) -> timedelta | None:
    """After what time without use a declared queue may go: for reply queues and the like."""
    expires_ms = (arguments.get("arguments") or {}).get("x-expires")
    if expires_ms:
        return timedelta(milliseconds=expires_ms)
    return timedelta(0) if arguments.get("auto_delete") or arguments.get("exclusive") else None
