"""A topic: gives each of its subscriptions a copy of the messages they want."""

from geoetl.emulator.descriptions import TopicDescription
from geoetl.emulator.entity_context import EntityContext
from geoetl.emulator.filters import Facts
from geoetl.emulator.journal import Journal
from geoetl.emulator.message import Message
from geoetl.emulator.message_log import MessageLog
from geoetl.emulator.schedule import Schedule
from geoetl.emulator.subscription import Subscription


class Topic:
    """One topic. It holds messages only until they are due.

    Args:
        name: the path clients address, as its creator wrote it.
        description: the settings.
        context: what it shares with other entities.
    """

    def __init__(self, name: str, description: TopicDescription, context: EntityContext) -> None:
        self.name = name
        self.key = name.lower()
        self.description = description
        self.created_at = self.updated_at = self._touched_at = context.clock.now()
        self.is_deleted = False
        #: By lower-case name.
        self.subscriptions: dict[str, Subscription] = {}
        self._clock = context.clock
        self._log = MessageLog(self.key, context.journal)
        self._schedule = Schedule(self._log, context.timers, self._publish)

    @property
    def scheduled_count(self) -> int:
        return len(self._schedule)

    @property
    def size_bytes(self) -> int:
        return self._log.size_bytes + sum(each.size_bytes for each in self.subscriptions.values())

    @property
    def can_send(self) -> bool:
        return self.description.can_send

    @property
    def idle_limit_s(self) -> float | None:
        return self.description.auto_delete_on_idle_s

    @property
    def is_in_use(self) -> bool:
        """Whether messages wait for their time, or a subscription is in use."""
        return bool(self._schedule) or any(each.is_in_use for each in self.subscriptions.values())

    @property
    def touched_at(self) -> float:
        """When the topic or one of its subscriptions was last used, in seconds since the Unix epoch."""
        return max([self._touched_at, *(each.touched_at for each in self.subscriptions.values())])

    def touch(self) -> None:
        """Notes that the topic is used."""
        self._touched_at = self._clock.now()

    def send(self, message: Message) -> int:
        """Accepts a message of a client, now or for its scheduled time, and returns its sequence number."""
        return self.accept(message)

    def accept(self, message: Message) -> int:
        """Accepts a message of a client or of another entity and returns its sequence number."""
        now = self._touched_at = message.enqueued_at = self._clock.now()
        due = message.scheduled_enqueue_at
        if due is not None and due > now:
            self._schedule.hold(message, due)
        else:
            self._publish(message)
        return message.sequence_number

    def cancel_scheduled(self, sequence_number: int) -> None:
        """Removes a scheduled message before its time.

        Raises:
            ServiceBusError: no scheduled message has this number.
        """
        self._schedule.cancel(sequence_number)

    def update(self, description: TopicDescription) -> None:
        """Changes the settings for what happens from now on."""
        self.updated_at = self._touched_at = self._clock.now()
        self.description = description

    def retire(self) -> None:
        """Is deleted: publishes nothing from now on."""
        self.is_deleted = True
        self._log.abandon()

    def restore(self, journal: Journal) -> None:
        """Takes back what a journal kept."""
        self._log.restore(journal.messages(self.key), journal.last_sequence_number(self.key))
        self._schedule.restore()

    def _publish(self, message: Message) -> None:
        self._log.number(message)
        ttl_s = self.description.default_ttl_s
        expires_at = None if ttl_s is None else message.enqueued_at + ttl_s
        facts = Facts(message)
        for subscription in list(self.subscriptions.values()):
            subscription.offer(message, facts, expires_at=expires_at)
