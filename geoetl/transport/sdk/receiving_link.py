"""A receive link that is read when its socket is readable."""

import select
import time
from contextlib import suppress
from io import BytesIO
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage, ServiceBusReceiver
from azure.servicebus.exceptions import ServiceBusConnectionError

from geoetl.transport.delivery import Delivery, Outcome
from geoetl.transport.frames import has_more, has_whole_frame, read_available
from geoetl.transport.sdk.opening import open_link, translate
from geoetl.transport.sdk.private import (
    Accepted,
    AMQPError,
    LinkState,
    Modified,
    Rejected,
    Released,
    check_disposition_outcome,
    outcome_name,
)
from geoetl.transport.sockets import close_socket

#: A token is replaced this long before it ends, or longer: the SDK does it in the last tenth of its life, which for a
#: token of a few seconds (a cached one near its end, too) is less than the second between two ticks. A link whose token
#: has ended is lost, and what had just arrived on it is locked for nobody.
RENEW_TOKEN_AHEAD_S = 5


class ReceivingLink:
    """An open receive link, read without blocking. Not thread-safe: the reactor owns it."""

    def __init__(self, receiver: ServiceBusReceiver) -> None:
        self.sock = open_link(receiver)
        self._receiver: Any = receiver
        self._handler = self._receiver._handler
        self._connection = self._handler._connection
        self._link = self._handler._link
        #: Why the link or its connection is gone, once `read` has found that; for `translate`.
        self.lost: Exception | None = None
        self._poll = select.poll()
        self._poll.register(self.sock, select.POLLIN)
        #: Frames held back by `hold_frames`.
        self._held: list[bytes] = []
        #: Dispositions sent and not yet confirmed: delivery id -> (SDK's record, delivery, outcome, sent at).
        self._unconfirmed: dict[int, tuple[dict[str, Any], Delivery, Any, float]] = {}

    def read(self) -> tuple[list[ServiceBusReceivedMessage], bool]:
        """Process what has arrived: the new messages, and whether more input waits. `lost` may be set afterwards."""
        more = False
        try:
            more = self._fill()
            self._listen()
        except Exception as error:  # what came before it is ours all the same
            self.lost = error
        messages: list[ServiceBusReceivedMessage] = []
        arrived = self._handler._received_messages
        while not arrived.empty():
            messages.append(self._receiver._build_received_message(arrived.get_nowait()))
        return messages, more

    def _listen(self) -> None:
        while self._has_frame():
            self._connection.listen(wait=False)
            if self._connection._error:
                raise self._connection._error
        if self._link.get_state() is not LinkState.ATTACHED:
            raise ServiceBusConnectionError(message=f"The receive link is {self._link.state.name.lower()}.")

    def _fill(self) -> bool:
        """Move what the socket has into the SDK's buffer; whether more waits."""
        transport = self._connection._transport
        if transport.sock is not self.sock:  # a WebSocket: its object reads the socket
            return False
        taken = read_available(self.sock)
        if taken:
            transport._read_buffer = BytesIO(transport._read_buffer.read() + taken)
        return has_more(self.sock, taken)

    def _has_frame(self) -> bool:
        transport = self._connection._transport
        left: BytesIO = transport._read_buffer
        if transport.sock is self.sock:
            return has_whole_frame(left)
        # A WebSocket message may hold several frames, and TLS decrypted bytes that poll() cannot see.
        pending = getattr(self.sock, "pending", None)
        has_left = left.tell() < left.getbuffer().nbytes
        return has_left or bool(self._poll.poll(0)) or (pending is not None and pending() > 0)

    @property
    def credit(self) -> int:
        return self._link.current_link_credit

    def set_credit(self, credit: int) -> None:
        self._link.flow(link_credit=credit)

    def hold_frames(self) -> None:
        """Keep what is sent from now on, for one system call instead of one for each frame."""
        self._connection._transport.write = self._held.append

    def send_frames(self) -> None:
        """Send what was kept.

        Raises:
            OSError: it could not be written; the link is gone.
        """
        transport = self._connection._transport
        vars(transport).pop("write", None)
        frames = b"".join(self._held)
        self._held.clear()
        if frames:
            transport.write(frames)

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
        authenticator = self._handler._cbs_authenticator
        if authenticator is not None:
            if authenticator._refresh_window is not None:
                authenticator._refresh_window = max(authenticator._refresh_window, RENEW_TOKEN_AHEAD_S)
            authenticator.handle_token()

    def close(self) -> None:
        """Release what has arrived, detach, close. May take some 0.1 s; not for the reactor thread."""
        with suppress(Exception):  # the peer may be gone at any step; the socket is closed in any case
            self._receiver.close()
        close_socket(self.sock)


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
