"""Queue semantics: who gets which message, for how long, and what becomes of it. No I/O; time comes from a clock.

The rules are those of Service Bus peek-lock queues:
https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from geoetl.emulator.conditions import MESSAGE_NOT_FOUND, NOT_ALLOWED, ServiceBusError
from geoetl.emulator.consumers import Consumer, Consumers
from geoetl.emulator.counts import Counts
from geoetl.emulator.deadlines import Deadlines
from geoetl.emulator.descriptions import QueueDescription
from geoetl.emulator.locks import NEVER, Locks
from geoetl.emulator.message import Message, State
from geoetl.emulator.message_log import MessageLog
from geoetl.emulator.queue_context import QueueContext


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
        self.is_deleted = False
        self.dead_letters: Queue | None = None
        if source is None:
            self.dead_letters = Queue(f"{name}/$DeadLetterQueue", description, context, source=self)
        self._clock, self._timers = context.clock, context.timers
        self._log = MessageLog(self.key, context.journal)
        self._locks = Locks()
        self._scheduled = Deadlines()
        self._scheduled_count = 0
        self._expiring = Deadlines()
        self._consumers = Consumers()
        self._armed_for = NEVER

    @property
    def counts(self) -> Counts:
        return Counts(
            active=len(self._log) - self._scheduled_count,
            dead_lettered=len(self.dead_letters._log) if self.dead_letters else 0,
            scheduled=self._scheduled_count,
            locked=len(self._locks),
        )

    @property
    def is_in_use(self) -> bool:
        """Whether someone waits for messages or holds one, here or in the dead-letter queue."""
        return bool(self._consumers or self._locks or (self.dead_letters and self.dead_letters.is_in_use))

    @property
    def size_bytes(self) -> int:
        return self._log.size_bytes

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
            self._log.append(message)
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
        message = self._log.get(sequence_number)
        if message is None or message.state is not State.SCHEDULED:
            raise ServiceBusError(MESSAGE_NOT_FOUND, f"No scheduled message has sequence number {sequence_number}.")
        self._scheduled_count -= 1
        self._log.remove(message)

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
        self._log.note(message)

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
        now = self._clock.now()
        until = now + self.description.lock_duration_s
        for message in self._locks.renew(tokens, now=now, until=until):
            self._log.note(message)
        return [until] * len(tokens)

    def expire_locks(self, until: float = NEVER) -> int:
        """Ends the locks that expire until a time, all without one, and returns how many there were."""
        messages = list(self._locks.pop_expired(until))
        for message in messages:
            self._fail_delivery(message)
        return len(messages)

    def update(self, description: QueueDescription) -> None:
        """Changes the settings for what happens from now on; locks and expiries already given stay."""
        self.description, self.updated_at = description, self._clock.now()
        if self.dead_letters is not None:
            self.dead_letters.description = description

    def tick(self, now: float) -> None:
        """Does what is due: expires locks and messages, activates scheduled ones."""
        self._armed_for = NEVER
        self.expire_locks(now)
        for number in self._scheduled.pop_due(now):
            message = self._log.get(number)
            if message is not None:
                # Service Bus appends the message as if it were sent now, with a new sequence number.
                self._scheduled_count -= 1
                self._log.remove(message)
                self._activate(replace(message, state=State.ACTIVE, enqueued_at=now), now)
        for number in self._expiring.pop_due(now):
            message = self._log.get(number)
            if message is not None and message.is_ready:
                self._expire(message)
        self._arm()
        self.pump()

    def restore(self, messages: Iterator[Message], last_sequence_number: int) -> None:
        """Takes back what a journal kept, locks and schedules included."""
        self._log.restore(messages, last_sequence_number)
        for message in self._log:
            if message.state is State.SCHEDULED:
                self._hold_until_due(message)
            if message.expires_at is not None:
                self._expiring.add(message.expires_at, message.sequence_number)
        self._locks.restore(message for message in self._log if message.lock_token is not None)
        self._arm()

    def _activate(self, message: Message, now: float) -> None:
        """Makes a message deliverable; its time to live starts here."""
        ttls = [self.description.default_ttl_s, None if message.ttl_ms is None else message.ttl_ms / 1000]
        ttl_s = min((ttl for ttl in ttls if ttl is not None), default=None)
        if ttl_s is not None:
            message.expires_at = now + ttl_s
        self._log.append(message)
        if message.expires_at is not None:
            self._expiring.add(message.expires_at, message.sequence_number)
            self._arm()
        self._log.offer(message)

    def _hold_until_due(self, message: Message) -> None:
        self._scheduled_count += 1
        self._scheduled.add(message.due_at, message.sequence_number)
        self._arm()

    def _hand_out(self, message: Message, *, is_peek_lock: bool) -> None:
        if not is_peek_lock:
            self._log.remove(message)
            return
        until = self._clock.now() + self.description.lock_duration_s
        self._locks.grant(message, until)
        self._log.note(message)
        if until < self._armed_for:
            self._arm()

    def _unlock(self, token: bytes) -> Message:
        self.touched_at = self._clock.now()
        return self._locks.take(token, self.touched_at)

    def _fail_delivery(self, message: Message) -> None:
        message.delivery_count += 1
        is_spent = message.delivery_count >= self.description.max_delivery_count
        if is_spent and self.dead_letters is not None and message.state is State.ACTIVE:
            reason = f"Message could not be consumed after {message.delivery_count} delivery attempts."
            self._bury(message, "MaxDeliveryCountExceeded", reason)
        else:
            self._return(message)

    def _return(self, message: Message) -> None:
        if message.expires_at is not None and message.expires_at <= self._clock.now():
            self._expire(message)
            return
        self._log.note(message)
        if message.state is State.ACTIVE:
            self._log.offer(message)
            self.pump()

    def _expire(self, message: Message) -> None:
        if self.description.is_dead_lettering_expired and self.dead_letters is not None:
            self._bury(message, "TTLExpiredException", "The message expired and was dead lettered.")
        else:
            self._log.remove(message)

    def _bury(self, message: Message, reason: str | None, description: str | None) -> None:
        assert self.dead_letters is not None
        self._log.remove(message)
        dead = message.dead_letter(self.name, reason, description)
        self.dead_letters._log.append(dead)
        self.dead_letters._log.offer(dead)
        self.dead_letters.pump()

    def _change(self, message: Message, changes: dict[Any, Any] | None) -> None:
        if changes:
            message.application_properties = message.with_application_properties(changes)
            self._log.rewrite(message)

    def _arm(self) -> None:
        due = min(self._locks.next_due, self._scheduled.next_due, self._expiring.next_due)
        if due < self._armed_for:
            self._armed_for = due
            self._timers.arm(due, self)
