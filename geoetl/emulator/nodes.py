"""What links lead to: queues, topics, subscriptions, `$cbs` and `$management`, by the address in the attach."""

from typing import Any, Final

from geoetl.emulator import outcomes
from geoetl.emulator.amqp_types import Described
from geoetl.emulator.cbs import CbsLink
from geoetl.emulator.conditions import (
    ENTITY_DISABLED,
    INVALID_FIELD,
    NOT_ALLOWED,
    NOT_IMPLEMENTED,
    ServiceBusError,
)
from geoetl.emulator.encode import encode
from geoetl.emulator.entities import Entity
from geoetl.emulator.links import IncomingLink, Link, LinkSession, OutgoingLink, ReplyLink
from geoetl.emulator.management import ManagementLink
from geoetl.emulator.message import DEAD_LETTER_DESCRIPTION, DEAD_LETTER_REASON, Message
from geoetl.emulator.outcomes import ACCEPTED_STATE, REJECTED_STATE, RELEASED_STATE, fields_of, rejected_state
from geoetl.emulator.performatives import Attach
from geoetl.emulator.queue import Queue
from geoetl.emulator.sent import read_sent
from geoetl.emulator.subscription import Subscription
from geoetl.emulator.topic import Topic

_CBS: Final = "$cbs"
_MANAGEMENT: Final = "/$management"
_SOURCE: Final = 0x28
_TARGET: Final = 0x29
_SENT_SETTLED: Final = 1
_DEAD_LETTER_CONDITION: Final = "com.microsoft:dead-letter"


class EntityTarget(IncomingLink):
    """Where a client sends messages to a queue or topic."""

    def __init__(self, session: LinkSession, handle: int, address: str, entity: Entity) -> None:
        super().__init__(session, handle, address, entity)
        self._entity = entity

    def receive(self, message_format: int, payload: bytes) -> None:
        self.session.broker.faults.check_send()
        for message in read_sent(payload, message_format):
            self._entity.send(message)


class QueueSource(OutgoingLink):
    """Where a client receives messages from a queue or subscription; its consumer."""

    def __init__(
        self, session: LinkSession, handle: int, address: str, queue: Queue, *, is_peek_lock: bool = True
    ) -> None:
        super().__init__(session, handle, address, queue)
        self._queue = queue
        self.is_peek_lock = is_peek_lock

    @property
    def can_take(self) -> bool:
        return self.credit > 0 and not self.is_detached and self.session.can_send

    def take(self, message: Message) -> None:
        # Without a lock there is nothing to settle, so any tag will do: the sequence number tells them apart.
        tag = message.lock_token or message.sequence_number.to_bytes(16)
        self.send(message.encode_delivery(), tag, settled=not self.is_peek_lock)

    def resume(self) -> None:
        if self.credit > 0:
            self._queue.wait(self)

    def close(self) -> None:
        super().close()
        self._queue.forget(self)

    def settle(self, tag: bytes, state: Described | None) -> bytes | None:
        if state is None:
            return None
        try:
            return self._apply(tag, state)
        except ServiceBusError as error:
            return rejected_state(error)

    def _apply(self, tag: bytes, state: Described) -> bytes | None:
        match state.descriptor:
            case outcomes.ACCEPTED:
                self._queue.complete(tag)
                return ACCEPTED_STATE
            case outcomes.RELEASED:
                self._queue.release(tag)
                return RELEASED_STATE
            case outcomes.REJECTED:
                self._queue.dead_letter(tag, *_dead_letter_reason(state))
                return REJECTED_STATE
            case outcomes.MODIFIED:
                _, is_undeliverable, annotations = fields_of(state, 3)
                changes: dict[Any, Any] | None = annotations if isinstance(annotations, dict) else None
                # The clients for .NET and JavaScript abandon without `delivery-failed`, and it counts all the same.
                (self._queue.defer if is_undeliverable else self._queue.abandon)(tag, changes)
                return encode(state)
            case _:
                # `received` says how far a transfer got; it ends nothing.
                return None


def open_link(session: LinkSession, attach: Attach) -> Link:
    """The link an attach asks for.

    Raises:
        ServiceBusError: there is no such node, the client may not use it, or it asks for what is not supported.
    """
    handle, is_receiver = int(attach.handle), attach.role
    address, reply_to = _address(attach.source), _address(attach.target)
    if not is_receiver:
        address, reply_to = reply_to, address
    if attach.target is not None and attach.target.descriptor != _TARGET:
        raise ServiceBusError(NOT_IMPLEMENTED, "This emulator does not support transactions.")
    if address is None:
        raise ServiceBusError(INVALID_FIELD, "The attach names no address this emulator can open.")
    if is_receiver:
        _refuse_filters(attach)
    name = address.strip("/").lower()
    if is_cbs(address):
        return ReplyLink(session, handle, address, reply_to) if is_receiver else CbsLink(session, handle, address)
    is_management = name.endswith(_MANAGEMENT)
    entity = address.rstrip("/")[: -len(_MANAGEMENT)] if is_management else address
    session.grants.expire(session.broker.namespace.clock.now())
    session.grants.require(entity)
    found = session.broker.namespace.resolve(entity)
    if is_management:
        if is_receiver:
            return ReplyLink(session, handle, address, reply_to)
        return ManagementLink(session, handle, address, found)
    if is_receiver:
        return _open_source(session, attach, address, found)
    return _open_target(session, attach, address, found)


def is_cbs(address: str) -> bool:
    """Whether an address is that of `$cbs`, which needs no token: it is where tokens go."""
    return address.strip("/").lower() == _CBS


def _open_source(session: LinkSession, attach: Attach, address: str, entity: Entity) -> Link:
    if isinstance(entity, Topic):
        raise ServiceBusError(
            NOT_ALLOWED, f"Messages cannot be received from the topic '{entity.name}': receive from a subscription."
        )
    if not entity.description.can_receive:
        raise _disabled(entity)
    if entity.forwards_to is not None:
        raise ServiceBusError(
            NOT_ALLOWED,
            f"Cannot create a message receiver on an entity with auto-forwarding enabled: '{entity.name}' forwards to "
            f"'{entity.forwards_to}'.",
        )
    is_peek_lock = attach.snd_settle_mode != _SENT_SETTLED
    return QueueSource(session, int(attach.handle), address, entity, is_peek_lock=is_peek_lock)


def _open_target(session: LinkSession, attach: Attach, address: str, entity: Entity) -> Link:
    if isinstance(entity, Subscription):
        raise ServiceBusError(
            NOT_ALLOWED, f"Messages cannot be sent to the subscription '{entity.name}': send to its topic."
        )
    if isinstance(entity, Queue) and entity.source is not None:
        raise ServiceBusError(NOT_ALLOWED, f"Messages cannot be sent to the dead-letter queue '{entity.name}'.")
    if not entity.can_send:
        raise _disabled(entity)
    return EntityTarget(session, int(attach.handle), address, entity)


def _disabled(entity: Entity) -> ServiceBusError:
    return ServiceBusError(
        ENTITY_DISABLED,
        f"The entity '{entity.name}' is {entity.description.properties['Status']}: not available for this.",
    )


def _address(terminus: Described | None) -> str | None:
    if terminus is None or terminus.descriptor not in (_SOURCE, _TARGET):
        return None
    (address,) = fields_of(terminus, 1)
    return str(address) if isinstance(address, str) else None


def _refuse_filters(attach: Attach) -> None:
    filters = fields_of(attach.source, 8)[7]
    if filters:
        raise ServiceBusError(
            NOT_IMPLEMENTED, f"This emulator supports no receiver filters (sessions, selectors), got {list(filters)}."
        )


def _dead_letter_reason(state: Described) -> tuple[str | None, str | None, dict[Any, Any]]:
    """Reason, description, and what else goes to the application properties."""
    (error,) = fields_of(state, 1)
    condition, description, info = fields_of(error, 3)
    changes: dict[Any, Any] = dict(info) if isinstance(info, dict) else {}
    fallback = None if condition in (None, _DEAD_LETTER_CONDITION) else str(condition)
    return (
        changes.pop(DEAD_LETTER_REASON, fallback),
        changes.pop(DEAD_LETTER_DESCRIPTION, description if isinstance(description, str) else None),
        changes,
    )
