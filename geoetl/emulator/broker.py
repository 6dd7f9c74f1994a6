"""What all connections of a server share."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from geoetl.emulator.conditions import ServiceBusError
from geoetl.emulator.entities import Entity
from geoetl.emulator.faults import Faults
from geoetl.emulator.namespace import Namespace
from geoetl.emulator.queue import Queue
from geoetl.emulator.tokens import AccessPolicy

#: The limit of the Standard tier.
DEFAULT_MAX_MESSAGE_BYTES: Final = 256 * 1024
#: What Service Bus asks of its clients.
DEFAULT_IDLE_TIMEOUT_S: Final = 240.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask for."""

    #: The largest message or batch, in bytes.
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    #: After how long without a frame a connection is closed.
    idle_timeout_s: float = DEFAULT_IDLE_TIMEOUT_S


class BrokerConnection(Protocol):
    """A client's AMQP connection as fault injection and administration see it."""

    def drop(self) -> None:
        """Breaks the connection without a word, as a network does."""
        ...

    def close(self) -> None:
        """Ends the connection in good order."""
        ...

    def detach_links(self, entity: Entity | None, error: ServiceBusError) -> int:
        """Detaches the links to an entity, or all, and returns how many there were."""
        ...

    def forget_delivery(self, queue: Queue, tag: bytes) -> bool:
        """Forgets a delivery that was settled elsewhere; whether it was one of this connection."""
        ...


@dataclass(slots=True)
class Broker:
    """The namespace, who may use it, and who is connected."""

    namespace: Namespace
    policy: AccessPolicy
    limits: Limits = field(default_factory=Limits)
    faults: Faults = field(default_factory=Faults)
    connections: set[BrokerConnection] = field(default_factory=set[BrokerConnection])

    def detach_links(self, entity: Entity | None, error: ServiceBusError) -> int:
        """Detaches the links of all clients to an entity, or all their links, and returns how many there were."""
        return sum(connection.detach_links(entity, error) for connection in list(self.connections))

    def forget_delivery(self, queue: Queue, tag: bytes) -> None:
        """Forgets the delivery of a message that was settled by its lock token, on whichever link it went out."""
        any(connection.forget_delivery(queue, tag) for connection in self.connections)
