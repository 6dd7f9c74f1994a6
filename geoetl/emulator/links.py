"""Links: one direction of messages each, with credit (AMQP 1.0, part 2.6). What is at their ends is in `nodes`."""

import os
from abc import ABC, abstractmethod
from collections import deque
from typing import Final, Protocol

from geoetl.emulator.amqp_types import Described, UInt
from geoetl.emulator.broker import Broker
from geoetl.emulator.conditions import MESSAGE_SIZE_EXCEEDED, TRANSFER_LIMIT_EXCEEDED, ServiceBusError
from geoetl.emulator.entities import Entity
from geoetl.emulator.outcomes import ACCEPTED_STATE, error_value, rejected_state
from geoetl.emulator.performatives import Detach, Flow, Performative, Transfer, encode_settled
from geoetl.emulator.tokens import Grants

#: How many messages a client may send before it hears of more credit.
_INCOMING_CREDIT: Final = 1000
_SERIAL_MASK: Final = 0xFFFFFFFF


class LinkSession(Protocol):
    """What a link needs of its session."""

    @property
    def broker(self) -> Broker: ...

    @property
    def grants(self) -> Grants: ...

    @property
    def can_send(self) -> bool:
        """Whether the peer's window is open and its connection takes bytes."""
        ...

    def write(self, performative: Performative) -> None: ...

    def write_body(self, body: bytes) -> None: ...

    def send_flow(self, link: "Link", delivery_count: int, credit: int, *, is_drained: bool = False) -> None: ...

    def send_message(self, link: "OutgoingLink", tag: bytes, payload: bytes, *, settled: bool) -> None: ...

    def reply_link(self, address: str, reply_to: str | None) -> "ReplyLink | None": ...


class Link(ABC):
    """Either direction of a link.

    Args:
        session: where it is attached.
        handle: its number, the same in both directions.
        address: what the client called the node.
        entity: what it sends to or receives from; None for nodes that are neither.
    """

    def __init__(self, session: LinkSession, handle: int, address: str, entity: Entity | None = None) -> None:
        self.session = session
        self.handle = handle
        self.address = address
        self.entity = entity
        self.is_detached = False
        self.delivery_count = 0
        self.credit = 0

    def detach(self, error: ServiceBusError | None) -> None:
        """Tells the peer that the link is over. Frames that were under way are ignored."""
        self.close()
        self.session.write(Detach(UInt(self.handle), closed=True, error=error_value(error) if error else None))

    def close(self) -> None:
        """Stops using the link without a word."""
        self.is_detached = True

    @abstractmethod
    def on_flow(self, flow: Flow) -> None:
        """Takes note of the peer's credit or its wish to know ours."""


class IncomingLink(Link):
    """A link on which the client sends."""

    def __init__(self, session: LinkSession, handle: int, address: str, entity: Entity | None = None) -> None:
        super().__init__(session, handle, address, entity)
        self._first: Transfer | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def grant_credit(self) -> None:
        """Lets the client send more."""
        self.credit = _INCOMING_CREDIT
        self.session.send_flow(self, self.delivery_count, self.credit)

    def on_flow(self, flow: Flow) -> None:
        if flow.echo:
            self.session.send_flow(self, self.delivery_count, self.credit)

    def on_transfer(self, transfer: Transfer, payload: bytes) -> None:
        """Takes a message or a part of one; a whole one is received and settled.

        Raises:
            ServiceBusError: the client broke the rules of the link.
        """
        if self._first is None:
            if self.credit <= 0:
                raise ServiceBusError(TRANSFER_LIMIT_EXCEEDED, f"Link to '{self.address}' has no credit left.")
            self._first, self._parts, self._size = transfer, [], 0
        self._size += len(payload)
        if self._size <= self.session.broker.limits.max_message_bytes:
            self._parts.append(payload)
        else:
            self._parts.clear()
        if transfer.more and not transfer.aborted:
            return
        first, self._first = self._first, None
        self.delivery_count = (self.delivery_count + 1) & _SERIAL_MASK
        self.credit -= 1
        if not transfer.aborted:
            self._receive_whole(first, is_settled=bool(first.settled or transfer.settled))
        if self.credit < _INCOMING_CREDIT // 2 and not self.is_detached:
            self.grant_credit()

    def _receive_whole(self, first: Transfer, *, is_settled: bool) -> None:
        limit = self.session.broker.limits.max_message_bytes
        try:
            if self._size > limit:
                state = rejected_state(_too_large(self._size, limit))
            else:
                self.receive(int(first.message_format or 0), b"".join(self._parts))
                state = ACCEPTED_STATE
        except ServiceBusError as error:
            state = rejected_state(error)
        if not is_settled and first.delivery_id is not None:
            self.session.write_body(encode_settled(True, first.delivery_id, state))

    @abstractmethod
    def receive(self, message_format: int, payload: bytes) -> None:
        """Takes a whole encoded message.

        Raises:
            ServiceBusError: it is rejected.
        """


class OutgoingLink(Link):
    """A link on which the client receives."""

    def on_flow(self, flow: Flow) -> None:
        given = int(flow.delivery_count or 0) + int(flow.link_credit or 0)
        credit = (given - self.delivery_count) & _SERIAL_MASK
        # A peer that has not yet seen our last messages may grant less than it has used: that is no credit.
        self.credit = credit if credit < 1 << 31 else 0
        self.resume()
        if flow.drain and self.credit:
            self.delivery_count = (self.delivery_count + self.credit) & _SERIAL_MASK
            self.credit = 0
        if flow.drain or flow.echo:
            self.session.send_flow(self, self.delivery_count, self.credit, is_drained=bool(flow.drain))

    def send(self, payload: bytes, tag: bytes, *, settled: bool) -> None:
        """Sends an encoded message, for which there must be credit."""
        self.credit -= 1
        self.delivery_count = (self.delivery_count + 1) & _SERIAL_MASK
        self.session.send_message(self, tag, payload, settled=settled)

    @abstractmethod
    def resume(self) -> None:
        """Sends what it can, now that there may be credit or room for it."""

    @abstractmethod
    def settle(self, tag: bytes, state: Described | None) -> bytes | None:
        """Applies the outcome the client gives a delivery and returns what to answer, encoded; None for nothing."""


class ReplyLink(OutgoingLink):
    """A link on which a node answers requests; answers wait for credit."""

    def __init__(self, session: LinkSession, handle: int, address: str, reply_to: str | None) -> None:
        super().__init__(session, handle, address)
        self.reply_to = reply_to
        self._waiting: deque[bytes] = deque()

    def answer(self, payload: bytes) -> None:
        self._waiting.append(payload)
        self.resume()

    def resume(self) -> None:
        while self._waiting and self.credit > 0 and self.session.can_send:
            self.send(self._waiting.popleft(), os.urandom(16), settled=True)

    def settle(self, tag: bytes, state: Described | None) -> bytes | None:
        return None


class RefusedLink(Link):
    """Keeps the handle of a link that was refused until the peer has detached it too."""

    def on_flow(self, flow: Flow) -> None:
        """Nothing: the link does not exist."""


def _too_large(size: int, limit: int) -> ServiceBusError:
    return ServiceBusError(MESSAGE_SIZE_EXCEEDED, f"The message or batch has {size} bytes; {limit} are allowed.")
