"""How many messages may be on their way: the arithmetic of prefetch and link credit. No I/O."""

from dataclasses import dataclass, field
from typing import Literal

from geoetl.transport.delivery import Delivery

#: Stands for kombu's prefetch_count 0, "unlimited": every message received is locked, so there must be a bound.
UNLIMITED_PREFETCH = 1000

#: A budget must be full for so long, in seconds, before the credit of its links is withdrawn.
WITHDRAW_AFTER_S = 0.02

#: Fewer free slots than this share of all wait so long, in seconds, for others, to be given as credit in one frame.
FEW = 1 / 4
GATHER_S = 0.005

#: Credit of a consumer without acknowledgements; its messages are settled on arrival and take no slot.
NO_ACK_CREDIT = 100


@dataclass(slots=True)
class Budget:
    """The slots of one kombu channel, shared by all its links.

    A delivery with the application takes a slot. Credit is given to every link for all free slots, so with k links up
    to k times as many messages can arrive; the excess waits in `waiting` until a slot is free or it is given back.
    """

    prefetch_count: int = 0
    with_app: set[Delivery] = field(default_factory=set[Delivery])
    waiting: list[Delivery] = field(default_factory=list[Delivery])

    #: What keeps credit as it is, since when, and when that is looked at again; by the monotonic clock.
    held_by: Literal["full", "few"] | None = None
    held_since: float = 0.0
    look_at: float | None = None

    @property
    def capacity(self) -> int:
        return self.prefetch_count or UNLIMITED_PREFETCH

    @property
    def free_slots(self) -> int:
        """Slots that neither a delivery with the application nor a waiting one needs; never negative."""
        return max(0, self.capacity - len(self.with_app) - len(self.waiting))

    def hold(self, now: float) -> float | None:
        """Whether credit stays as it is for now: the seconds until that is to be looked at again, or None.

        A worker of short tasks is full and not full again within milliseconds: giving and withdrawing each time would
        cost a frame or two for each task on every queue.
        """
        free = self.free_slots
        held_by = "full" if not free else "few" if free < self.capacity * FEW else None
        if held_by != self.held_by:
            self.held_by, self.held_since = held_by, now
        if held_by is None:
            return None
        left_s = self.held_since + (WITHDRAW_AFTER_S if held_by == "full" else GATHER_S) - now
        return left_s if left_s > 0 else None

    def next_to_deliver(self) -> Delivery | None:
        """Take the next waiting delivery if there is a slot: from the queue that was served longest ago."""
        if not self.waiting or len(self.with_app) >= self.capacity:
            return None
        delivery = min(self.waiting, key=lambda d: d.link.last_served)
        self.waiting.remove(delivery)
        self.with_app.add(delivery)
        return delivery

    def forget(self, delivery: Delivery) -> None:
        """Free the slot of a delivery that is being settled."""
        self.with_app.discard(delivery)
        if delivery in self.waiting:
            self.waiting.remove(delivery)


def credit_to_issue(*, wanted: int, current: int) -> int | None:
    """The credit a flow frame should set now, or None when no frame is worth sending.

    Raised when at most half of the wanted credit is left, so that a stream of short tasks costs one frame for several
    messages.
    """
    if wanted > current:
        return wanted if current <= wanted // 2 else None
    return wanted if wanted < current else None
