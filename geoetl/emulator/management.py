"""`$management` of an entity: what clients do with messages other than sending, receiving and settling on the link.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from geoetl.emulator.amqp_types import Array, Timestamp
from geoetl.emulator.conditions import ARGUMENT_ERROR, MESSAGE_SIZE_EXCEEDED, NOT_IMPLEMENTED, ServiceBusError
from geoetl.emulator.entities import Entity
from geoetl.emulator.links import LinkSession
from geoetl.emulator.queue import Queue
from geoetl.emulator.requests import Answer, Request, RequestLink
from geoetl.emulator.sent import read_sent
from geoetl.emulator.subscription import Subscription

_PREFIX: Final = "com.microsoft:"
_RECEIVE_AND_DELETE: Final = 0
_MAX_PEEKED: Final = 250

type _Operation = Callable[[dict[Any, Any]], Answer]


class ManagementLink(RequestLink):
    """Where a client sends its requests about a queue, topic or subscription."""

    status_name = "statusCode"
    description_name = "statusDescription"
    condition_name = "errorCondition"

    def __init__(self, session: LinkSession, handle: int, address: str, entity: Entity) -> None:
        super().__init__(session, handle, address, entity)
        self._operations: dict[str, _Operation] = {}
        if isinstance(entity, Queue):
            self._queue = entity
            self._operations |= {
                "renew-lock": self._renew_lock,
                "update-disposition": self._update_disposition,
                "peek-message": self._peek_message,
                "receive-by-sequence-number": self._receive_by_sequence_number,
            }
        if not isinstance(entity, Subscription):
            self._target = entity
            self._operations |= {
                "schedule-message": self._schedule_message,
                "cancel-scheduled-message": self._cancel_scheduled_message,
            }

    def handle_request(self, request: Request) -> Answer:
        operation = request.text("operation").removeprefix(_PREFIX)
        handler = self._operations.get(operation)
        if handler is None:
            raise ServiceBusError(NOT_IMPLEMENTED, f"This emulator does not support the operation '{operation}' here.")
        if not isinstance(request.value, dict):
            raise ServiceBusError(ARGUMENT_ERROR, f"The body of '{operation}' must be a map.")
        return handler(request.value)

    def _renew_lock(self, body: dict[Any, Any]) -> Answer:
        expirations = self._queue.renew(_lock_tokens(body))
        return _ok({"expirations": Array(Timestamp(at * 1000) for at in expirations)})

    def _update_disposition(self, body: dict[Any, Any]) -> Answer:
        queue, status = self._queue, body.get("disposition-status")
        changes = body.get("properties-to-modify")
        if changes is not None and not isinstance(changes, dict):
            raise ServiceBusError(ARGUMENT_ERROR, "'properties-to-modify' must be a map.")
        reason, description = body.get("deadletter-reason"), body.get("deadletter-description")
        settle: dict[str, Callable[[bytes], None]] = {
            "completed": queue.complete,
            "abandoned": lambda token: queue.abandon(token, changes),
            "defered": lambda token: queue.defer(token, changes),
            "suspended": lambda token: queue.dead_letter(token, reason, description, changes),
        }
        if not isinstance(status, str) or status not in settle:
            raise ServiceBusError(
                ARGUMENT_ERROR, f"'disposition-status' is {status!r}; accepted are {', '.join(sorted(settle))}."
            )
        for token in _lock_tokens(body):
            settle[status](token)
            self.session.broker.forget_delivery(queue, token)
        return _ok()

    def _schedule_message(self, body: dict[Any, Any]) -> Answer:
        limit = self.session.broker.limits.max_message_bytes
        encoded = [entry.get("message") if isinstance(entry, dict) else None for entry in _list(body, "messages")]
        messages = [message for each in encoded for message in read_sent(_binary(each, limit))]
        return _ok({"sequence-numbers": Array(self._target.send(message) for message in messages)})

    def _cancel_scheduled_message(self, body: dict[Any, Any]) -> Answer:
        for number in _sequence_numbers(body):
            self._target.cancel_scheduled(number)
        return _ok()

    def _peek_message(self, body: dict[Any, Any]) -> Answer:
        start, count = _number(body, "from-sequence-number"), min(_number(body, "message-count"), _MAX_PEEKED)
        messages = self._queue.peek(start, max(count, 0))
        if not messages:
            return Answer(HTTPStatus.NO_CONTENT, "No messages")
        return _ok({"messages": [{"message": message.encode_peeked()} for message in messages]})

    def _receive_by_sequence_number(self, body: dict[Any, Any]) -> Answer:
        is_peek_lock = _number(body, "receiver-settle-mode") != _RECEIVE_AND_DELETE
        messages = self._queue.receive_deferred(_sequence_numbers(body), is_peek_lock=is_peek_lock)
        return _ok(
            {
                "messages": [
                    {"message": message.encode_delivery()}
                    | ({"lock-token": UUID(bytes_le=message.lock_token)} if message.lock_token else {})
                    for message in messages
                ]
            }
        )


def _ok(value: dict[str, Any] | None = None) -> Answer:
    return Answer(HTTPStatus.OK, "OK", value if value is not None else {})


def _list(body: dict[Any, Any], name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list):
        raise ServiceBusError(ARGUMENT_ERROR, f"'{name}' must be a list, got {type(value).__name__}.")
    return value


def _number(body: dict[Any, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int):
        raise ServiceBusError(ARGUMENT_ERROR, f"'{name}' must be a number, got {type(value).__name__}.")
    return int(value)


def _sequence_numbers(body: dict[Any, Any]) -> list[int]:
    numbers = _list(body, "sequence-numbers")
    if not all(isinstance(number, int) for number in numbers):
        raise ServiceBusError(ARGUMENT_ERROR, "'sequence-numbers' must hold numbers.")
    return [int(number) for number in numbers]


def _lock_tokens(body: dict[Any, Any]) -> list[bytes]:
    tokens = _list(body, "lock-tokens")
    if not all(isinstance(token, UUID) for token in tokens):
        raise ServiceBusError(ARGUMENT_ERROR, "'lock-tokens' must hold UUIDs.")
    # The token in a delivery tag is a GUID, in little-endian byte order; here it is a proper UUID.
    return [token.bytes_le for token in tokens]


def _binary(value: Any, limit: int) -> bytes:
    if not isinstance(value, bytes):
        raise ServiceBusError(ARGUMENT_ERROR, "Each of 'messages' must hold an encoded 'message'.")
    if len(value) > limit:
        raise ServiceBusError(MESSAGE_SIZE_EXCEEDED, f"The message has {len(value)} bytes; {limit} are allowed.")
    return value
