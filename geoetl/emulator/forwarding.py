"""Auto-forwarding: messages of one entity move on to another as they arrive.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-auto-forwarding
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from geoetl.emulator.message import Message

#: How often a message may move on.
MAX_HOPS: Final = 4


class Destination(Protocol):
    """A queue or topic that messages are forwarded to."""

    @property
    def can_send(self) -> bool:
        """Whether it takes messages."""
        ...

    def accept(self, message: Message) -> int: ...


#: The queue or topic of a path; None when there is none.
type FindDestination = Callable[[str], Destination | None]


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """Why a message did not move on, as its dead letter tells."""

    reason: str
    description: str


def forward(message: Message, to: str, find: FindDestination) -> Undeliverable | None:
    """Gives a copy of a message to the entity of a path, as if it had been sent there; or says why not."""
    destination = find(to)
    if destination is None:
        return Undeliverable("MessagingEntityNotFoundException", f"The destination '{to}' does not exist.")
    if not destination.can_send:
        return Undeliverable("MessagingEntityDisabledException", f"The destination '{to}' is disabled.")
    if message.hops >= MAX_HOPS:
        return Undeliverable("MaxTransferHopCountExceeded", f"The message was forwarded {MAX_HOPS} times already.")
    destination.accept(message.onward())
    return None
