"""Publishing to a queue and reading one, by kombu."""

import time
from typing import Any

from kombu import Connection, Consumer, Producer


class Inbox:
    """A consumer of one queue that keeps what it got."""

    def __init__(self, connection: Connection, queue: str, *, prefetch: int = 10) -> None:
        self.connection = connection
        self.messages: list[Any] = []
        self.channel = connection.channel()
        self.consumer = Consumer(self.channel, [connection.SimpleQueue(queue).queue], on_message=self.messages.append)
        self.consumer.qos(prefetch_count=prefetch)
        self.consumer.consume()

    def wait(self, count: int, timeout_s: float = 60.0) -> list[Any]:
        self.look(timeout_s, until=count)
        assert len(self.messages) >= count, f"{len(self.messages)} of {count} messages came"
        return self.messages

    def look(self, for_s: float, *, until: int | None = None) -> list[Any]:
        deadline = time.monotonic() + for_s
        while (left := deadline - time.monotonic()) > 0 and (until is None or len(self.messages) < until):
            try:
                self.connection.drain_events(timeout=left)
            except TimeoutError:
                break
        return self.messages


def publish(connection: Connection, queue: str, *bodies: Any, **kwargs: Any) -> None:
    producer = Producer(connection.channel())
    for body in bodies:
        producer.publish(body, routing_key=queue, declare=[connection.SimpleQueue(queue).queue], **kwargs)
