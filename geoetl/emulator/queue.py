"""Queue semantics: what becomes of messages from sending to expiry. No I/O; time comes from a clock.

The rules are those of Service Bus peek-lock queues:
https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from geoetl.emulator.addresses import DEAD_LETTERS, TRANSFER_DEAD_LETTERS
from geoetl.emulator.conditions import NOT_ALLOWED, ServiceBusError
from geoetl.emulator.counts import Counts
from geoetl.emulator.deadlines import Deadlines
from geoetl.emulator.descriptions import QUEUE_DEFAULTS, QueueDescription
from geoetl.emulator.entity_context import EntityContext
from geoetl.emulator.forwarding import forward
from geoetl.emulator.locks import NEVER
from geoetl.emulator.message import Message, State
from geoetl.emulator.message_store import MessageStore
from geoetl.emulator.schedule import Schedule


class Queue(MessageStore):
    """A queue, or the queue of the dead letters of one.

    Args:
        name: the path clients address, as its creator wrote it.
        description: the settings.
        context: what it shares with other entities.
        source: the queue this one holds the dead letters of.
    """

    #: The settings of a queue whose creator gave none.
    defaults: ClassVar[Mapping[str, str]] = QUEUE_DEFAULTS

    def __init__(
        self, name: str, description: QueueDescription, context: EntityContext, *, source: "Queue | None" = None
    ) -> None:
        super().__init__(name, description, context)
        self.source = source
        self.created_at = self.updated_at = self.touched_at
        self.is_deleted = False
        self.dead_letters: Queue | None = None
        #: What could not be forwarded.
        self.transfer_dead_letters: Queue | None = None
        if source is None:
            self.dead_letters = Queue(name + DEAD_LETTERS, description, context, source=self)
            self.transfer_dead_letters = Queue(name + TRANSFER_DEAD_LETTERS, description, context, source=self)
        self._find = context.find
        self._schedule = Schedule(self._log, context.timers, self._take_in)
        self._expiring = Deadlines()

    @property
    def family(self) -> "list[Queue]":
        """The queue and those of its dead letters."""
        return [each for each in (self, self.dead_letters, self.transfer_dead_letters) if each is not None]

    @property
    def counts(self) -> Counts:
        return Counts(
            active=len(self._log) - len(self._schedule),
            dead_lettered=len(self.dead_letters._log) if self.dead_letters else 0,
            scheduled=len(self._schedule),
            transfer_dead_lettered=len(self.transfer_dead_letters._log) if self.transfer_dead_letters else 0,
            locked=len(self._locks),
        )

    @property
    def can_send(self) -> bool:
        return self.description.can_send

    @property
    def forwards_to(self) -> str | None:
        """The path of the entity that gets all its messages."""
        if self.source is None:
            return self.description.forward_to
        return self.description.forward_dead_letters_to if self is self.source.dead_letters else None

    @property
    def idle_limit_s(self) -> float | None:
        return self.description.auto_delete_on_idle_s

    @property
    def is_in_use(self) -> bool:
        """Whether someone waits for messages or holds one, dead letters included, or messages wait for their time.

        Forwarding counts as receiving all the time, as Service Bus documents.
        """
        return bool(self.forwards_to or self._schedule or any(each.has_users for each in self.family))

    def send(self, message: Message) -> int:
        """Accepts a message of a client, now or for its scheduled time, and returns its sequence number.

        Raises:
            ServiceBusError: this is a dead-letter queue, which only the broker fills.
        """
        if self.source is not None:
            raise ServiceBusError(NOT_ALLOWED, f"Messages cannot be sent to the dead-letter queue '{self.name}'.")
        return self.accept(message)

    def accept(self, message: Message) -> int:
        """Accepts a message of a client or of another entity and returns its sequence number."""
        now = self.touched_at = message.enqueued_at = self._clock.now()
        due = message.scheduled_enqueue_at
        if due is not None and due > now:
            self._schedule.hold(message, due)
        else:
            self._take_in(message)
        return message.sequence_number

    def cancel_scheduled(self, sequence_number: int) -> None:
        """Removes a scheduled message before its time.

        Raises:
            ServiceBusError: no scheduled message has this number.
        """
        self._schedule.cancel(sequence_number)

    def dead_letter(
        self, token: bytes, reason: str | None, description: str | None, changes: dict[Any, Any] | None = None
    ) -> None:
        """Moves a message to the dead-letter queue; `changes` go to its application properties.

        Raises:
            ServiceBusError: also when the message already is a dead letter.
        """
        if self.dead_letters is None:
            raise ServiceBusError(NOT_ALLOWED, f"Messages of '{self.name}' are dead letters already.")
        message = self._unlock(token)
        self._change(message, changes)
        self._bury(message, reason, description)

    def clear(self) -> int:
        """Removes all messages, dead letters too, and returns how many; who holds one has lost its lock."""
        removed = 0
        for each in self.family:
            list(each._locks.pop_expired(NEVER))
            for message in list(each._log):
                if message.state is State.SCHEDULED:
                    each._schedule.cancel(message.sequence_number)
                else:
                    each._log.remove(message)
                removed += 1
        return removed

    def update(self, description: QueueDescription) -> None:
        """Changes the settings for what happens from now on; locks and expiries already given stay."""
        self.updated_at = self.touched_at = self._clock.now()
        for each in self.family:
            each.description = description
            each.forward_waiting()

    def retire(self) -> None:
        """Is deleted: does nothing from now on, whatever falls due and whoever still holds a lock."""
        self.is_deleted = True
        for each in self.family:
            each._log.abandon()
            each._locks.clear()

    def forward_waiting(self) -> None:
        """Sends on what waits here, if this queue forwards."""
        if self.forwards_to is not None:
            for message in [message for message in self._log if message.is_ready]:
                self._log.remove(message)
                self._forward(message)

    def tick(self, now: float) -> None:
        """Does what is due: expires locks and messages."""
        self._alarm.clear()
        self.expire_locks(now)
        for number in self._expiring.pop_due(now):
            message = self._log.get(number)
            if message is not None and message.is_ready:
                self._expire(message)
        self._arm()
        self.pump()

    def restore(self, messages: Iterator[Message], last_sequence_number: int) -> None:
        """Takes back what a journal kept, locks and schedules included."""
        self._log.restore(messages, last_sequence_number)
        self._schedule.restore()
        for message in self._log:
            if message.expires_at is not None:
                self._expiring.add(message.expires_at, message.sequence_number)
        self._locks.restore(message for message in self._log if message.lock_token is not None)
        self._arm()

    def _take_in(self, message: Message) -> None:
        """Makes a message deliverable; its time to live starts here."""
        if self.forwards_to is not None:
            self._log.number(message)
            self._forward(message)
            return
        end, default_ttl_s = message.expires_at or NEVER, self.description.default_ttl_s
        if default_ttl_s is not None:
            end = min(end, message.enqueued_at + default_ttl_s)
        if message.ttl_ms is not None:
            end = min(end, message.enqueued_at + message.ttl_ms / 1000)
        message.expires_at = None if end == NEVER else end
        self.keep(message)
        if message.expires_at is not None and message.state is not State.GONE:
            self._expiring.add(message.expires_at, message.sequence_number)
            self._arm()

    def _forward(self, message: Message) -> None:
        """Sends a message on that is not in the log any more; a dead letter that cannot go stays."""
        assert self.forwards_to is not None
        failure = forward(message, self.forwards_to, self._find)
        if failure is not None and self.transfer_dead_letters is not None:
            self.transfer_dead_letters.keep(message.dead_letter(self.name, failure.reason, failure.description))
        elif failure is not None:
            self.keep(message)

    def _put_back(self, message: Message, *, is_failed: bool) -> None:
        message.delivery_count += is_failed
        is_spent = is_failed and message.delivery_count >= self.description.max_delivery_count
        if is_spent and self.dead_letters is not None and message.state is State.ACTIVE:
            reason = f"Message could not be consumed after {message.delivery_count} delivery attempts."
            self._bury(message, "MaxDeliveryCountExceeded", reason)
        elif message.expires_at is not None and message.expires_at <= self._clock.now():
            self._expire(message)
        elif message.state is State.ACTIVE and self.forwards_to is not None:
            self._log.remove(message)
            self._forward(message)
        else:
            self._lay_down(message)

    def _expire(self, message: Message) -> None:
        if self.description.is_dead_lettering_expired and self.dead_letters is not None:
            self._bury(message, "TTLExpiredException", "The message expired and was dead lettered.")
        else:
            self._log.remove(message)

    def _bury(self, message: Message, reason: str | None, description: str | None) -> None:
        self._log.remove(message)
        self.add_dead_letter(message, reason, description)

    def add_dead_letter(self, message: Message, reason: str | None, description: str | None) -> None:
        """Adds a message that is not in this queue to its dead letters."""
        assert self.dead_letters is not None
        dead = message.dead_letter(self.name, reason, description)
        if self.dead_letters.forwards_to is None:
            self.dead_letters.keep(dead)
        else:
            self.dead_letters._forward(dead)

    def _arm(self) -> None:
        self._alarm.set(min(self._locks.next_due, self._expiring.next_due))
