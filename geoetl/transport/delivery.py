"""One message held under a lock."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from azure.servicebus import ServiceBusReceivedMessage

if TYPE_CHECKING:
    from geoetl.transport.links import ReceiveLink


class Outcome(StrEnum):
    """What becomes of a held message."""

    COMPLETE = "complete"
    #: Back to the queue; counts as a failed delivery.
    ABANDON = "abandon"
    DEAD_LETTER = "dead_letter"
    #: Back to the queue as if never received: the delivery count stays. Only possible on the link it came from.
    RELEASE = "release"


@dataclass(slots=True, eq=False)
class Delivery:
    """A received message, from arrival to settlement. Changed by the reactor thread only."""

    link: "ReceiveLink"
    #: Which opening of the link it came by; after a reopen it can only be settled by its lock token.
    epoch: int
    message: ServiceBusReceivedMessage
    token: UUID
    #: How long the lock lasts from arrival or renewal, as far as the clocks tell.
    lock_s: float
    arrived_at: float = field(default_factory=time.monotonic)
    renewed_at: float = field(default_factory=time.monotonic)
    is_renewing: bool = False
    is_lock_lost: bool = False
    #: Set once it is decided; from then on the lock is no longer renewed.
    outcome: Outcome | None = None
    #: It was sent over the link the message came by, and may have been applied even when no answer came.
    is_sent: bool = False
    reason: str = ""
    description: str = ""
    #: Fetched from the body store when the message came without it.
    body: bytes | None = None
    #: Called once the service has confirmed that the message is completed.
    after_completion: Callable[[], None] | None = None

    @property
    def wants_renewal(self) -> bool:
        """Whether it is undecided, still ours, and not being renewed already."""
        return self.outcome is None and not self.is_renewing and not self.is_lock_lost

    @property
    def delivery_count(self) -> int:
        """Deliveries before this one that failed; 0 on the first."""
        return self.message.delivery_count or 0
