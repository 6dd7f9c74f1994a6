"""A queue as it is meant to be. No I/O."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

#: Service Bus locks a message for at most this long at a time.
MAX_LOCK_DURATION_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """The settings a queue is created with."""

    name: str
    """Its name on the service."""

    lock_duration_s: float = MAX_LOCK_DURATION_S
    """How long a delivered message stays locked without renewal."""

    max_delivery_count: int = 100
    """Failed deliveries before a message is dead-lettered."""

    dead_letter_on_expiry: bool = True
    """Whether expired messages are kept in the dead-letter queue."""

    time_to_live_s: float | None = None
    """For messages that bring none of their own; None: for ever."""

    def as_properties(self) -> dict[str, Any]:
        """The arguments of the administration client's `create_queue`."""
        to_live = self.time_to_live_s
        return {
            "lock_duration": timedelta(seconds=self.lock_duration_s),
            "max_delivery_count": self.max_delivery_count,
            "dead_lettering_on_message_expiration": self.dead_letter_on_expiry,
            "default_message_time_to_live": timedelta(seconds=to_live) if to_live is not None else None,
        }
