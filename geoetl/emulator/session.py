"""A session: windows, delivery numbers and the links attached to it (AMQP 1.0, part 2.5)."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from geoetl.emulator.addresses import entity_path
from geoetl.emulator.amqp_types import Described, UByte, UInt, ULong
from geoetl.emulator.broker import Broker
from geoetl.emulator.conditions import (
    HANDLE_IN_USE,
    NOT_ALLOWED,
    UNATTACHED_HANDLE,
    WINDOW_VIOLATION,
    ServiceBusError,
    lock_lost,
)
from geoetl.emulator.links import IncomingLink, Link, OutgoingLink, RefusedLink, ReplyLink
from geoetl.emulator.nodes import open_link
from geoetl.emulator.outcomes import rejected_state
from geoetl.emulator.performatives import (
    Attach,
    Begin,
    Detach,
    Disposition,
    Flow,
    Performative,
    Transfer,
    encode_performative,
    encode_settled,
    encode_transfer,
)
from geoetl.emulator.queue import Queue
from geoetl.emulator.tokens import Grants
from geoetl.emulator.window import MAX_WINDOW, SERIAL_MASK, TransferWindow

#: Transfer frames a client may send before it hears of a wider window.
INCOMING_WINDOW: Final = 5000
#: Links a session may have.
HANDLE_MAX: Final = 255

#: Room for the performative beside the payload of a transfer.
_TRANSFER_OVERHEAD: Final = 64
_SOURCE: Final = ULong(0x28)
_TARGET: Final = ULong(0x29)


class SessionConnection(Protocol):
    """What a session needs of its connection."""

    broker: Broker
    grants: Grants

    @property
    def can_write(self) -> bool:
        """Whether the peer takes bytes as fast as it gets them."""
        ...

    @property
    def max_body_size(self) -> int: ...

    def write_body(self, channel: int, body: bytes) -> None: ...


class Session:
    """One session of a connection.

    Args:
        connection: where its frames go.
        channel: its number, the same in both directions.
        begin: what the peer said.
    """

    def __init__(self, connection: SessionConnection, channel: int, begin: Begin) -> None:
        self.broker, self.grants = connection.broker, connection.grants
        self._connection = connection
        self._channel = channel
        self._links: dict[int, Link] = {}
        self._next_incoming_id = int(begin.next_outgoing_id)
        self._incoming_window = INCOMING_WINDOW
        self._next_delivery_id = 0
        self._window = TransferWindow(self.write_body, int(begin.incoming_window))
        #: Deliveries the peer has not settled: link and delivery tag by delivery number.
        self._unsettled: dict[int, tuple[OutgoingLink, bytes]] = {}

    @property
    def can_send(self) -> bool:
        return self._window.is_open and self._connection.can_write

    # --- frames from the peer

    def handle(self, performative: Performative, payload: bytes) -> None:
        """Does what a frame says.

        Raises:
            ServiceBusError: the peer broke a rule of the session, which ends it.
        """
        match performative:
            case Transfer():
                self._on_transfer(performative, payload)
            case Disposition():
                self._on_disposition(performative)
            case Flow():
                self._on_flow(performative)
            case Attach():
                self._on_attach(performative)
            case Detach():
                self._on_detach(performative)
            case _:
                raise ServiceBusError(NOT_ALLOWED, f"{type(performative).__name__} has no place in a session.")

    def _on_transfer(self, transfer: Transfer, payload: bytes) -> None:
        self._incoming_window -= 1
        if self._incoming_window < 0:
            raise ServiceBusError(WINDOW_VIOLATION, "The session window was closed.")
        self._next_incoming_id = (self._next_incoming_id + 1) & SERIAL_MASK
        link = self._links.get(transfer.handle)
        if link is None or (isinstance(link, OutgoingLink) and not link.is_detached):
            raise ServiceBusError(UNATTACHED_HANDLE, f"No link receives on handle {transfer.handle}.")
        # Clients send before they know that a link was refused; such transfers are void.
        if isinstance(link, IncomingLink) and not link.is_detached:
            try:
                link.on_transfer(transfer, payload)
            except ServiceBusError as error:
                link.detach(error)
        if self._incoming_window < INCOMING_WINDOW // 2:
            self._incoming_window = INCOMING_WINDOW
            self.write(self._flow())

    def _on_disposition(self, disposition: Disposition) -> None:
        if not disposition.role:
            return  # A sender tells what it thinks of its own deliveries: the broker has settled those already.
        first = int(disposition.first)
        last = first if disposition.last is None else int(disposition.last)
        numbers = self._unsettled_between(first, last)
        if not numbers and first == last and first < self._next_delivery_id and not disposition.settled:
            # Settled elsewhere by its lock token: whoever settles it again waits for an answer all the same.
            self._answer_settlement(encode_settled(False, first, rejected_state(lock_lost())))
        for number in numbers:
            link, tag = self._unsettled.pop(number)
            outcome = link.settle(tag, disposition.state)
            if outcome is None and not disposition.settled:
                self._unsettled[number] = (link, tag)
            elif outcome is not None and not disposition.settled:
                self._answer_settlement(encode_settled(False, number, outcome))

    def _answer_settlement(self, body: bytes) -> None:
        delay_s = self.broker.faults.settlement_delay_s
        if delay_s > 0:
            asyncio.get_running_loop().call_later(delay_s, self.write_body, body)
        else:
            self.write_body(body)

    def _unsettled_between(self, first: int, last: int) -> list[int]:
        if first == last:
            return [first] if first in self._unsettled else []
        # The range is the peer's word, up to 2**32: walk it or what is unsettled, whichever is shorter.
        if last - first < len(self._unsettled):
            return [number for number in range(first, last + 1) if number in self._unsettled]
        return [number for number in self._unsettled if first <= number <= last]

    def _on_flow(self, flow: Flow) -> None:
        # Before it has seen our begin, the peer cannot name the next id it expects: it is the first one.
        self._window.update(int(flow.next_incoming_id or 0), int(flow.incoming_window))
        if flow.handle is None:
            self.resume()
            if flow.echo:
                self.write(self._flow())
            return
        link = self._links.get(flow.handle)
        if link is None:
            raise ServiceBusError(UNATTACHED_HANDLE, f"No link has handle {flow.handle}.")
        if not link.is_detached:
            link.on_flow(flow)

    def _on_attach(self, attach: Attach) -> None:
        handle = int(attach.handle)
        if handle in self._links:
            raise ServiceBusError(HANDLE_IN_USE, f"Handle {handle} is attached already.")
        if handle > HANDLE_MAX:
            raise ServiceBusError(NOT_ALLOWED, f"Handle {handle} is over the maximum of {HANDLE_MAX}.")
        try:
            link = open_link(self, attach)
        except ServiceBusError as error:
            self._refuse(attach, error)
            return
        self._links[handle] = link
        self.write(self._attach_answer(attach))
        if isinstance(link, IncomingLink):
            link.grant_credit()

    def _refuse(self, attach: Attach, error: ServiceBusError) -> None:
        # As the specification asks: attach without the terminus that could not be had, then detach with the reason.
        missing = {"source" if attach.role else "target": None}
        link = RefusedLink(self, int(attach.handle), attach.name)
        self._links[link.handle] = link
        self.write(self._attach_answer(attach)._replace(**missing))
        link.detach(error)

    def _attach_answer(self, attach: Attach) -> Attach:
        return Attach(
            name=attach.name,
            handle=attach.handle,
            role=not attach.role,
            snd_settle_mode=attach.snd_settle_mode or UByte(0),
            rcv_settle_mode=attach.rcv_settle_mode or UByte(0),
            source=attach.source or Described(_SOURCE, [attach.name]),
            target=attach.target or Described(_TARGET, [attach.name]),
            initial_delivery_count=UInt(0) if attach.role else None,
            max_message_size=ULong(self.broker.limits.max_message_bytes),
        )

    def _on_detach(self, detach: Detach) -> None:
        link = self._links.pop(int(detach.handle), None)
        if link is None:
            raise ServiceBusError(UNATTACHED_HANDLE, f"No link has handle {detach.handle}.")
        if isinstance(link, OutgoingLink):
            self._unsettled = {number: held for number, held in self._unsettled.items() if held[0] is not link}
        if not link.is_detached:
            link.close()
            self.write(Detach(detach.handle, closed=detach.closed))

    # --- what links and the connection ask

    def resume(self) -> None:
        """Lets links send what they could not before."""
        for link in self._outgoing():
            link.resume()

    def close(self) -> None:
        """Stops all links without a word. Locks stay until they expire, as they do in Service Bus."""
        for link in self._links.values():
            link.close()

    def detach_links(self, concerns: Callable[[Link], bool], error: ServiceBusError) -> int:
        """Detaches the links that are concerned and returns how many there were."""
        concerned = [link for link in self._links.values() if not link.is_detached and concerns(link)]
        for link in concerned:
            link.detach(error)
        return len(concerned)

    def forget_delivery(self, queue: Queue, tag: bytes) -> bool:
        """Forgets a delivery that was settled elsewhere; whether it was one of this session."""
        for number, (link, held) in self._unsettled.items():
            if held == tag and link.entity is queue:
                del self._unsettled[number]
                return True
        return False

    def reply_link(self, address: str, reply_to: str | None) -> ReplyLink | None:
        """Where the answers of a node go: the link whose target is the request's `reply-to`, else any from the node."""
        path = entity_path(address).lower()
        links = [
            link
            for link in self._outgoing()
            if isinstance(link, ReplyLink) and entity_path(link.address).lower() == path
        ]
        return next((link for link in links if link.reply_to == reply_to), links[0] if links else None)

    def write(self, performative: Performative) -> None:
        self.write_body(encode_performative(performative))

    def write_body(self, body: bytes) -> None:
        self._connection.write_body(self._channel, body)

    def send_flow(self, link: Link, delivery_count: int, credit: int, *, is_drained: bool = False) -> None:
        self.write(
            self._flow()._replace(
                handle=UInt(link.handle),
                delivery_count=UInt(delivery_count),
                link_credit=UInt(credit),
                drain=is_drained or None,
            )
        )

    def send_message(self, link: OutgoingLink, tag: bytes, payload: bytes, *, settled: bool) -> None:
        number = self._next_delivery_id
        self._next_delivery_id = (number + 1) & SERIAL_MASK
        if not settled:
            self._unsettled[number] = (link, tag)
        room = self._connection.max_body_size - _TRANSFER_OVERHEAD
        if len(payload) <= room:
            self._window.send(link, encode_transfer(link.handle, number, tag, settled=settled) + payload)
            return
        head = Transfer(UInt(link.handle), UInt(number), tag, UInt(0), settled, more=True)
        for start in range(0, len(payload), room):
            more = start + room < len(payload)
            transfer = Transfer(UInt(link.handle), settled=settled, more=more) if start else head
            self._window.send(link, encode_performative(transfer) + payload[start : start + room])

    def _flow(self) -> Flow:
        return Flow(
            next_incoming_id=UInt(self._next_incoming_id),
            incoming_window=UInt(self._incoming_window),
            next_outgoing_id=UInt(self._window.next_outgoing_id),
            outgoing_window=UInt(MAX_WINDOW),
        )

    def _outgoing(self) -> list[OutgoingLink]:
        return [link for link in self._links.values() if isinstance(link, OutgoingLink) and not link.is_detached]
