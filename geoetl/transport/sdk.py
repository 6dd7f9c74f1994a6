"""Every private name of azure-servicebus that the transport relies on, and nothing else.

The public API settles one message at a time and waits for each, up to 0.2 s behind an idle reader. Below it, links can
be read when their socket is readable, credit can be set exactly, and dispositions can be pipelined. The version is
pinned and checked at start, and a contract test fails when one of these names changes.

What is used of `azure.servicebus` 7.15 (receiver and sender are the public objects, `handler` is `._handler`):

* `receiver._create_handler(auth)`, `handler.open()`, `handler.client_ready()`, `receiver._running`: the body of the
  SDK's own `_open` without its `time.sleep(0.05)` after every frame (3 ms instead of 0.46 s).
* `handler._connection`: `.listen(wait=False)` reads one frame; `._error`; `._transport.sock`
  (of a WebSocket: the object around it); `._transport._read_buffer`: what a WebSocket message held beyond one frame;
  `._get_remote_timeout(now)` sends the empty frame that keeps an idle connection alive.
* `handler._link`: `.flow(link_credit=n)` (absolute), `.current_link_credit`, `.get_state()` (raises the link's error),
  `._outgoing_disposition(...)`, `._pending_dispositions` (filled when the peer confirms).
* `handler._received_messages`: queue of `(frame, message)`; `receiver._build_received_message` makes the public one.
* `handler._cbs_authenticator.handle_token()`: refreshes the token; the SDK only calls it inside its own receive loop.
* `message._delivery_id`, `message._delivery_tag`.
* `receiver._renew_locks(*tokens)` (several locks in one request) and `receiver._settle_message_via_mgmt_link(...)`
  (settle by lock token; the public methods first refuse by the local clock).
* `sender._max_message_size_on_link`, `sender._max_batch_size_on_link`: set by the SDK's own `_open`.
"""

import logging
import select
import socket
import time
from contextlib import suppress
from importlib.metadata import version
from io import BytesIO
from typing import Any, Final
from uuid import UUID

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import (
    MessageLockLostError,
    ServiceBusAuthenticationError,
    ServiceBusConnectionError,
    ServiceBusError,
)

from geoetl.transport.delivery import Delivery, Outcome
from geoetl.transport.errors import UnsupportedSdkError
from geoetl.transport.sockets import close_socket, raw_socket

#: The release series whose private names this file knows.
SUPPORTED_SERIES: Final = "7.15."


def check_version() -> None:
    """Raise UnsupportedSdkError for an SDK whose private names may differ."""
    installed = version("azure-servicebus")
    if not installed.startswith(SUPPORTED_SERIES):
        raise UnsupportedSdkError(
            f"azure-servicebus {installed} is installed; this transport uses private names of {SUPPORTED_SERIES}x. "
            f"Install 'azure-servicebus~={SUPPORTED_SERIES}0'."
        )


try:
    from azure.servicebus._common.utils import create_authentication
    from azure.servicebus._pyamqp.constants import LinkState
    from azure.servicebus._pyamqp.error import AMQPError, TokenAuthFailure
    from azure.servicebus._pyamqp.outcomes import Accepted, Modified, Rejected, Released
    from azure.servicebus._pyamqp.receiver import check_disposition_outcome, outcome_name
    from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
except ImportError as error:
    check_version()  # says what to install when this is the reason
    raise UnsupportedSdkError(f"azure-servicebus lacks a private name that this transport needs: {error}") from error

#: Longest wait for a link to be attached and authorised.
OPEN_TIMEOUT_S: Final = 15.0

#: The service's blocking read: only reached for the rest of a frame whose beginning has arrived.
SOCKET_TIMEOUT_S: Final = 0.05

#: Frames read from one link before the other links get their turn.
FRAMES_PER_READ: Final = 200

#: The limit of Standard namespaces, and of a batch on any namespace that does not say otherwise.
STANDARD_MESSAGE_LIMIT_BYTES: Final = 256 * 1024

#: The service's words for settling by token; `released` cannot be said that way.
DISPOSITION_STATUS: Final = {
    Outcome.COMPLETE: "completed",
    Outcome.ABANDON: "abandoned",
    Outcome.RELEASE: "abandoned",
    Outcome.DEAD_LETTER: "suspended",
}

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


def _open(handle: Any) -> socket.socket:
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


class ReceivingLink:
    """An open receive link, read without blocking. Not thread-safe: the reactor owns it."""

    def __init__(self, receiver: ServiceBusReceiver) -> None:
        self.sock = _open(receiver)
        self._receiver: Any = receiver
        self._handler = self._receiver._handler
        self._connection = self._handler._connection
        self._link = self._handler._link
        self._poll = select.poll()
        self._poll.register(self.sock, select.POLLIN)
        #: Dispositions sent and not yet confirmed: delivery id -> (SDK's record, delivery, outcome, sent at).
        self._unconfirmed: dict[int, tuple[dict[str, Any], Delivery, Any, float]] = {}

    def read(self) -> tuple[list[ServiceBusReceivedMessage], bool]:
        """Process what has arrived: the new messages, and whether more input waits.

        Raises:
            Exception: the link or connection is gone; an SDK error or OSError (see `translate`).
        """
        frames = 0
        while frames < FRAMES_PER_READ and self._has_input():
            self._connection.listen(wait=False)
            if self._connection._error:
                raise self._connection._error
            frames += 1
        if self._link.get_state() is not LinkState.ATTACHED:
            raise ServiceBusConnectionError(message=f"The receive link is {self._link.state.name.lower()}.")
        messages: list[ServiceBusReceivedMessage] = []
        arrived = self._handler._received_messages
        while not arrived.empty():
            messages.append(self._receiver._build_received_message(arrived.get_nowait()))
        return messages, frames == FRAMES_PER_READ

    def _has_input(self) -> bool:
        # TLS may hold decrypted bytes that poll() cannot see, and a WebSocket message may hold several frames.
        pending = getattr(self.sock, "pending", None)
        left: BytesIO = self._connection._transport._read_buffer
        has_left = left.tell() < left.getbuffer().nbytes
        return has_left or bool(self._poll.poll(0)) or (pending is not None and pending() > 0)

    @property
    def credit(self) -> int:
        return self._link.current_link_credit

    def set_credit(self, credit: int) -> None:
        self._link.flow(link_credit=credit)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Send the outcome; `confirmed` tells later whether it was applied. A release needs no confirmation."""
        message: Any = delivery.message
        state = _delivery_state(delivery, outcome)
        if outcome is Outcome.RELEASE:
            self._link._outgoing_disposition(message._delivery_id, None, message._delivery_tag, True, state, None)
            return
        # The answer can only be seen by a later `read`, so registering after sending is early enough.
        self._link._outgoing_disposition(message._delivery_id, None, message._delivery_tag, False, state, None)
        record: dict[str, Any] = {"settled": False, "outcome": None}
        self._link._pending_dispositions[message._delivery_id] = record
        self._unconfirmed[message._delivery_id] = record, delivery, state, time.monotonic()

    def confirmed(self) -> list[tuple[Delivery, Exception | None]]:
        """Take the deliveries whose settlement the service has answered, with its error if it refused."""
        answers: list[tuple[Delivery, Exception | None]] = []
        for delivery_id in [i for i, entry in self._unconfirmed.items() if entry[0]["settled"]]:
            record, delivery, state, _ = self._unconfirmed.pop(delivery_id)
            self._link._pending_dispositions.pop(delivery_id, None)
            try:
                check_disposition_outcome(delivery_id, record["outcome"], outcome_name(state))
                answers.append((delivery, None))
            except Exception as error:
                answers.append((delivery, translate(error)))
        return answers

    def take_unconfirmed(self, *, older_than_s: float = 0.0) -> list[Delivery]:
        """Take the deliveries whose settlement was sent but not answered; they must be settled another way."""
        limit = time.monotonic() - older_than_s
        overdue = [i for i, entry in self._unconfirmed.items() if entry[3] <= limit]
        for delivery_id in overdue:
            self._link._pending_dispositions.pop(delivery_id, None)
        return [self._unconfirmed.pop(i)[1] for i in overdue]

    @property
    def has_unconfirmed(self) -> bool:
        return bool(self._unconfirmed)

    def tick(self) -> None:
        """Keep an idle link alive: the empty frame the peer asked for, and a fresh token when due."""
        self._connection._get_remote_timeout(time.time())
        if self._handler._cbs_authenticator is not None:
            self._handler._cbs_authenticator.handle_token()

    def close(self) -> None:
        """Release what has arrived, detach, close. May take some 0.1 s; not for the reactor thread."""
        with suppress(Exception):  # the peer may be gone at any step; the socket is closed in any case
            self._receiver.close()
        close_socket(self.sock)


class ControlLink:
    """Requests about locked messages by lock token. Never given credit, so it never takes a message."""

    def __init__(self, receiver: ServiceBusReceiver) -> None:
        self.sock = _open(receiver)
        self._receiver: Any = receiver

    def renew(self, tokens: list[UUID], *, timeout_s: float) -> None:
        """Renew several locks in one request; one dead token fails them all with MessageLockLostError."""
        self._receiver._renew_locks(*tokens, timeout=timeout_s)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Settle by lock token; MessageLockLostError may also mean that an earlier settlement was applied after all."""
        details = None
        if outcome is Outcome.DEAD_LETTER:
            details = {"deadletter-reason": delivery.reason, "deadletter-description": delivery.description}
        status = DISPOSITION_STATUS[outcome]
        self._receiver._settle_message_via_mgmt_link(status, [delivery.token], dead_letter_details=details)


class SendingLink:
    """An open sender. For one thread at a time."""

    def __init__(self, sender: ServiceBusSender) -> None:
        self.sock = _open(sender)
        self.sender = sender
        handle: Any = sender
        limit = PyamqpTransport.get_remote_max_message_size(handle._handler)
        #: The largest message the link accepts.
        self.message_limit_bytes: int = limit or STANDARD_MESSAGE_LIMIT_BYTES
        batch_limit = PyamqpTransport.get_remote_max_message_batch_size(handle._handler)
        handle._max_message_size_on_link = self.message_limit_bytes
        handle._max_batch_size_on_link = min(batch_limit or STANDARD_MESSAGE_LIMIT_BYTES, self.message_limit_bytes)


def _delivery_state(delivery: Delivery, outcome: Outcome) -> Any:
    match outcome:
        case Outcome.COMPLETE:
            return Accepted()
        case Outcome.RELEASE:
            return Released()
        case Outcome.ABANDON:
            return Modified(delivery_failed=True, undeliverable_here=False)
        case Outcome.DEAD_LETTER:
            info = {"DeadLetterReason": delivery.reason, "DeadLetterErrorDescription": delivery.description}
            return Rejected(
                error=AMQPError(condition=b"com.microsoft:dead-letter", description=delivery.description, info=info)
            )


def encoded_size(message: ServiceBusMessage) -> int:
    """Bytes that a message takes on the wire."""
    outgoing: Any = message
    encoded = PyamqpTransport.to_outgoing_amqp_message(outgoing.raw_amqp_message)
    return PyamqpTransport.get_message_encoded_size(encoded)
