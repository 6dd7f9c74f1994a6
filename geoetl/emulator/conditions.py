"""The errors a client may get, under the names Service Bus gives them."""

from http import HTTPStatus
from typing import Final

INTERNAL_ERROR: Final = "amqp:internal-error"
NOT_FOUND: Final = "amqp:not-found"
UNAUTHORIZED: Final = "amqp:unauthorized-access"
DECODE_ERROR: Final = "amqp:decode-error"
NOT_ALLOWED: Final = "amqp:not-allowed"
INVALID_FIELD: Final = "amqp:invalid-field"
NOT_IMPLEMENTED: Final = "amqp:not-implemented"
RESOURCE_LOCKED: Final = "amqp:resource-locked"
RESOURCE_DELETED: Final = "amqp:resource-deleted"
RESOURCE_LIMIT_EXCEEDED: Final = "amqp:resource-limit-exceeded"
CONNECTION_FORCED: Final = "amqp:connection:forced"
FRAMING_ERROR: Final = "amqp:connection:framing-error"
WINDOW_VIOLATION: Final = "amqp:session:window-violation"
HANDLE_IN_USE: Final = "amqp:session:handle-in-use"
UNATTACHED_HANDLE: Final = "amqp:session:unattached-handle"
DETACH_FORCED: Final = "amqp:link:detach-forced"
TRANSFER_LIMIT_EXCEEDED: Final = "amqp:link:transfer-limit-exceeded"
MESSAGE_SIZE_EXCEEDED: Final = "amqp:link:message-size-exceeded"
MESSAGE_LOCK_LOST: Final = "com.microsoft:message-lock-lost"
MESSAGE_NOT_FOUND: Final = "com.microsoft:message-not-found"
ENTITY_ALREADY_EXISTS: Final = "com.microsoft:entity-already-exists"
ARGUMENT_ERROR: Final = "com.microsoft:argument-error"
ENTITY_DISABLED: Final = "com.microsoft:entity-disabled"
SERVER_BUSY: Final = "com.microsoft:server-busy"

#: What management and administration answer for a condition; anything else is a bad request.
_STATUS = {
    NOT_FOUND: HTTPStatus.NOT_FOUND,
    MESSAGE_NOT_FOUND: HTTPStatus.NOT_FOUND,
    UNAUTHORIZED: HTTPStatus.UNAUTHORIZED,
    ENTITY_ALREADY_EXISTS: HTTPStatus.CONFLICT,
    MESSAGE_LOCK_LOST: HTTPStatus.GONE,
    NOT_IMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    SERVER_BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
}


class ServiceBusError(Exception):
    """A refusal the client is told about, as an AMQP condition or an HTTP status."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description

    @property
    def status(self) -> HTTPStatus:
        """The status code that `$management` and the HTTP API give for this condition."""
        return _STATUS.get(self.condition, HTTPStatus.BAD_REQUEST)


def entity_not_found(name: str) -> ServiceBusError:
    """The refusal for an address that names nothing."""
    return ServiceBusError(NOT_FOUND, f"The messaging entity '{name}' could not be found.")


def lock_lost() -> ServiceBusError:
    """The refusal for a lock token that no longer holds a message."""
    return ServiceBusError(
        MESSAGE_LOCK_LOST,
        "The lock supplied is invalid. Either it expired, or the message has already been removed from the queue.",
    )
