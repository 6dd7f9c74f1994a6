"""Faults that tests switch on: what a busy or slow Service Bus does to its clients."""

from dataclasses import dataclass

from geoetl.emulator.conditions import SERVER_BUSY, ServiceBusError


@dataclass(slots=True)
class Faults:
    """The faults that are on; none at first."""

    #: How many sends are still to be refused as throttled.
    throttled_sends: int = 0
    #: How late the answer to a settlement leaves, in seconds; the settlement itself is not delayed.
    settlement_delay_s: float = 0.0

    def check_send(self) -> None:
        """Lets a send pass, or not.

        Raises:
            ServiceBusError: the send is throttled.
        """
        if self.throttled_sends > 0:
            self.throttled_sends -= 1
            raise ServiceBusError(
                SERVER_BUSY,
                "The request was terminated because the entity is being throttled. Error code: 50009. "
                "Please wait 10 seconds and try again.",
            )
