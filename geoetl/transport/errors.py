"""What can go wrong, and what kombu may do about it."""

import re

from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.servicebus.exceptions import (
    MessageSizeExceededError,
    MessagingEntityDisabledError,
    MessagingEntityNotFoundError,
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusCommunicationError,
    ServiceBusConnectionError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
    ServiceBusServerBusyError,
)


class TransportError(Exception):
    """Root of the errors this package raises itself; those of the SDK pass through unchanged."""


class UnsupportedSdkError(TransportError):
    """The installed azure-servicebus is not the one whose private names this transport was written for."""


class InvalidBrokerUrlError(TransportError, ValueError):
    """The broker URL or connection string cannot be understood."""


class InvalidOptionError(TransportError, ValueError):
    """A transport option has a value that Service Bus or this transport cannot honour."""


class MessageTooLargeError(TransportError, ValueError):
    """A message is over the size limit of the link; sending it again cannot help."""

    def __init__(self, *, entity: str, what: str, size_bytes: int, limit_bytes: int) -> None:
        self.entity, self.size_bytes, self.limit_bytes = entity, size_bytes, limit_bytes
        super().__init__(
            f"Cannot send {what} to '{entity}': it takes {size_bytes:,} bytes, the namespace accepts {limit_bytes:,}. "
            "Pass a reference (a blob path, a row id) instead of the data, compress it (`task_compression`), give the "
            "transport a `body_store`, or use a Premium namespace with a larger limit."
        )


class QueueUnavailableError(TransportError):
    """A queue is missing and may not, or could not, be created."""


class NamespaceBusyError(TransportError):
    """The administration API did not serve a request; a later one may succeed."""


def administration_error(error: HttpResponseError, tried: str, *, or_else: str = "") -> TransportError:
    """Our error for an answer of the administration API; kombu and Celery do not know the SDK's.

    Args:
        error: the answer.
        tried: what was asked for, such as "create queue 'q'".
        or_else: what can be done without the Manage right.
    """
    status = error.status_code
    if status is None or status == 429 or status >= 500:  # None: no token, so nothing was asked
        return NamespaceBusyError(f"Could not {tried} yet: the namespace answered {status} ({_detail(error)}).")
    text = f"Could not {tried}: the namespace answered {status} ({_detail(error)})."
    if status in {401, 403}:
        text += f" Either the credential is wrong, or it has no Manage right: then grant it{or_else}."
    return QueueUnavailableError(text)


def _detail(error: HttpResponseError) -> str:
    """What the service itself says, without the XML around it."""
    found = re.search(r"<Detail>(.*?)</Detail>", str(error), re.DOTALL)
    return found.group(1) if found else str(error.message)


#: A new connection may cure these: kombu reconnects and `task_publish_retry` tries again.
CONNECTION_ERRORS: tuple[type[BaseException], ...] = (
    ServiceBusConnectionError,
    ServiceBusCommunicationError,
    ServiceBusServerBusyError,
    ServiceBusAuthenticationError,
    OperationTimeoutError,
    ServiceRequestError,
    ServiceResponseError,
    NamespaceBusyError,
    OSError,
)

#: The connection is sound but the operation was refused: only an operator, or other arguments, can help.
CHANNEL_ERRORS: tuple[type[BaseException], ...] = (
    MessagingEntityNotFoundError,
    MessagingEntityDisabledError,
    ServiceBusAuthorizationError,
    ServiceBusQuotaExceededError,
    MessageSizeExceededError,
    ServiceBusError,
    QueueUnavailableError,
)

#: Worth sending again at once, on a fresh link. Rights, quota and a missing queue are not.
TRANSIENT_SEND_ERRORS: tuple[type[BaseException], ...] = CONNECTION_ERRORS
