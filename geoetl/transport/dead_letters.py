"""Looking into queues without touching them; sending dead letters back, or handing them to who knows their tasks.

Uses the public API of the SDK only; Receiver rights are enough to look, Sender and Receiver rights to send back.
"""

import uuid
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusReceiver
from azure.servicebus.amqp import AmqpMessageBodyType
from azure.servicebus.exceptions import MessageLockLostError

from geoetl.transport.clients import Clients

#: Messages fetched with one request.
PAGE = 100

#: The service writes these into a message it dead-letters; a copy must not bring them along.
_DEAD_LETTER_PROPERTIES = frozenset({"DeadLetterReason", "DeadLetterErrorDescription"})

#: How long to wait for one more dead letter before there are none.
NO_MORE_AFTER_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageInfo:
    """A message as an operator sees it; its body stays unread."""

    sequence_number: int
    task: str
    """Name of the task, or empty for a message that no Celery client wrote."""
    id: str
    """Id of the task; the message's own id when it has none."""
    state: str
    """`active`, `scheduled` or `deferred`."""
    enqueued_at: datetime | None
    due_at: datetime | None
    """When a scheduled message will be delivered."""
    expires_at: datetime | None
    delivery_count: int
    retries: int
    body_bytes: int
    reason: str
    """Why it was dead-lettered; empty in a queue itself."""
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeued:
    """What became of the dead letters of a queue."""

    sent: int
    left: int
    """Looked at and left where they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of the dead letters of a queue that were looked at."""

    settled: int
    left: int
    """Of tasks that nobody knows."""


class Messages:
    """The messages of one namespace."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def peek(self, queue: str, *, limit: int, dead_letters: bool = False) -> list[MessageInfo]:
        """The oldest messages of a queue or of its dead-letter queue, unlocked and unchanged."""
        found: list[MessageInfo] = []
        with self._clients.puller(queue, dead_letters=dead_letters) as receiver:
            after = 0
            while len(found) < limit:
                page = receiver.peek_messages(min(PAGE, limit - len(found)), sequence_number=after)
                if not page:
                    break
                found += [_info(message) for message in page]
                after = found[-1].sequence_number + 1
        return found

    def requeue(self, queue: str, *, ids: Collection[str] | None = None, limit: int | None = None) -> Requeued:
        """Send dead letters back to their queue, as new messages with the same task id.

        Each is sent first and removed after, so a failure in between leaves two of it and never none: the delivery is
        at least once, as always. Time to live is not copied, since it may be what sent the message here; a worker still
        looks at the task's own `expires`. What is dead-lettered again meanwhile is not sent a second time.

        Args:
            queue: whose dead letters.
            ids: only messages of these tasks (or with these message ids); None: all.
            limit: send at most so many.
        """
        sent: set[str] = set()
        left: list[ServiceBusReceivedMessage] = []
        with ExitStack() as stack:
            receiver = stack.enter_context(self._clients.puller(queue, dead_letters=True))
            sender = stack.enter_context(self._clients.sender(queue))
            while (limit is None or len(sent) < limit) and (page := _receive(receiver)):
                for message in page:
                    copy = _copy(message)
                    is_full = limit is not None and len(sent) >= limit
                    is_wanted = ids is None or _info(message).id in ids
                    if copy is None or is_full or not is_wanted or message.message_id in sent:
                        left.append(message)
                        continue
                    sender.send_messages(copy)
                    receiver.complete_message(message)
                    sent.add(str(copy.message_id))
            for message in left:
                with suppress(MessageLockLostError):  # it took so long that the message went back by itself
                    receiver.abandon_message(message)
        return Requeued(sent=len(sent), left=len(left))

    def settle(
        self,
        queue: str,
        *,
        known: Callable[[Collection[str]], Collection[str]],
        handle: Callable[[MessageInfo], None],
        limit: int,
    ) -> Settled:
        """Hand each dead letter of a known task to ``handle``, and remove it when that returns.

        A failure in between leaves the dead letter, so it may be handed over again. Where none is known nothing is
        received: the dead letters of others are not even locked.

        Args:
            queue: whose dead letters.
            known: of these ids, those of known tasks.
            handle: what to do with one; what it raises ends the work.
            limit: look at so many at most.
        """
        waiting = self.peek(queue, limit=limit, dead_letters=True)
        ids = set(known({info.id for info in waiting}))
        due = {info.sequence_number for info in waiting if info.id in ids}
        left = len(waiting) - len(due)
        settled = 0
        others: list[ServiceBusReceivedMessage] = []
        if not due:
            return Settled(settled=0, left=left)
        with self._clients.puller(queue, dead_letters=True) as receiver:
            try:
                while due and (page := _receive(receiver)):
                    for message in page:
                        if message.sequence_number not in due:
                            others.append(message)
                            continue
                        handle(_info(message))
                        due.discard(message.sequence_number)
                        settled += 1
                        with suppress(MessageLockLostError):
                            receiver.complete_message(message)
            finally:
                for message in others:
                    with suppress(MessageLockLostError):
                        receiver.abandon_message(message)
        return Settled(settled=settled, left=left)


def _receive(receiver: ServiceBusReceiver) -> list[ServiceBusReceivedMessage]:
    return receiver.receive_messages(PAGE, max_wait_time=NO_MORE_AFTER_S)


def _info(message: ServiceBusReceivedMessage) -> MessageInfo:
    properties = _properties(message)
    return MessageInfo(
        sequence_number=message.sequence_number or 0,
        task=str(properties.get("task") or message.subject or ""),
        id=str(properties.get("id") or message.correlation_id or message.message_id or ""),
        state=message.state.name.lower(),
        enqueued_at=message.enqueued_time_utc,
        due_at=message.scheduled_enqueue_time_utc,
        expires_at=message.expires_at_utc,
        delivery_count=message.delivery_count or 0,
        retries=int(properties.get("retries") or 0),
        body_bytes=len(_body(message) or b""),
        reason=message.dead_letter_reason or "",
        description=message.dead_letter_error_description or "",
    )


def _copy(message: ServiceBusReceivedMessage) -> ServiceBusMessage | None:
    """A new message of the same content; None when its body is of a kind that the SDK cannot send."""
    body = _body(message)
    if body is None:
        return None
    properties = {name: value for name, value in _properties(message).items() if name not in _DEAD_LETTER_PROPERTIES}
    return ServiceBusMessage(
        body,
        message_id=str(uuid.uuid4()),
        application_properties=properties,
        content_type=message.content_type,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        session_id=message.session_id,
        subject=message.subject,
        to=message.to,
    )


def _body(message: ServiceBusReceivedMessage) -> bytes | None:
    if message.body_type is not AmqpMessageBodyType.DATA:
        return None
    return b"".join(message.body)


def _properties(message: ServiceBusReceivedMessage) -> dict[str | bytes, Any]:
    """Application properties with texts as texts: the SDK gives bytes, and would send them back as binary."""
    return {_text(name): _text(value) for name, value in (message.application_properties or {}).items()}


def _text(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
