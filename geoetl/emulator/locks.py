"""Locks on messages: who holds a token holds the message, until a time."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

from geoetl.emulator.conditions import lock_lost
from geoetl.emulator.message import Message

NEVER: Final = float("inf")


class Locks:
    """The locked messages of a queue.

    They are kept in the order their locks expire, which is the order they were given or renewed in as long as all locks
    last equally long; after a change of that duration a short lock may wait for a longer one given before it.
    """

    def __init__(self) -> None:
        self._by_token: OrderedDict[bytes, Message] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_token)

    @property
    def next_due(self) -> float:
        """When the first lock expires, in seconds since the Unix epoch; infinity when there is none."""
        return next(iter(self._by_token.values())).locked_until if self._by_token else NEVER

    def grant(self, message: Message, until: float) -> None:
        """Locks a message until a time under a new token."""
        # A token is a random GUID; building a UUID object for each would double its cost.
        message.lock_token = token = os.urandom(16)
        message.locked_until = until
        self._by_token[token] = message

    def take(self, token: bytes, now: float) -> Message:
        """Unlocks the message of a token.

        Raises:
            ServiceBusError: the lock has expired or was never given.
        """
        message = self._by_token.get(token)
        if message is None or message.locked_until <= now:
            raise lock_lost()
        del self._by_token[token]
        message.lock_token = None
        return message

    def renew(self, tokens: Iterable[bytes], *, now: float, until: float) -> list[Message]:
        """Prolongs locks and returns their messages; all or none.

        Raises:
            ServiceBusError: one of the locks has expired or was never given.
        """
        held = [(token, self._by_token.get(token)) for token in tokens]
        messages = [message for _, message in held if message is not None and message.locked_until > now]
        if len(messages) != len(held):
            raise lock_lost()
        for (token, _), message in zip(held, messages, strict=True):
            message.locked_until = until
            self._by_token.move_to_end(token)
        return messages

    def pop_expired(self, now: float) -> Iterator[Message]:
        """Unlocks the messages whose locks have expired, one after the other."""
        while self._by_token and self.next_due <= now:
            _, message = self._by_token.popitem(last=False)
            message.lock_token = None
            yield message

    def clear(self) -> None:
        """Forgets all locks."""
        self._by_token.clear()

    def restore(self, messages: Iterable[Message]) -> None:
        """Takes locks back as they were."""
        for message in sorted(messages, key=lambda each: each.locked_until):
            assert message.lock_token is not None
            self._by_token[message.lock_token] = message
