"""What the tests of queues and topics share: a namespace by a clock that is moved, and consumers."""

from dataclasses import dataclass, field

from geoetl.emulator.amqp_types import Timestamp
from geoetl.emulator.clock import ManualClock
from geoetl.emulator.message import SCHEDULED_ENQUEUE_TIME, Message
from geoetl.emulator.namespace import Namespace
from geoetl.emulator.queue import Queue
from geoetl.emulator.topic import Topic


@dataclass(eq=False)
class Taker:
    """A consumer with credit."""

    credit: int = 1
    is_peek_lock: bool = True
    taken: list[Message] = field(default_factory=list)

    @property
    def can_take(self) -> bool:
        return self.credit > 0

    def take(self, message: Message) -> None:
        self.credit -= 1
        self.taken.append(message)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.namespace = Namespace(self.clock)

    def queue(self, name: str = "q", **properties: str) -> Queue:
        return self.namespace.create(name, properties)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.namespace.timers.run()

    def send(
        self, entity: Queue | Topic, body: str = "x", *, due_in: float | None = None, ttl_s: float | None = None
    ) -> int:
        message = Message(body=body.encode(), ttl_ms=None if ttl_s is None else int(ttl_s * 1000))
        if due_in is not None:
            message.annotations = {SCHEDULED_ENQUEUE_TIME: Timestamp((self.clock.now() + due_in) * 1000)}
        return entity.send(message)


def take(queue: Queue) -> Message | None:
    taker = Taker()
    queue.wait(taker)
    queue.forget(taker)
    return taker.taken[0] if taker.taken else None


def token(message: Message | None) -> bytes:
    assert message is not None
    assert message.lock_token is not None
    return message.lock_token
