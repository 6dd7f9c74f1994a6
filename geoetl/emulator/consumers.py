"""Who waits for the messages of a queue, and whose turn it is."""

from collections import OrderedDict
from typing import Protocol

from geoetl.emulator.message import Message


class Consumer(Protocol):
    """Takes messages from a queue. One that can take no more is forgotten until it waits again."""

    @property
    def is_peek_lock(self) -> bool:
        """Whether messages are locked for the consumer, or removed as they are taken."""
        ...

    @property
    def can_take(self) -> bool: ...

    def take(self, message: Message) -> None: ...


class Consumers:
    """The waiting consumers, in turn."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Consumer, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, consumer: Consumer) -> None:
        self._waiting.setdefault(consumer)

    def remove(self, consumer: Consumer) -> None:
        self._waiting.pop(consumer, None)

    def next(self) -> Consumer | None:
        """Who is next, when anyone can take a message; that consumer goes to the end of the line."""
        while self._waiting:
            consumer = next(iter(self._waiting))
            if consumer.can_take:
                self._waiting.move_to_end(consumer)
                return consumer
            del self._waiting[consumer]
        return None
