"""How many messages a queue or subscription has, as Service Bus counts them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages by kind: deferred ones, and those someone holds, are active."""

    active: int
    dead_lettered: int
    scheduled: int
    #: Messages that could not be forwarded.
    transfer_dead_lettered: int
    #: How many of the active ones someone holds. Service Bus does not tell; the control API does.
    locked: int

    @property
    def total(self) -> int:
        return self.active + self.dead_lettered + self.scheduled + self.transfer_dead_lettered
