"""The emulated namespace: creating, changing and deleting its queues, topics, subscriptions and rules."""

from collections.abc import Callable, Mapping
from typing import Final

from geoetl.emulator.addresses import SUBSCRIPTIONS, check_path, check_rule_name, check_subscription_name
from geoetl.emulator.clock import Clock
from geoetl.emulator.conditions import entity_not_found
from geoetl.emulator.descriptions import QueueDescription, TopicDescription
from geoetl.emulator.entities import Entities, Entity, already_exists
from geoetl.emulator.entity_context import EntityContext
from geoetl.emulator.filters import FilterDescription
from geoetl.emulator.idleness import IdleWatch
from geoetl.emulator.journal import EntityKind, EntityRecord, Journal, NoJournal, RuleRecord
from geoetl.emulator.queue import Queue
from geoetl.emulator.routes import check_forwarding
from geoetl.emulator.rules import DEFAULT_RULE, Rule, make_rule
from geoetl.emulator.subscription import Subscription
from geoetl.emulator.timers import Timers
from geoetl.emulator.topic import Topic

_NO_FILTER: Final = FilterDescription()


class Namespace:
    """All entities and what an administrator does to them.

    Args:
        clock: what time it is.
        journal: where changes are written down; what it holds is restored first.
    """

    def __init__(self, clock: Clock, journal: Journal | None = None) -> None:
        self.clock = clock
        self.timers = Timers(clock)
        self.journal = journal or NoJournal()
        self.created_at = clock.now()
        self.entities = Entities()
        #: Called with each entity that was deleted, and with its dead-letter queues.
        self.on_deleted: Callable[[Entity], None] = lambda _entity: None
        self._context = EntityContext(clock, self.timers, self.journal, self.entities.find)
        for kind, restore in (
            (EntityKind.QUEUE, self._restore_queue),
            (EntityKind.TOPIC, self._restore_topic),
            (EntityKind.SUBSCRIPTION, self._restore_subscription),
        ):
            for record in self.journal.entities(kind):
                restore(record)

    # --- finding

    def resolve(self, address: str) -> Entity:
        """The queue, topic, subscription or dead-letter queue a client addresses.

        Raises:
            ServiceBusError: it does not exist.
        """
        return self.entities.resolve(address)

    def queue(self, path: str) -> Queue:
        """The queue of a path.

        Raises:
            ServiceBusError: there is no such queue.
        """
        entity = self.entities.find(path.strip("/"))
        if not isinstance(entity, Queue):
            raise entity_not_found(path)
        return entity

    def topic(self, path: str) -> Topic:
        """The topic of a path.

        Raises:
            ServiceBusError: there is no such topic.
        """
        entity = self.entities.find(path.strip("/"))
        if not isinstance(entity, Topic):
            raise entity_not_found(path)
        return entity

    def subscription(self, topic: str, name: str) -> Subscription:
        """A subscription of a topic.

        Raises:
            ServiceBusError: there is no such topic or subscription.
        """
        found = self.topic(topic).subscriptions.get(name.lower())
        if found is None:
            raise entity_not_found(f"{topic}{SUBSCRIPTIONS}{name}")
        return found

    # --- creating; each takes settings by their names in the Service Bus XML, and raises ServiceBusError when the name
    # --- is taken or not allowed, or a setting is not.

    def create(self, path: str, properties: Mapping[str, str]) -> Queue:
        """A new queue."""
        path = path.strip("/")
        check_path(path)
        self.entities.require_free(path)
        description = QueueDescription.parse(properties)
        check_forwarding(path.lower(), path, description, self.entities)
        queue = Queue(path, description, self._context)
        self.entities.add(queue)
        self._write_down(EntityKind.QUEUE, queue)
        self._watch_idleness(queue)
        return queue

    def create_topic(self, path: str, properties: Mapping[str, str]) -> Topic:
        """A new topic."""
        path = path.strip("/")
        check_path(path)
        self.entities.require_free(path)
        topic = Topic(path, TopicDescription.parse(properties), self._context)
        self.entities.add(topic)
        self._write_down(EntityKind.TOPIC, topic)
        self._watch_idleness(topic)
        return topic

    def create_subscription(
        self,
        topic_path: str,
        name: str,
        properties: Mapping[str, str],
        *,
        rule_name: str = DEFAULT_RULE,
        rule_filter: FilterDescription = _NO_FILTER,
    ) -> Subscription:
        """A new subscription with one rule, which lets everything pass if it is not told otherwise."""
        topic = self.topic(topic_path)
        check_subscription_name(name)
        if name.lower() in topic.subscriptions:
            raise already_exists(f"{topic.name}{SUBSCRIPTIONS}{name}")
        description = QueueDescription.parse(properties, Subscription.defaults)
        subscription = Subscription(topic.name, name, description, self._context)
        check_forwarding(topic.key, subscription.name, description, self.entities)
        rule = self._new_rule(rule_name, rule_filter)
        topic.subscriptions[name.lower()] = subscription
        topic.touch()
        self._write_down(EntityKind.SUBSCRIPTION, subscription)
        self._watch_idleness(subscription)
        self._put_rule(subscription, rule)
        return subscription

    def create_rule(self, subscription: Subscription, name: str, rule_filter: FilterDescription) -> Rule:
        """A new rule of a subscription."""
        if name.lower() in subscription.rules:
            raise already_exists(f"{subscription.name}/Rules/{name}")
        rule = self._new_rule(name, rule_filter)
        self._put_rule(subscription, rule)
        return rule

    # --- changing; settings that are not named return to their defaults. ServiceBusError: there is no such entity, or a
    # --- setting is not allowed.

    def update(self, path: str, properties: Mapping[str, str]) -> Queue:
        """Gives a queue new settings."""
        queue = self.queue(path)
        self._update(EntityKind.QUEUE, queue, properties, origin=queue.key)
        return queue

    def update_topic(self, path: str, properties: Mapping[str, str]) -> Topic:
        """Gives a topic new settings."""
        topic = self.topic(path)
        topic.update(TopicDescription.parse(properties))
        self._write_down(EntityKind.TOPIC, topic)
        self._watch_idleness(topic)
        return topic

    def update_subscription(self, topic: str, name: str, properties: Mapping[str, str]) -> Subscription:
        """Gives a subscription new settings."""
        subscription = self.subscription(topic, name)
        self._update(EntityKind.SUBSCRIPTION, subscription, properties, origin=subscription.topic.lower())
        return subscription

    def update_rule(self, subscription: Subscription, name: str, rule_filter: FilterDescription) -> Rule:
        """Gives a rule another filter."""
        if name.lower() not in subscription.rules:
            raise entity_not_found(f"{subscription.name}/Rules/{name}")
        rule = self._new_rule(name, rule_filter)
        self._put_rule(subscription, rule)
        return rule

    # --- deleting; ServiceBusError: there is nothing to delete.

    def delete(self, path: str) -> None:
        """Removes a queue or topic with everything in it."""
        entity = self.entities.find(path.strip("/"))
        if entity is None:
            raise entity_not_found(path)
        self._delete(entity)

    def delete_subscription(self, topic: str, name: str) -> None:
        """Removes a subscription with its messages and rules."""
        self._delete(self.subscription(topic, name))

    def delete_rule(self, subscription: Subscription, name: str) -> None:
        """Removes a rule; without any, a subscription gets nothing."""
        if subscription.rules.pop(name.lower(), None) is None:
            raise entity_not_found(f"{subscription.name}/Rules/{name}")
        subscription.touched_at = self.clock.now()
        self.journal.drop_rule(subscription.key, name)
        self.journal.commit()

    def _delete(self, entity: Entity) -> None:
        if isinstance(entity, Topic):
            self.entities.remove(entity)
            parts: list[Entity] = [entity, *entity.subscriptions.values()]
        elif isinstance(entity, Subscription):
            topic = self.topic(entity.topic)
            topic.touch()
            del topic.subscriptions[entity.title.lower()]
            parts = [entity]
        else:
            self.entities.remove(entity)
            parts = [entity]
        self.journal.drop_entity(entity.key)
        self.journal.commit()
        for part in parts:
            part.retire()
            for each in part.family if isinstance(part, Queue) else [part]:
                self.on_deleted(each)

    def _update(self, kind: EntityKind, queue: Queue, properties: Mapping[str, str], *, origin: str) -> None:
        description = QueueDescription.parse(properties, queue.defaults)
        check_forwarding(origin, queue.name, description, self.entities)
        queue.update(description)
        self._write_down(kind, queue)
        self._watch_idleness(queue)

    def _new_rule(self, name: str, rule_filter: FilterDescription) -> Rule:
        check_rule_name(name)
        return make_rule(name, rule_filter, self.clock.now())

    def _put_rule(self, subscription: Subscription, rule: Rule) -> None:
        subscription.rules[rule.name.lower()] = rule
        subscription.touched_at = self.clock.now()
        self.journal.put_rule(subscription.key, RuleRecord(rule.name, rule.description, rule.created_at))
        self.journal.commit()

    def _watch_idleness(self, entity: Entity) -> None:
        if entity.idle_limit_s is not None:
            IdleWatch(entity, self.timers, lambda: self._delete(entity))

    def _write_down(self, kind: EntityKind, entity: Entity) -> None:
        properties = entity.description.properties
        record = EntityRecord(kind, entity.name, properties, entity.created_at, entity.updated_at)
        self.journal.put_entity(entity.key, record)
        self.journal.commit()

    # --- restoring what the journal kept

    def _restore_queue(self, record: EntityRecord) -> None:
        queue = Queue(record.name, QueueDescription.parse(record.properties), self._context)
        self.entities.add(queue)
        self._restore_store(queue, record)

    def _restore_topic(self, record: EntityRecord) -> None:
        topic = Topic(record.name, TopicDescription.parse(record.properties), self._context)
        topic.created_at, topic.updated_at = record.created_at, record.updated_at
        topic.restore(self.journal)
        self.entities.add(topic)
        self._watch_idleness(topic)

    def _restore_subscription(self, record: EntityRecord) -> None:
        path, _, title = record.name.rpartition(SUBSCRIPTIONS)
        description = QueueDescription.parse(record.properties, Subscription.defaults)
        subscription = Subscription(path, title, description, self._context)
        for rule in self.journal.rules(subscription.key):
            subscription.rules[rule.name.lower()] = make_rule(rule.name, rule.filter, rule.created_at)
        self.topic(path).subscriptions[title.lower()] = subscription
        self._restore_store(subscription, record)

    def _restore_store(self, queue: Queue, record: EntityRecord) -> None:
        queue.created_at, queue.updated_at = record.created_at, record.updated_at
        for each in queue.family:
            each.restore(self.journal.messages(each.key), self.journal.last_sequence_number(each.key))
        self._watch_idleness(queue)
