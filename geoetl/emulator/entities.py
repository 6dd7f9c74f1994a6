"""The queues, topics and subscriptions there are, by the addresses clients use."""

from collections.abc import Iterator

from geoetl.emulator.addresses import DEAD_LETTERS, SUBSCRIPTIONS, TRANSFER_DEAD_LETTERS, entity_path
from geoetl.emulator.conditions import ENTITY_ALREADY_EXISTS, ServiceBusError, entity_not_found
from geoetl.emulator.queue import Queue
from geoetl.emulator.subscription import Subscription
from geoetl.emulator.topic import Topic

#: What a link may lead to.
type Entity = Queue | Topic


class Entities:
    """Entities by their lower-case paths."""

    def __init__(self) -> None:
        self._by_key: dict[str, Entity] = {}

    def queues(self) -> Iterator[Queue]:
        """All queues, by name; no subscriptions."""
        return (each for each in self._sorted() if isinstance(each, Queue))

    def topics(self) -> Iterator[Topic]:
        """All topics, by name."""
        return (each for each in self._sorted() if isinstance(each, Topic))

    def subscriptions(self) -> Iterator[Subscription]:
        """All subscriptions of all topics, by name."""
        return (each for topic in self.topics() for each in sorted(topic.subscriptions.values(), key=lambda it: it.key))

    def add(self, entity: Entity) -> None:
        """Adds a queue or topic whose path is free."""
        self._by_key[entity.key] = entity

    def remove(self, entity: Entity) -> None:
        """Takes a queue or topic out."""
        del self._by_key[entity.key]

    def require_free(self, path: str) -> None:
        """Lets the path of a new queue or topic pass, or not.

        Raises:
            ServiceBusError: there is a queue or topic of this path.
        """
        if path.lower() in self._by_key:
            raise already_exists(path)

    def find(self, path: str) -> Entity | None:
        """The queue or topic of a path."""
        return self._by_key.get(path.lower())

    def resolve(self, address: str) -> Entity:
        """What a client addresses: a queue, topic or subscription, or the dead letters of a queue or subscription.

        Raises:
            ServiceBusError: it does not exist.
        """
        path = entity_path(address)
        key = path.lower()
        entity = self._by_key.get(key)
        if entity is not None:
            return entity
        # The longer ending first: the shorter one is its end.
        for ending in (TRANSFER_DEAD_LETTERS.lower(), DEAD_LETTERS.lower(), ""):
            if key.endswith(ending):
                queue = self._queue(key.removesuffix(ending))
                found = next((each for each in queue.family if each.key == key), None) if queue else None
                if found is not None:
                    return found
        raise entity_not_found(path)

    def _queue(self, key: str) -> Queue | None:
        entity = self._by_key.get(key)
        if isinstance(entity, Queue):
            return entity
        topic_key, _, title = key.rpartition(SUBSCRIPTIONS.lower())
        topic = self._by_key.get(topic_key)
        return topic.subscriptions.get(title) if isinstance(topic, Topic) else None

    def _sorted(self) -> Iterator[Entity]:
        return iter([self._by_key[key] for key in sorted(self._by_key)])


def already_exists(name: str) -> ServiceBusError:
    """The refusal for a name that is taken."""
    return ServiceBusError(
        ENTITY_ALREADY_EXISTS, f"SubCode=40900. Conflict. The messaging entity '{name}' already exists."
    )
