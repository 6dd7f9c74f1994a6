"""Opening links, and what the SDK's errors mean."""

import logging
import socket
import time
from typing import Any, Final

from azure.servicebus.exceptions import (
    MessageLockLostError,
    ServiceBusAuthenticationError,
    ServiceBusConnectionError,
    ServiceBusError,
)

from geoetl.transport.sdk.private import LinkState, PyamqpTransport, TokenAuthFailure, create_authentication
from geoetl.transport.sockets import close_socket, raw_socket

#: Longest wait for a link to be attached and authorised.
OPEN_TIMEOUT_S: Final = 15.0

#: The service's blocking read: only reached for the rest of a frame whose beginning has arrived.
SOCKET_TIMEOUT_S: Final = 0.05

# The SDK's exception translator logs what it translates; the caller of `translate` decides what to log.
_silent = logging.getLogger(f"{__name__}.silent")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


def translate(error: Exception) -> Exception:
    """The public exception for one of the SDK's private AMQP errors; public ones unchanged."""
    if isinstance(error, ServiceBusError | OSError):
        return error
    if isinstance(error, TokenAuthFailure):  # the SDK would drop what the service says about it
        said = f"{error.status_code} {error.status_description}" if error.status_code else "without saying why"
        return ServiceBusAuthenticationError(message=f"The namespace refused the credential: {said}.", error=error)
    return PyamqpTransport.create_servicebus_exception(_silent, error)


def is_lock_lost(error: BaseException) -> bool:
    """Whether the service says that the message is no longer ours."""
    return isinstance(error, MessageLockLostError)


def open_link(handle: Any) -> socket.socket:
    """Open a receiver or sender without the SDK's sleeps; its socket, which the SDK forgets when it meets an error.

    Raises:
        ServiceBusError: the service refused, or the link was not ready in time.
        OSError: no connection.
    """
    deadline = time.monotonic() + OPEN_TIMEOUT_S
    sock: socket.socket | None = None
    try:
        handle._create_handler(create_authentication(handle))
        handler = handle._handler
        handler.open()
        sock = raw_socket(handler._connection._transport.sock)
        # `client_ready` also answers True for a refused link; the refusal's reason comes in the frame after.
        while not (handler.client_ready() and handler._link.get_state() is LinkState.ATTACHED):
            _check_deadline(deadline)
    except Exception as error:
        close_socket(sock)
        raise translate(error) from error
    if sock is None:
        raise ServiceBusConnectionError(message="The connection was closed while the link was opened.")
    handle._running = True
    return sock


def _check_deadline(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise ServiceBusConnectionError(message=f"The link was not ready within {OPEN_TIMEOUT_S:.0f} s.")
