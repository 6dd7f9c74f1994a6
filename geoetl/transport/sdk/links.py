"""Links for requests by lock token, and for sending."""

from typing import Any, Final
from uuid import UUID

from azure.servicebus import (
    ServiceBusMessage,
    ServiceBusMessageBatch,
    ServiceBusReceivedMessage,
    ServiceBusReceiver,
    ServiceBusSender,
)

from geoetl.transport.delivery import Delivery, Outcome
from geoetl.transport.sdk.opening import open_link
from geoetl.transport.sdk.private import PyamqpTransport, encode_payload
from geoetl.transport.sockets import close_socket

#: The limit of Standard namespaces, and of a batch on any namespace that does not say otherwise.
STANDARD_MESSAGE_LIMIT_BYTES: Final = 256 * 1024

#: What the SDK leaves out when it counts the bytes of a batch: the first message's id, session and partition key (128
#: characters each), which it repeats around the batch.
_BATCH_ENVELOPE_BYTES: Final = 512

#: The service's words for settling by token; `released` cannot be said that way.
DISPOSITION_STATUS: Final = {
    Outcome.COMPLETE: "completed",
    Outcome.ABANDON: "abandoned",
    Outcome.RELEASE: "abandoned",
    Outcome.DEAD_LETTER: "suspended",
}


class ControlLink:
    """Requests about locked messages by lock token. Never given credit, so it never takes a message."""

    def __init__(self, receiver: ServiceBusReceiver) -> None:
        self.sock = open_link(receiver)
        self._receiver: Any = receiver

    def renew(self, tokens: list[UUID], *, timeout_s: float) -> None:
        """Renew several locks in one request; one dead token fails them all with MessageLockLostError."""
        self._receiver._renew_locks(*tokens, timeout=timeout_s)

    def peek(self, limit: int) -> list[ServiceBusReceivedMessage]:
        """The oldest messages of the queue, scheduled ones too, unlocked and unchanged."""
        return self._receiver.peek_messages(limit)

    def close(self) -> None:
        """Drop the connection without a farewell, which would take half a second."""
        close_socket(self.sock)

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
        self.sock = open_link(sender)
        self.sender = sender
        handle: Any = sender
        limit = PyamqpTransport.get_remote_max_message_size(handle._handler)
        #: The largest message the link accepts.
        self.message_limit_bytes: int = limit or STANDARD_MESSAGE_LIMIT_BYTES
        batch_limit = PyamqpTransport.get_remote_max_message_batch_size(handle._handler)
        handle._max_message_size_on_link = self.message_limit_bytes
        handle._max_batch_size_on_link = min(batch_limit or STANDARD_MESSAGE_LIMIT_BYTES, self.message_limit_bytes)
        #: The largest batch the link accepts, as the SDK counts.
        self.batch_limit_bytes: int = handle._max_batch_size_on_link - _BATCH_ENVELOPE_BYTES


def new_batch(limit_bytes: int) -> ServiceBusMessageBatch:
    """The SDK's batch, at half its cost."""
    return ServiceBusMessageBatch(limit_bytes, amqp_transport=_EncodeOnce())


class _EncodeOnce(PyamqpTransport):
    """Makes the SDK's batch keep the bytes that it encoded to learn their number, instead of encoding once more."""

    def __init__(self) -> None:
        self._encoded = bytearray()

    def get_message_encoded_size(self, message: Any) -> int:  # pyright: ignore[reportIncompatibleMethodOverride] - static there
        self._encoded = bytearray()
        encode_payload(self._encoded, message)
        return len(self._encoded)

    def add_batch(self, sb_message_batch: Any, outgoing_sb_message: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Called for the message whose size was asked for last."""
        sb_message_batch._message[5].append(self._encoded)


def encoded_size(message: ServiceBusMessage) -> int:
    """Bytes that a message takes on the wire."""
    outgoing: Any = message
    encoded = PyamqpTransport.to_outgoing_amqp_message(outgoing.raw_amqp_message)
    return PyamqpTransport.get_message_encoded_size(encoded)
