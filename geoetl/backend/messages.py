"""Messages as data: built by Celery itself, captured on their way to the broker, published later byte for byte.

Celery asks its app for a producer in one place (``Celery.producer_or_acquire``). While a ``capture()`` is open that
place answers with a producer that keeps what it is given, so any signature or canvas can be sent inside a database
transaction: all its routing, options and signals happen as usual, only the publish is left out.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, cast, override

from celery import Celery
from kombu.compression import compress
from kombu.entity import Queue
from kombu.messaging import Producer
from kombu.serialization import dumps

#: Header of every message of a plain task: which call of Celery's ``send_task`` it comes from. Copies of a message, and
#: retries, carry the same word; the same signature sent again, on purpose, carries another.
SEND_HEADER = "geoetl_send"


@dataclass(frozen=True, slots=True)
class Message:
    """One message that Celery has built and nobody has sent yet."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    """What kombu's ``Producer.publish`` takes besides the body: correlation id, priority, expiration, …"""
    body: bytes
    content_type: str
    content_encoding: str
    exchange: str
    routing_key: str
    queue: str | None
    """Name of the queue to declare before the first publish; None where the exchange routes by itself."""

    def envelope(self) -> dict[str, Any]:
        """Everything but the body, as JSON stores it."""
        return {
            "headers": self.headers,
            "properties": self.properties,
            "content_type": self.content_type,
            "content_encoding": self.content_encoding,
            "exchange": self.exchange,
            "routing_key": self.routing_key,
            "queue": self.queue,
        }

    @classmethod
    def restore(cls, envelope: dict[str, Any], body: bytes) -> "Message":
        """The message that ``envelope()`` and its body came from."""
        return cls(body=body, **envelope)

    def addressed(self, task_id: str, **headers: Any) -> "Message":
        """A copy for another task id: the fast way to thousands of messages that differ in nothing else."""
        return replace(
            self,
            headers={**self.headers, "id": task_id, **headers},
            properties={**self.properties, "correlation_id": task_id},
        )


@dataclass(slots=True)
class Captured:
    """Messages in the order they were sent."""

    messages: list[Message] = field(default_factory=list[Message])


_open: ContextVar[Captured | None] = ContextVar("geoetl_captured", default=None)


@contextmanager
def capture(into: Captured | None = None) -> Generator[Captured]:
    """Keep every task message sent in this context instead of publishing it. The app must be an ``OutboxCelery``."""
    captured = into or Captured()
    token = _open.set(captured)
    try:
        yield captured
    finally:
        _open.reset(token)


def captured() -> Captured | None:
    """What is being captured in this context, if anything."""
    return _open.get()


def start_capturing(into: Captured) -> None:
    """Capture from here on, across the calls of Celery's trace, until `stop_capturing`."""
    _open.set(into)


def stop_capturing() -> None:
    """Publish again."""
    _open.set(None)


class CaptureProducer(Producer):
    """Keeps what it is asked to publish. Its connection is lazy and never opened."""

    @override
    def publish(  # pyright: ignore[reportIncompatibleMethodOverride] - the stubs are stricter than kombu is
        self,
        body: Any,
        routing_key: str | None = None,
        exchange: Any = None,
        serializer: str | None = None,
        compression: str | None = None,
        headers: dict[str, Any] | None = None,
        declare: Any = None,
        **properties: Any,
    ) -> None:
        # `task-sent` events come through the same producer; they have no id and belong to the moment of publishing.
        if not headers or "id" not in headers:
            return
        for publish_only in ("retry", "retry_policy", "timeout", "confirm_timeout", "delivery_mode", "mandatory"):
            properties.pop(publish_only, None)
        content_type, content_encoding, data = cast("tuple[str, str, str | bytes]", dumps(body, serializer=serializer))
        encoded = data.encode(content_encoding) if isinstance(data, str) else data
        headers = dict(headers)
        if compression:
            encoded, headers["compression"] = compress(encoded, compression)
        into = _open.get()
        assert into is not None, "a capture producer outlived its capture"
        into.messages.append(
            Message(
                headers=headers,
                properties=properties,
                body=encoded,
                content_type=content_type,
                content_encoding=content_encoding,
                exchange=getattr(exchange, "name", exchange) or "",
                routing_key=routing_key or "",
                queue=next((name for entity in declare or () if (name := getattr(entity, "name", None))), None),
            )
        )


class Outlet:
    """Sends captured messages by one producer, and declares their queues on the way."""

    def __init__(self, app: Celery, producer: Producer) -> None:
        self._app = app
        self._producer = producer
        # kombu would bind a queue, which copies it, for each message again.
        self._bound: dict[str, Queue] = {}

    def publish(self, message: Message) -> None:
        """Send a captured message. The body passes through untouched because its content type is given."""
        self._producer.publish(
            message.body,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=message.headers,
            exchange=message.exchange,
            routing_key=message.routing_key,
            declare=[self._queue(message.queue)] if message.queue else None,
            **message.properties,
        )

    def _queue(self, name: str) -> Queue:
        if name not in self._bound:
            self._bound[name] = self._app.amqp.queues[name].bind(self._producer.channel)
        return self._bound[name]
