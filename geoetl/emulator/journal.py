"""What a namespace writes down so that a restart finds what it had accepted."""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from geoetl.emulator.filters import FilterDescription
from geoetl.emulator.message import Message


class EntityKind(enum.StrEnum):
    """What an entity is."""

    QUEUE = "queue"
    TOPIC = "topic"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True)
class EntityRecord:
    """An entity as it was written down. `name` is the path as its creator wrote it, `properties` its description."""

    kind: EntityKind
    name: str
    properties: Mapping[str, str]
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class RuleRecord:
    """A rule as it was written down."""

    name: str
    filter: FilterDescription
    created_at: float


class Journal(Protocol):
    """Keeps entities and messages. Changes count from :meth:`commit` on, which precedes every answer to a client.

    Entities are named by their key, the lower-case path: that of a subscription is `topic/subscriptions/name`, that of
    a dead-letter queue ends in `/$deadletterqueue`.
    """

    def put_entity(self, key: str, record: EntityRecord) -> None: ...

    def drop_entity(self, key: str) -> None:
        """Forgets an entity with everything below its path: messages, dead letters, subscriptions, rules."""
        ...

    def put_rule(self, key: str, record: RuleRecord) -> None:
        """Notes a rule of a subscription, in place of one of the same name."""
        ...

    def drop_rule(self, key: str, name: str) -> None: ...

    def add(self, key: str, message: Message) -> None:
        """Notes all of a message, in place of what was noted under its sequence number."""
        ...

    def update(self, key: str, message: Message) -> None:
        """Notes delivery count, state, lock and times of a message; `add` has noted its content."""
        ...

    def remove(self, key: str, sequence_number: int) -> None: ...

    def note_number(self, key: str, sequence_number: int) -> None:
        """Notes a sequence number given to a message that is not kept."""
        ...

    def commit(self) -> None: ...

    def entities(self, kind: EntityKind) -> Iterator[EntityRecord]: ...

    def rules(self, key: str) -> Iterator[RuleRecord]:
        """The rules of a subscription."""
        ...

    def messages(self, key: str) -> Iterator[Message]:
        """The messages of an entity in the order of their sequence numbers."""
        ...

    def last_sequence_number(self, key: str) -> int:
        """The highest sequence number an entity has given out."""
        ...

    def close(self) -> None: ...


class NoJournal:
    """Writes nothing down: a restart begins empty."""

    def put_entity(self, key: str, record: EntityRecord) -> None: ...

    def drop_entity(self, key: str) -> None: ...

    def put_rule(self, key: str, record: RuleRecord) -> None: ...

    def drop_rule(self, key: str, name: str) -> None: ...

    def add(self, key: str, message: Message) -> None: ...

    def update(self, key: str, message: Message) -> None: ...

    def remove(self, key: str, sequence_number: int) -> None: ...

    def note_number(self, key: str, sequence_number: int) -> None: ...

    def commit(self) -> None: ...

    def entities(self, kind: EntityKind) -> Iterator[EntityRecord]:
        return iter(())

    def rules(self, key: str) -> Iterator[RuleRecord]:
        return iter(())

    def messages(self, key: str) -> Iterator[Message]:
        return iter(())

    def last_sequence_number(self, key: str) -> int:
        return 0

    def close(self) -> None: ...
