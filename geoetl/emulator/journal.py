"""What a namespace writes down so that a restart finds what it had accepted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from geoetl.emulator.message import Message


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """A queue as it was written down. `name` is what the administrator gave, `properties` its description."""

    name: str
    properties: Mapping[str, str]
    created_at: float
    updated_at: float


class Journal(Protocol):
    """Keeps queues and messages. Changes count from :meth:`commit` on, which precedes every answer to a client.

    Queues are named by their key: the lower-case path, that of a dead-letter queue ends in `/$deadletterqueue`.
    """

    def put_queue(self, key: str, record: QueueRecord) -> None: ...

    def drop_queue(self, key: str) -> None:
        """Forgets a queue, its dead-letter queue and all their messages."""
        ...

    def add(self, key: str, message: Message) -> None:
        """Notes all of a message, in place of what was noted under its sequence number."""
        ...

    def update(self, key: str, message: Message) -> None:
        """Notes delivery count, state, lock and times of a message; `add` has noted its content."""
        ...

    def remove(self, key: str, sequence_number: int) -> None: ...

    def commit(self) -> None: ...

    def queues(self) -> Iterator[QueueRecord]: ...

    def messages(self, key: str) -> Iterator[Message]:
        """The messages of a queue in the order of their sequence numbers."""
        ...

    def last_sequence_number(self, key: str) -> int:
        """The highest sequence number a queue has given out."""
        ...

    def close(self) -> None: ...


class NoJournal:
    """Writes nothing down: a restart begins empty."""

    def put_queue(self, key: str, record: QueueRecord) -> None: ...

    def drop_queue(self, key: str) -> None: ...

    def add(self, key: str, message: Message) -> None: ...

    def update(self, key: str, message: Message) -> None: ...

    def remove(self, key: str, sequence_number: int) -> None: ...

    def commit(self) -> None: ...

    def queues(self) -> Iterator[QueueRecord]:
        return iter(())

    def messages(self, key: str) -> Iterator[Message]:
        return iter(())

    def last_sequence_number(self, key: str) -> int:
        return 0

    def close(self) -> None: ...
