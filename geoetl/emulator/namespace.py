"""The entities of the emulated namespace: creating, finding and deleting them by the addresses clients use."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from geoetl.emulator.clock import Clock
from geoetl.emulator.conditions import (
    ARGUMENT_ERROR,
    ENTITY_ALREADY_EXISTS,
    NOT_IMPLEMENTED,
    ServiceBusError,
    entity_not_found,
)
from geoetl.emulator.descriptions import QueueDescription
from geoetl.emulator.idleness import IdleWatch
from geoetl.emulator.journal import Journal, NoJournal, QueueRecord
from geoetl.emulator.queue import Queue
from geoetl.emulator.queue_context import QueueContext
from geoetl.emulator.timers import Timers

_DEAD_LETTERS: Final = "/$deadletterqueue"
_SUBSCRIPTIONS: Final = "/subscriptions/"
_MAX_NAME: Final = 260
#: Letters, numbers, dots, hyphens and underscores; slashes between segments.
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[\w.\-~/]*[\w])?", re.ASCII)


def entity_path(address: str) -> str:
    """The path in an address: clients send `queue`, `/queue` and `amqps://host/queue`."""
    _, scheme, rest = address.partition("://")
    path = rest.partition("/")[2] if scheme else address
    return path.strip("/")


class Namespace:
    """All queues, by their lower-case names.

    Args:
        clock: what time it is.
        journal: where changes are written down; what it holds is restored first.
    """

    def __init__(self, clock: Clock, journal: Journal | None = None) -> None:
        self.clock = clock
        self.timers = Timers(clock)
        self.journal = journal or NoJournal()
        self.created_at = clock.now()
        #: Called with each queue that was deleted, and with its dead-letter queue.
        self.on_deleted: Callable[[Queue], None] = lambda _queue: None
        self._context = QueueContext(clock, self.timers, self.journal)
        self._queues: dict[str, Queue] = {}
        for record in self.journal.queues():
            self._restore(record)

    def __iter__(self) -> Iterator[Queue]:
        return iter([self._queues[key] for key in sorted(self._queues)])

    def create(self, name: str, properties: Mapping[str, str]) -> Queue:
        """A new queue with settings by their XML names.

        Raises:
            ServiceBusError: the name is taken or not allowed, or a setting is.
        """
        name = name.strip("/")
        if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
            raise ServiceBusError(
                ARGUMENT_ERROR,
                f"'{name}' cannot be the name of an entity: letters, numbers, '.', '-', '_' and '/' are accepted, "
                f"at most {_MAX_NAME}, a letter or number first.",
            )
        if name.lower() in self._queues:
            raise ServiceBusError(
                ENTITY_ALREADY_EXISTS, f"SubCode=40900. Conflict. The messaging entity '{name}' already exists."
            )
        queue = Queue(name, QueueDescription.parse(properties), self._context)
        self._queues[queue.key] = queue
        self._write_down(queue)
        self._watch_idleness(queue)
        return queue

    def update(self, name: str, properties: Mapping[str, str]) -> Queue:
        """Gives a queue new settings; those not named return to their defaults.

        Raises:
            ServiceBusError: there is no such queue, or a setting is not allowed.
        """
        queue = self.queue(name)
        queue.update(QueueDescription.parse(properties))
        self._write_down(queue)
        self._watch_idleness(queue)
        return queue

    def delete(self, name: str) -> None:
        """Removes a queue with its messages and dead letters.

        Raises:
            ServiceBusError: there is no such queue.
        """
        self._delete(self.queue(name))

    def queue(self, name: str) -> Queue:
        """The queue of a name.

        Raises:
            ServiceBusError: there is no such queue.
        """
        try:
            return self._queues[name.strip("/").lower()]
        except KeyError:
            raise entity_not_found(name) from None

    def resolve(self, address: str) -> Queue:
        """The queue or dead-letter queue a client addresses.

        Raises:
            ServiceBusError: it does not exist, or belongs to a topic.
        """
        path = entity_path(address)
        key = path.lower()
        if key in self._queues:
            return self._queues[key]
        if _SUBSCRIPTIONS in key:
            raise ServiceBusError(NOT_IMPLEMENTED, f"This emulator does not support topics, which '{path}' belongs to.")
        if key.endswith(_DEAD_LETTERS):
            dead_letters = self.queue(key.removesuffix(_DEAD_LETTERS)).dead_letters
            if dead_letters is not None:
                return dead_letters
        raise entity_not_found(path)

    def _delete(self, queue: Queue) -> None:
        queue.is_deleted = True
        del self._queues[queue.key]
        self.journal.drop_queue(queue.key)
        self.journal.commit()
        for each in (queue, queue.dead_letters):
            if each is not None:
                self.on_deleted(each)

    def _watch_idleness(self, queue: Queue) -> None:
        if queue.description.auto_delete_on_idle_s is not None:
            IdleWatch(queue, self.timers, self._delete)

    def _write_down(self, queue: Queue) -> None:
        record = QueueRecord(queue.name, queue.description.properties, queue.created_at, queue.updated_at)
        self.journal.put_queue(queue.key, record)
        self.journal.commit()

    def _restore(self, record: QueueRecord) -> None:
        queue = Queue(record.name, QueueDescription.parse(record.properties), self._context)
        queue.created_at, queue.updated_at = record.created_at, record.updated_at
        self._queues[queue.key] = queue
        for each in (queue, queue.dead_letters):
            if each is not None:
                each.restore(self.journal.messages(each.key), self.journal.last_sequence_number(each.key))
        self._watch_idleness(queue)
