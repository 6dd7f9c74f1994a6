"""Queue semantics: who gets which message, for how long, and what becomes of it. No I/O; time comes from a clock.

The rules are those of Service Bus peek-lock queues:
https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement
"""

import heapq
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

from geoetl.emulator.clock import Clock
from geoetl.emulator.conditions import MESSAGE_NOT_FOUND, NOT_ALLOWED, ServiceBusError, lock_lost
from geoetl.emulator.descriptions import QueueDescription
from geoetl.emulator.journal import Journal
from geoetl.emulator.message import Message, State
from geoetl.emulator.timers import Timers

_NEVER = float("inf")


class Consumer(Protocol):
    """Who takes messages from a queue. A consumer that can take no more is forgotten until it waits again."""

    @property
    def is_peek_lock(self) -> bool:
        """Whether messages are locked for the consumer, or removed as they are taken."""
        ...

    @property
    def can_take(self) -> bool: ...

    def take(self, message: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages as Service Bus counts them: locked and deferred ones are active."""

    active: int
    dead_lettered: int
    scheduled: int

    @property
    def total(self) -> int:
        return self.active + self.dead_lettered + self.scheduled


@dataclass(frozen=True, slots=True)
class QueueContext:
    """What all queues of a namespace share."""

    clock: Clock
    timers: Timers
    journal: Journal


class Queue:
    """A queue, or the dead-letter queue of one.

    Args:
        name: the path clients address, as its creator wrote it.
        description: the settings.
        context: what it shares with other queues.
        source: the queue this one holds the dead letters of.
    """

    def __init__(
        self, name: str, description: QueueDescription, context: QueueContext, *, source: "Queue | None" = None
    ) -> None:
        self.name = name
        self.key = name.lower()
        self.description = description
        self.source = source
        self.created_at = self.updated_at = self.touched_at = context.clock.now()
        self.dead_letters: Queue | None = None
        if source is None:
            self.dead_letters = Queue(f"{name}/$DeadLetterQueue", description, context, source=self)
        self._clock, self._timers, self._journal = context.clock, context.timers, context.journal
        self._last_sequence_number = 0
        self._messages: dict[int, Message] = {}
        self._ready: list[int] = []
        #: Locked messages in the order their locks expire: every lock lasts equally long.
        self._locked: OrderedDict[bytes, Message] = OrderedDict()
        self._scheduled: list[tuple[float, int]] = []
        self._scheduled_count = 0
        self._expiring: list[tuple[float, int]] = []
        self._waiting: OrderedDict[Consumer, None] = OrderedDict()
        self._armed_for = _NEVER

    @property
    def counts(self) -> Counts:
        dead = len(self.dead_letters._messages) if self.dead_letters else 0
        return Counts(len(self._messages) - self._scheduled_count, dead, self._scheduled_count)

    @property
    def locked_count(self) -> int:
        """Messages that someone holds."""
        return len(self._locked)

    @property
    def size_bytes(self) -> int:
        return sum(message.size_bytes for message in self._messages.values())

    # --- sending

    def send(self, message: Message) -> int:
        """Accepts a message, now or for its scheduled time, and returns its sequence number.

        Raises:
            ServiceBusError: this is a dead-letter queue, which only the broker fills.
        """
        if self.source is not None:
            raise ServiceBusError(NOT_ALLOWED, f"Messages cannot be sent to the dead-letter queue '{self.name}'.")
        now = self._clock.now()
        self.touched_at = now
        due = message.scheduled_enqueue_at
        if due is not None and due > now:
            message.state, message.due_at, message.enqueued_at = State.SCHEDULED, due, now
            self._add(message)
            self._hold_until_due(message)
        else:
            message.enqueued_at = now
            self._activate(message, now)
            self.pump()
        return message.sequence_number

    def cancel_scheduled(self, sequence_number: int) -> None:
        """Removes a scheduled message before its time.

        Raises:
            ServiceBusError: no scheduled message has this number.
        """
        message = self._messages.get(sequence_number)
        if message is None or message.state is not State.SCHEDULED:
            raise ServiceBusError(MESSAGE_NOT_FOUND, f"No scheduled message has sequence number {sequence_number}.")
        self._scheduled_count -= 1
        self._remove(message)

    # --- receiving

    def wait(self, consumer: Consumer) -> None:
        """Gives a consumer messages, in turn with others, for as long as it can take them."""
        self.touched_at = self._clock.now()
        self._waiting.setdefault(consumer)
        self.pump()

    def forget(self, consumer: Consumer) -> None:
        """Gives a consumer no more. What it holds stays locked until it is settled or the lock expires."""
        self._waiting.pop(consumer, None)

    def pump(self) -> None:
        """Hands ready messages to waiting consumers, oldest message first, consumers in turn."""
        while self._ready and self._waiting:
            consumer = next(iter(self._waiting))
            if not consumer.can_take:
                del self._waiting[consumer]
                continue
            message = self._messages.get(heapq.heappop(self._ready))
            if message is None or message.state is not State.ACTIVE or message.lock_token is not None:
                continue
            self._waiting.move_to_end(consumer)
            if consumer.is_peek_lock:
                self._lock(message)
            else:
                self._remove(message)
            consumer.take(message)

    def peek(self, from_sequence_number: int, count: int) -> list[Message]:
        """Messages in any state from a sequence number on, without taking them."""
        return list(islice((m for n, m in self._messages.items() if n >= from_sequence_number), count))

    def receive_deferred(self, sequence_numbers: list[int], *, is_peek_lock: bool) -> list[Message]:
        """Deferred messages by number, locked or removed as a consumer would take them.

        Raises:
            ServiceBusError: a number names no deferred message that is free; then none is taken.
        """
        found = [self._messages.get(number) for number in sequence_numbers]
        messages = [m for m in found if m is not None and m.state is State.DEFERRED and m.lock_token is None]
        if len(messages) != len(found):
            raise ServiceBusError(MESSAGE_NOT_FOUND, f"Not all of {sequence_numbers} are deferred messages to receive.")
        for message in messages:
            if is_peek_lock:
                self._lock(message)
            else:
                self._remove(message)
        return messages

    # --- settling: each raises ServiceBusError when the token holds no message any more

    def complete(self, token: bytes) -> None:
        """Removes a message for good."""
        self._remove(self._unlock(token))

    def release(self, token: bytes) -> None:
        """Makes a message available again as if it had not been delivered."""
        self._return(self._unlock(token))

    def abandon(self, token: bytes, changes: dict[Any, Any] | None = None) -> None:
        """Makes a message available again, one delivery further; `changes` go to its application properties."""
        message = self._unlock(token)
        self._change(message, changes)
        self._fail_delivery(message)

    def defer(self, token: bytes, changes: dict[Any, Any] | None = None) -> None:
        """Sets a message aside: only :meth:`receive_deferred` finds it again."""
        message = self._unlock(token)
        self._change(message, changes)
        message.state = State.DEFERRED
        self._journal.update(self.key, message)

    def dead_letter(self, token: bytes, reason: str | None, description: str | None) -> None:
        """Moves a message to the dead-letter queue.

        Raises:
            ServiceBusError: also when the message already is a dead letter.
        """
        if self.dead_letters is None:
            raise ServiceBusError(NOT_ALLOWED, f"Messages of '{self.name}' are dead letters already.")
        self._bury(self._unlock(token), reason, description)

    def renew(self, tokens: list[bytes]) -> list[float]:
        """Starts the locks of messages anew and returns when each expires; all or none.

        Raises:
            ServiceBusError: one of the locks is lost.
        """
        messages = [self._locked.get(token) for token in tokens]
        if None in messages:
            raise lock_lost()
        until = self._clock.now() + self.description.lock_duration_s
        for token in tokens:
            message = self._locked[token]
            message.locked_until = until
            self._locked.move_to_end(token)
            self._journal.update(self.key, message)
        return [until] * len(tokens)

    def lose_locks(self) -> int:
        """Lets every lock expire now and returns how many there were."""
        messages = list(self._locked.values())
        self._locked.clear()
        for message in messages:
            message.lock_token = None
            self._fail_delivery(message)
        return len(messages)

    # --- administration and time

    def update(self, description: QueueDescription) -> None:
        """Changes the settings for what happens from now on; locks and expiries already given stay."""
        self.description, self.updated_at = description, self._clock.now()
        if self.dead_letters is not None:
            self.dead_letters.description = description

    def tick(self, now: float) -> None:
        """Does what is due: expires locks and messages, activates scheduled ones."""
        self._armed_for = _NEVER
        while self._locked and next(iter(self._locked.values())).locked_until <= now:
            _, message = self._locked.popitem(last=False)
            message.lock_token = None
            self._fail_delivery(message)
        for message in self._pop_due(self._scheduled, now):
            if message.state is State.SCHEDULED:
                # Service Bus appends the message as if it were sent now, with a new sequence number.
                self._scheduled_count -= 1
                self._remove(message)
                self._activate(replace(message, state=State.ACTIVE, enqueued_at=now), now)
        for message in self._pop_due(self._expiring, now):
            if message.state is State.ACTIVE and message.lock_token is None:
                self._expire(message)
        self._arm()
        self.pump()

    def restore(self, messages: Iterator[Message], last_sequence_number: int) -> None:
        """Takes back what a journal kept, locks and schedules included."""
        locked: list[Message] = []
        for message in messages:
            self._messages[message.sequence_number] = message
            if message.lock_token is not None:
                locked.append(message)
            elif message.state is State.SCHEDULED:
                self._hold_until_due(message)
            elif message.state is State.ACTIVE:
                self._ready.append(message.sequence_number)
            if message.expires_at is not None:
                heapq.heappush(self._expiring, (message.expires_at, message.sequence_number))
        heapq.heapify(self._ready)
        locked.sort(key=lambda message: message.locked_until)
        self._locked = OrderedDict((message.lock_token, message) for message in locked if message.lock_token)
        self._last_sequence_number = last_sequence_number
        self._arm()

    # --- the rest is how

    def _add(self, message: Message) -> None:
        self._last_sequence_number += 1
        message.sequence_number = self._last_sequence_number
        self._messages[message.sequence_number] = message
        self._journal.add(self.key, message)

    def _remove(self, message: Message) -> None:
        message.state = State.GONE
        del self._messages[message.sequence_number]
        self._journal.remove(self.key, message.sequence_number)

    def _activate(self, message: Message, now: float) -> None:
        """Makes a message deliverable; its time to live starts here."""
        ttls = [self.description.default_ttl_s, None if message.ttl_ms is None else message.ttl_ms / 1000]
        ttl_s = min((ttl for ttl in ttls if ttl is not None), default=None)
        if ttl_s is not None:
            message.expires_at = now + ttl_s
        self._add(message)
        if message.expires_at is not None:
            heapq.heappush(self._expiring, (message.expires_at, message.sequence_number))
            self._arm()
        heapq.heappush(self._ready, message.sequence_number)

    def _hold_until_due(self, message: Message) -> None:
        self._scheduled_count += 1
        heapq.heappush(self._scheduled, (message.due_at, message.sequence_number))
        self._arm()

    def _lock(self, message: Message) -> None:
        token = os.urandom(16)
        message.lock_token = token
        message.locked_until = until = self._clock.now() + self.description.lock_duration_s
        self._locked[token] = message
        self._journal.update(self.key, message)
        if until < self._armed_for:
            self._arm()

    def _unlock(self, token: bytes) -> Message:
        message = self._locked.get(token)
        if message is None or message.locked_until <= self._clock.now():
            raise lock_lost()
        del self._locked[token]
        message.lock_token = None
        return message

    def _fail_delivery(self, message: Message) -> None:
        message.delivery_count += 1
        is_spent = message.delivery_count >= self.description.max_delivery_count
        if is_spent and self.dead_letters is not None and message.state is State.ACTIVE:
            self._bury(
                message,
                "MaxDeliveryCountExceeded",
                f"Message could not be consumed after {message.delivery_count} delivery attempts.",
            )
        else:
            self._return(message)

    def _return(self, message: Message) -> None:
        if message.expires_at is not None and message.expires_at <= self._clock.now():
            self._expire(message)
            return
        self._journal.update(self.key, message)
        if message.state is State.ACTIVE:
            heapq.heappush(self._ready, message.sequence_number)
            self.pump()

    def _expire(self, message: Message) -> None:
        if self.description.is_dead_lettering_expired and self.dead_letters is not None:
            self._bury(message, "TTLExpiredException", "The message expired and was dead lettered.")
        else:
            self._remove(message)

    def _bury(self, message: Message, reason: str | None, description: str | None) -> None:
        assert self.dead_letters is not None
        self._remove(message)
        self.dead_letters._take_dead_letter(message.dead_letter(self.name, reason, description))

    def _take_dead_letter(self, message: Message) -> None:
        self._add(message)
        heapq.heappush(self._ready, message.sequence_number)
        self.pump()

    def _change(self, message: Message, changes: dict[Any, Any] | None) -> None:
        if changes:
            message.application_properties = message.with_application_properties(changes)
            self._journal.add(self.key, message)

    def _pop_due(self, heap: list[tuple[float, int]], now: float) -> Iterator[Message]:
        while heap and heap[0][0] <= now:
            message = self._messages.get(heapq.heappop(heap)[1])
            if message is not None:
                yield message

    def _arm(self) -> None:
        due = min(
            next(iter(self._locked.values())).locked_until if self._locked else _NEVER,
            self._scheduled[0][0] if self._scheduled else _NEVER,
            self._expiring[0][0] if self._expiring else _NEVER,
        )
        if due < self._armed_for:
            self._armed_for = due
            self._timers.arm(due, self)
