"""The messages of a queue in the order of their sequence numbers, written down as they change."""

import heapq
from collections.abc import Iterable, Iterator
from itertools import islice

from geoetl.emulator.journal import Journal, NoJournal
from geoetl.emulator.message import Message, State


class MessageLog:
    """Messages by sequence number.

    Args:
        key: the queue's name in the journal.
        journal: where changes are written down.
    """

    def __init__(self, key: str, journal: Journal) -> None:
        self._key = key
        self._journal = journal
        self._messages: dict[int, Message] = {}
        #: Sequence numbers to hand out, the lowest first. Some may no longer be ready; who pops them looks.
        self._ready: list[int] = []
        self._last_sequence_number = 0

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages.values())

    @property
    def size_bytes(self) -> int:
        return sum(message.size_bytes for message in self._messages.values())

    def get(self, sequence_number: int) -> Message | None:
        return self._messages.get(sequence_number)

    def peek(self, from_sequence_number: int, count: int) -> list[Message]:
        """At most `count` messages from a sequence number on."""
        return list(islice((m for number, m in self._messages.items() if number >= from_sequence_number), count))

    def append(self, message: Message) -> None:
        """Adds a message under the next sequence number."""
        self._last_sequence_number = message.sequence_number = self._last_sequence_number + 1
        self._messages[message.sequence_number] = message
        self._journal.add(self._key, message)

    def number(self, message: Message) -> None:
        """Gives a message the next sequence number without keeping it: it moves on at once."""
        self._last_sequence_number = message.sequence_number = self._last_sequence_number + 1
        self._journal.note_number(self._key, message.sequence_number)

    @property
    def has_ready(self) -> bool:
        """Whether :meth:`pop_ready` may find one."""
        return bool(self._ready)

    def offer(self, message: Message) -> None:
        """Puts a message in line, where its sequence number belongs."""
        heapq.heappush(self._ready, message.sequence_number)

    def pop_ready(self) -> Message | None:
        """The first message in line that is still there and free."""
        while self._ready:
            message = self._messages.get(heapq.heappop(self._ready))
            if message is not None and message.is_ready:
                return message
        return None

    def remove(self, message: Message) -> None:
        message.state = State.GONE
        del self._messages[message.sequence_number]
        self._journal.remove(self._key, message.sequence_number)

    def note(self, message: Message) -> None:
        """Writes down what became of a message: its delivery count, state, lock and times."""
        self._journal.update(self._key, message)

    def rewrite(self, message: Message) -> None:
        """Writes down a message whose content has changed."""
        self._journal.add(self._key, message)

    def abandon(self) -> None:
        """Forgets all messages and writes nothing down any more: another log may have the key."""
        self._journal = NoJournal()
        self._messages.clear()
        self._ready.clear()

    def restore(self, messages: Iterable[Message], last_sequence_number: int) -> None:
        """Takes back what the journal kept."""
        self._messages = {message.sequence_number: message for message in messages}
        self._ready = [number for number, message in self._messages.items() if message.is_ready]
        self._last_sequence_number = last_sequence_number
