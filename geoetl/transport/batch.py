"""kombu's `producer.batch()`: publishes that wait to be sent together."""

from typing import TYPE_CHECKING, Any

from azure.servicebus import ServiceBusMessage

if TYPE_CHECKING:
    from geoetl.transport.channel import Channel


class PublishBatch:
    """Messages of one producer and thread, by queue, until `flush`."""

    def __init__(self, channel: "Channel", *, max_size: int) -> None:
        #: kombu checks that the producer's channel does not change under a batch.
        self.channel = channel
        self._max_size = max_size
        self._by_entity: dict[str, list[ServiceBusMessage]] = {}
        self._count = 0

    def publish(self, message: dict[str, Any], **kwargs: Any) -> Any:
        result = self.channel.basic_publish(message, batch=self, **kwargs)
        if self._count >= self._max_size:
            self.flush()
        return result

    def add(self, entity: str, message: ServiceBusMessage) -> None:
        self._by_entity.setdefault(entity, []).append(message)
        self._count += 1

    def flush(self) -> None:
        """Send what has been added. After an error the rest is dropped: it is not known how far the service came."""
        waiting, self._by_entity, self._count = self._by_entity, {}, 0
        for entity, messages in waiting.items():
            self.channel.namespace.send(entity, messages)

    def discard(self) -> None:
        self._by_entity, self._count = {}, 0

    def close(self) -> None:
        """Nothing is held but messages."""
