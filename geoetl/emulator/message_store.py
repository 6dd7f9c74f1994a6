"""Messages at rest: who gets which, for how long, and what its holder may do with it."""

from abc import ABC, abstractmethod
from typing import Any

from geoetl.emulator.conditions import MESSAGE_NOT_FOUND, ServiceBusError
from geoetl.emulator.consumers import Consumer, Consumers
from geoetl.emulator.descriptions import QueueDescription
from geoetl.emulator.entity_context import EntityContext
from geoetl.emulator.locks import NEVER, Locks
from geoetl.emulator.message import Message, State
from geoetl.emulator.message_log import MessageLog
from geoetl.emulator.timers import Alarm


class MessageStore(ABC):
    """The receiving half of a queue: handing out, locking, settling.

    Args:
        name: the path clients address, as its creator wrote it.
        description: the settings.
        context: what it shares with other entities.
    """

    def __init__(self, name: str, description: QueueDescription, context: EntityContext) -> None:
        self.name = name
        self.key = name.lower()
        self.description = description
        self.touched_at = context.clock.now()
        self._clock = context.clock
        self._log = MessageLog(self.key, context.journal)
        self._locks = Locks()
        self._consumers = Consumers()
        self._alarm = Alarm(context.timers, self)

    @property
    def has_users(self) -> bool:
        """Whether someone waits for messages or holds one."""
        return bool(self._consumers or self._locks)

    @property
    def size_bytes(self) -> int:
        return self._log.size_bytes

    @abstractmethod
    def tick(self, now: float) -> None:
        """Does what is due; called after each lock's time."""

    @abstractmethod
    def _put_back(self, message: Message, *, is_failed: bool) -> None:
        """Decides about a message whose lock is gone without it being settled for good."""

    def keep(self, message: Message) -> None:
        """Adds a message and puts it in line."""
        message.state, message.hops = State.ACTIVE, 0
        self._log.append(message)
        self._log.offer(message)
        self.pump()

    def _lay_down(self, message: Message) -> None:
        """Puts a message back where it was; one that is not set aside is in line again."""
        self._log.note(message)
        if message.state is State.ACTIVE:
            self._log.offer(message)
            self.pump()

    def wait(self, consumer: Consumer) -> None:
        """Gives a consumer messages, in turn with others, for as long as it can take them."""
        self.touched_at = self._clock.now()
        self._consumers.add(consumer)
        self.pump()

    def forget(self, consumer: Consumer) -> None:
        """Gives a consumer no more. What it holds stays locked until it is settled or the lock expires."""
        self._consumers.remove(consumer)

    def pump(self) -> None:
        """Hands ready messages to waiting consumers, oldest message first, consumers in turn."""
        while self._log.has_ready and (consumer := self._consumers.next()) is not None:
            message = self._log.pop_ready()
            if message is not None:
                self._hand_out(message, is_peek_lock=consumer.is_peek_lock)
                consumer.take(message)

    def peek(self, from_sequence_number: int, count: int) -> list[Message]:
        """Messages in any state from a sequence number on, without taking them."""
        self.touched_at = self._clock.now()
        return self._log.peek(from_sequence_number, count)

    def receive_deferred(self, sequence_numbers: list[int], *, is_peek_lock: bool) -> list[Message]:
        """Deferred messages by number, locked or removed as a consumer would take them.

        Raises:
            ServiceBusError: a number names no deferred message that is free; then none is taken.
        """
        found = [self._log.get(number) for number in sequence_numbers]
        messages = [m for m in found if m is not None and m.state is State.DEFERRED and m.lock_token is None]
        if len(messages) != len(found):
            raise ServiceBusError(MESSAGE_NOT_FOUND, f"Not all of {sequence_numbers} are deferred messages to receive.")
        for message in messages:
            self._hand_out(message, is_peek_lock=is_peek_lock)
        return messages

    # Each way of settling raises ServiceBusError when the token holds no message any more.

    def complete(self, token: bytes) -> None:
        """Removes a message for good."""
        self._log.remove(self._unlock(token))

    def release(self, token: bytes) -> None:
        """Makes a message available again as if it had not been delivered."""
        self._put_back(self._unlock(token), is_failed=False)

    def abandon(self, token: bytes, changes: dict[Any, Any] | None = None) -> None:
        """Makes a message available again, one delivery further; `changes` go to its application properties."""
        message = self._unlock(token)
        self._change(message, changes)
        self._put_back(message, is_failed=True)

    def defer(self, token: bytes, changes: dict[Any, Any] | None = None) -> None:
        """Sets a message aside: only :meth:`receive_deferred` finds it again."""
        message = self._unlock(token)
        self._change(message, changes)
        message.state = State.DEFERRED
        self._log.note(message)

    def renew(self, tokens: list[bytes]) -> list[float]:
        """Starts the locks of messages anew and returns when each expires; all or none.

        Raises:
            ServiceBusError: one of the locks is lost.
        """
        now = self._clock.now()
        until = now + self.description.lock_duration_s
        for message in self._locks.renew(tokens, now=now, until=until):
            self._log.note(message)
        return [until] * len(tokens)

    def expire_locks(self, until: float = NEVER) -> int:
        """Ends the locks that expire until a time, all without one, and returns how many there were."""
        messages = list(self._locks.pop_expired(until))
        for message in messages:
            self._put_back(message, is_failed=True)
        return len(messages)

    def _hand_out(self, message: Message, *, is_peek_lock: bool) -> None:
        if not is_peek_lock:
            self._log.remove(message)
            return
        until = self._clock.now() + self.description.lock_duration_s
        self._locks.grant(message, until)
        self._log.note(message)
        self._alarm.set(until)

    def _unlock(self, token: bytes) -> Message:
        self.touched_at = self._clock.now()
        return self._locks.take(token, self.touched_at)

    def _change(self, message: Message, changes: dict[Any, Any] | None) -> None:
        if changes:
            # Annotations have symbols for names, application properties strings (AMQP 1.0, part 3.2.5).
            named = {str(name): value for name, value in changes.items()}
            message.application_properties = message.with_application_properties(named)
            self._log.rewrite(message)
