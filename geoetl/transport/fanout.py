"""Exchanges that reach other processes: fanout, topic, and the replies of remote control.

A message for such an exchange goes to its topic on the service. A queue that lives no longer than its consumer
(`auto_delete` or `exclusive`) and is bound to one is a subscription of the topic; it is received from directly. Queues
that stay are bound as everywhere in this transport: where their bindings are declared.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kombu.transport import virtual
from kombu.transport.virtual import exchange as kombu_exchanges

from geoetl.transport.exchanges import MESSAGE_LIFETIME, Subscription, subscription_name

if TYPE_CHECKING:
    from geoetl.transport.namespace import Namespace
    from geoetl.transport.transport import Transport

#: Before every topic's name: exchanges and queues of one name are usual, and they share the names of a namespace.
TOPIC_PREFIX = "exchange."

#: AMQP's word for messages that may be lost. Celery gives it to events and to replies of remote control.
TRANSIENT = 1


@dataclass(slots=True)
class Bindings:
    """What the channels of one connection know of queues that do not stay."""

    #: Declared and not yet bound: their arguments. Only the binding tells what they are on the service.
    declared: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    #: Bound to an exchange on the service.
    subscriptions: dict[str, Subscription] = field(default_factory=dict[str, Subscription])


class FanoutExchange(kombu_exchanges.FanoutExchange):
    """Every subscription gets a copy."""

    def deliver(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        channel: FanoutChannel = self.channel
        channel.publish_to_exchange(exchange, message, routing_key, **kwargs)


class TopicExchange(kombu_exchanges.TopicExchange):
    """Every subscription gets a copy; the receiver compares the routing key."""

    def deliver(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        channel: FanoutChannel = self.channel
        channel.publish_to_exchange(exchange, message, routing_key, **kwargs)


class DirectExchange(kombu_exchanges.DirectExchange):
    """Local, but for the replies of remote control: their queue is known to whoever asked, not to who answers."""

    def deliver(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        channel: FanoutChannel = self.channel
        if is_reply_exchange(exchange):
            channel.publish_to_exchange(exchange, message, routing_key, **kwargs)
        else:
            super().deliver(message, exchange, routing_key, **kwargs)


def is_reply_exchange(exchange: str) -> bool:
    """Whether a direct exchange carries replies: `kombu.pidbox` names it `reply.<namespace>.pidbox`."""
    return exchange.startswith("reply.") and exchange.endswith(".pidbox")


class FanoutChannel(virtual.Channel):
    """The part of a channel that binds queues to topics and publishes to them."""

    supports_fanout = True
    exchange_types = {  # noqa: RUF012 - kombu replaces it on the instance
        "direct": DirectExchange, "topic": TopicExchange, "fanout": FanoutExchange,
    }  # fmt: skip

    connection: "Transport | None"

    def __init__(self, connection: "Transport", **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._bindings = connection.bindings
        #: Queues bound by this channel, which go with it.
        self._bound_here: set[str] = set()

    @property
    def namespace(self) -> "Namespace":
        """The namespace of this process."""
        raise NotImplementedError

    def create_queue(self, queue: str, arguments: dict[str, Any]) -> None:
        """Create a queue on the service."""
        raise NotImplementedError

    def close_links(self, entity: str) -> None:
        """Close this channel's links to a queue or subscription."""
        raise NotImplementedError

    def subscription(self, queue: str) -> Subscription | None:
        """What stands for a queue on the service when it is not a queue."""
        return self._bindings.subscriptions.get(queue)

    # -- binding ---------------------------------------------------------------------------------------------------

    def wait_for_binding(self, queue: str, arguments: dict[str, Any]) -> bool:
        """Whether a queue that is declared may yet become a subscription; kombu declares its exchange before it."""
        may_be_bound = any(self._is_on_service(exchange) for exchange in self.state.exchanges)
        if not may_be_bound or not (arguments.get("auto_delete") or arguments.get("exclusive")):
            return False
        self._bindings.declared[queue] = arguments
        return True

    def _is_on_service(self, exchange: str) -> bool:
        return self.typeof(exchange).type != "direct" or is_reply_exchange(exchange)

    def _queue_bind(self, exchange: str, _routing_key: str, _pattern: str | None, queue: str) -> None:
        if (arguments := self._bindings.declared.get(queue)) is None:
            return
        if not self._is_on_service(exchange):
            self.create_if_declared(queue)
            return
        subscription = Subscription(
            self.namespace.entity_name(TOPIC_PREFIX + exchange),
            subscription_name(self.namespace.options.queue_name_prefix + queue),
            lifetime=_lifetime(arguments),
        )
        self.namespace.exchanges.add(subscription)
        self._bindings.subscriptions[queue] = subscription
        self._bound_here.add(queue)

    def create_if_declared(self, queue: str) -> None:
        """Create a queue whose creation waited for a binding that made it a subscription; none came."""
        if queue not in self._bindings.subscriptions and (arguments := self._bindings.declared.pop(queue, None)):
            self.create_queue(queue, arguments)

    def is_bound_for(self, queue: str, message: dict[str, Any]) -> bool:
        """Whether a message that a subscription received matches the bindings of its queue."""
        if queue not in self._bindings.subscriptions:
            return True
        info = message["properties"]["delivery_info"]
        exchange, routing_key = info.get("exchange"), info.get("routing_key") or ""
        return queue in self._bound(exchange, routing_key)

    def _bound(self, exchange: str, routing_key: str) -> set[str]:
        if exchange not in self.state.exchanges:
            return set()
        table: Any = self.get_table(exchange)
        kind: Any = self.typeof(exchange)
        return kind.lookup(table, exchange, routing_key, None)

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any) -> None:
        """Delete a queue, or the subscription that stands for it."""
        if self.subscription(queue) is not None:
            self.unbind(queue)
        else:
            super().queue_delete(queue, if_unused, if_empty, **kwargs)

    def unbind(self, queue: str) -> None:
        """Delete the subscription of a queue, if it is one, and forget its bindings."""
        if (subscription := self._bindings.subscriptions.pop(queue, None)) is None:
            return
        self._bindings.declared.pop(queue, None)
        self._bound_here.discard(queue)
        for exchange, routing_key, arguments in list(self.state.queue_bindings(queue)):
            self.queue_unbind(queue, exchange, routing_key, arguments)
        self.close_links(subscription.path)
        self.namespace.exchanges.remove(subscription.path)

    def unbind_all(self) -> None:
        """Delete the subscriptions that this channel made."""
        for queue in list(self._bound_here):
            self.unbind(queue)

    # -- publishing ------------------------------------------------------------------------------------------------

    def publish_to_exchange(self, exchange: str, message: dict[str, Any], routing_key: str, **kwargs: Any) -> None:
        """Send to every subscription of an exchange: in the background when the message may be lost.

        Raises:
            ServiceBusError: the service did not take a message that may not be lost.
        """
        topic = self.namespace.entity_name(TOPIC_PREFIX + exchange)
        if message["properties"].get("delivery_mode") == TRANSIENT:
            self.namespace.publish_soon(topic, message, is_awaited=is_reply_exchange(exchange))
        else:
            self.namespace.publish(topic, message)
        for queue in self._bound(exchange, routing_key) - self._bindings.subscriptions.keys():
            self._put(queue, message, **kwargs)


def _lifetime(arguments: dict[str, Any]) -> timedelta:
    """How long a message waits in a queue, by the queue's declaration; the service cuts off fractions of a second."""
    lifetime_ms = (arguments.get("arguments") or {}).get("x-message-ttl")
    return max(timedelta(milliseconds=lifetime_ms), timedelta(seconds=1)) if lifetime_ms else MESSAGE_LIFETIME
