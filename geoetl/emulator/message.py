"""A message at rest: its sections as they came, and what the queue knows about it.

Sections the broker does not read (properties, application properties, body) stay encoded; only the header and the
annotations are taken apart, because the broker writes its own on delivery. AMQP 1.0, part 3.2.
"""

import enum
import struct
from dataclasses import dataclass, field, replace
from typing import Any, Final

from geoetl.emulator.amqp_types import Int, Symbol, Timestamp, UByte, UInt
from geoetl.emulator.conditions import DECODE_ERROR, ServiceBusError
from geoetl.emulator.decode import DecodeError, decode, skip
from geoetl.emulator.encode import encode, encode_described

HEADER: Final = 0x70
DELIVERY_ANNOTATIONS: Final = 0x71
MESSAGE_ANNOTATIONS: Final = 0x72
PROPERTIES: Final = 0x73
APPLICATION_PROPERTIES: Final = 0x74
DATA: Final = 0x75
AMQP_SEQUENCE: Final = 0x76
AMQP_VALUE: Final = 0x77
FOOTER: Final = 0x78

#: Application properties of dead letters.
DEAD_LETTER_REASON: Final = "DeadLetterReason"
DEAD_LETTER_DESCRIPTION: Final = "DeadLetterErrorDescription"

SCHEDULED_ENQUEUE_TIME: Final = Symbol("x-opt-scheduled-enqueue-time")
_ENQUEUED_TIME: Final = Symbol("x-opt-enqueued-time")
_SEQUENCE_NUMBER: Final = Symbol("x-opt-sequence-number")
_ENQUEUE_SEQUENCE_NUMBER: Final = Symbol("x-opt-enqueue-sequence-number")
_LOCKED_UNTIL: Final = Symbol("x-opt-locked-until")
_MESSAGE_STATE: Final = Symbol("x-opt-message-state")
_DEADLETTER_SOURCE: Final = Symbol("x-opt-deadletter-source")
_BROKER_ANNOTATIONS: Final = frozenset(
    {_ENQUEUED_TIME, _SEQUENCE_NUMBER, _ENQUEUE_SEQUENCE_NUMBER, _LOCKED_UNTIL, _MESSAGE_STATE, _DEADLETTER_SOURCE}
)

#: Annotations of a delivery without any of its own, as a fixed layout: two or three entries, the keys already encoded.
_PEEKED = struct.Struct(f">6s{2 + len(_ENQUEUED_TIME)}scq{2 + len(_SEQUENCE_NUMBER)}scq")
_LOCKED = struct.Struct(f"{_PEEKED.format}{2 + len(_LOCKED_UNTIL)}scq")
_PEEKED_START = b"\x00\x53\x72\xc1" + bytes((_PEEKED.size - 5,))
_LOCKED_START = b"\x00\x53\x72\xc1" + bytes((_LOCKED.size - 5,))
_KEYS = [encode(key) for key in (_ENQUEUED_TIME, _SEQUENCE_NUMBER, _LOCKED_UNTIL)]


class State(enum.IntEnum):
    """Where a message is in its life. The first three are the values of `x-opt-message-state`."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2
    GONE = 3


@dataclass(slots=True)
class Message:
    """A message in a queue. Times are seconds since the Unix epoch."""

    properties: bytes = b""
    application_properties: bytes = b""
    body: bytes = b""
    annotations: dict[Any, Any] = field(default_factory=dict[Any, Any])
    durable: bool = False
    priority: int | None = None
    #: Time to live as the sender gave it, in milliseconds.
    ttl_ms: int | None = None
    sequence_number: int = 0
    enqueued_at: float = 0.0
    delivery_count: int = 0
    state: State = State.ACTIVE
    #: When a scheduled message becomes active.
    due_at: float = 0.0
    #: When the message expires; before it is taken in: the latest time it may.
    expires_at: float | None = None
    #: 16 bytes in GUID byte order, as they travel in the delivery tag; None while nobody holds the message.
    lock_token: bytes | None = None
    locked_until: float = 0.0
    #: How often it was forwarded on its way here; of no more interest once it is at rest.
    hops: int = 0

    @property
    def is_ready(self) -> bool:
        """Whether it can be handed out."""
        return self.state is State.ACTIVE and self.lock_token is None

    @property
    def size_bytes(self) -> int:
        return len(self.properties) + len(self.application_properties) + len(self.body)

    @property
    def scheduled_enqueue_at(self) -> float | None:
        """The time the sender asked for."""
        at = self.annotations.get(SCHEDULED_ENQUEUE_TIME)
        return at / 1000 if isinstance(at, int) else None

    def read_properties(self) -> list[Any]:
        """The 13 fields of the properties section, nulls where the sender gave none."""
        fields: list[Any] = _section_value(self.properties, list) or []
        return (fields + [None] * 13)[:13]

    def read_application_properties(self) -> dict[Any, Any]:
        return _section_value(self.application_properties, dict) or {}

    def read_value(self) -> Any:
        """The body, when it is a single AMQP value; else None."""
        return decode(self.body, 3)[0] if self.body[:3] == _section_start(AMQP_VALUE) else None

    def dead_letter(self, source: str, reason: str | None, description: str | None) -> "Message":
        """The copy that goes to the dead-letter queue of a source; it never expires there."""
        extra = {DEAD_LETTER_REASON: reason, DEAD_LETTER_DESCRIPTION: description}
        given = {key: value for key, value in extra.items() if value is not None}
        section = self.with_application_properties(given) if given else self.application_properties
        annotations = {
            **self.annotations,
            _DEADLETTER_SOURCE: source,
            _ENQUEUE_SEQUENCE_NUMBER: self.sequence_number,
        }
        return replace(
            self,
            application_properties=section,
            annotations=annotations,
            state=State.ACTIVE,
            expires_at=None,
            lock_token=None,
        )

    def copy(self, *, expires_at: float | None = None) -> "Message":
        """What another entity takes in: as fresh as if it were sent there, but for the number it was first given.

        Args:
            expires_at: the latest time it may expire.
        """
        return replace(
            self,
            annotations={_ENQUEUE_SEQUENCE_NUMBER: self.sequence_number, **self.annotations},
            delivery_count=0,
            state=State.ACTIVE,
            expires_at=expires_at,
            lock_token=None,
        )

    def onward(self) -> "Message":
        """The copy that is forwarded."""
        onward = self.copy()
        onward.hops += 1
        return onward

    def with_application_properties(self, changes: dict[Any, Any]) -> bytes:
        """The application properties section with some of them changed."""
        try:
            given = self.read_application_properties()
        except ServiceBusError:
            # Nobody checks the section on its way in. What cannot be read cannot be read by a receiver either.
            given = {}
        return _section_start(APPLICATION_PROPERTIES) + encode({**given, **changes})

    def encode_delivery(self) -> bytes:
        """The message as a receiver gets it, with the broker's annotations."""
        if self.annotations:
            annotations = self.annotations | {
                _ENQUEUED_TIME: Timestamp(self.enqueued_at * 1000),
                _SEQUENCE_NUMBER: self.sequence_number,
            }
            if self.lock_token is not None:
                annotations[_LOCKED_UNTIL] = Timestamp(self.locked_until * 1000)
            section = _section_start(MESSAGE_ANNOTATIONS) + encode(annotations)
        else:
            section = self._encode_plain_annotations()
        return b"".join((self._encode_header(), section, self.properties, self.application_properties, self.body))

    def encode_peeked(self) -> bytes:
        """The message as peek shows it: no lock, but its state."""
        annotations = self.annotations | {
            _ENQUEUED_TIME: Timestamp(self.enqueued_at * 1000),
            _SEQUENCE_NUMBER: self.sequence_number,
            _MESSAGE_STATE: Int(self.state),
        }
        section = _section_start(MESSAGE_ANNOTATIONS) + encode(annotations)
        return b"".join((self._encode_header(), section, self.properties, self.application_properties, self.body))

    def _encode_header(self) -> bytes:
        return encode_described(
            HEADER,
            [
                self.durable,
                None if self.priority is None else UByte(self.priority),
                None if self.ttl_ms is None else UInt(self.ttl_ms),
                None,
                UInt(self.delivery_count),
            ],
        )

    def _encode_plain_annotations(self) -> bytes:
        enqueued, sequence = int(self.enqueued_at * 1000), self.sequence_number
        if self.lock_token is None:
            return _PEEKED.pack(_PEEKED_START + b"\x04", _KEYS[0], b"\x83", enqueued, _KEYS[1], b"\x81", sequence)
        return _LOCKED.pack(
            _LOCKED_START + b"\x06",
            *(_KEYS[0], b"\x83", enqueued, _KEYS[1], b"\x81", sequence),
            *(_KEYS[2], b"\x83", int(self.locked_until * 1000)),
        )


def parse_message(data: bytes) -> Message:
    """Takes an encoded message apart.

    Raises:
        ServiceBusError: the bytes are not the sections of a message.
    """
    message, body = Message(), list[bytes]()
    try:
        for code, start, value_at, end in _sections(data):
            if code == HEADER:
                _read_header(message, decode(data, value_at)[0])
            elif code == MESSAGE_ANNOTATIONS:
                message.annotations = _expect(decode(data, value_at)[0], dict)
                # A message received and sent again still carries what the broker wrote on it.
                for key in _BROKER_ANNOTATIONS & message.annotations.keys():
                    del message.annotations[key]
            elif code == PROPERTIES:
                message.properties = _section_start(PROPERTIES) + data[value_at:end]
            elif code == APPLICATION_PROPERTIES:
                message.application_properties = _section_start(APPLICATION_PROPERTIES) + data[value_at:end]
            elif code != DELIVERY_ANNOTATIONS:
                body.append(data[start:end])
    except DecodeError as error:
        raise ServiceBusError(DECODE_ERROR, f"The message is not encoded as AMQP 1.0 asks: {error}") from error
    message.body = body[0] if len(body) == 1 else b"".join(body)
    return message


def parse_batch(data: bytes) -> list[Message]:
    """The messages of a batch, in order.

    Raises:
        ServiceBusError: the bytes are not a batch, or one of its messages is malformed.
    """
    try:
        parts = [decode(data, value_at)[0] for code, _, value_at, _ in _sections(data) if code == DATA]
    except DecodeError as error:
        raise ServiceBusError(DECODE_ERROR, f"The batch is not encoded as AMQP 1.0 asks: {error}") from error
    return [parse_message(_expect(part, bytes)) for part in parts]


def _sections(data: bytes) -> list[tuple[int, int, int, int]]:
    """Descriptor code, start, position of the value and end of each section."""
    found: list[tuple[int, int, int, int]] = []
    at, size = 0, len(data)
    while at < size:
        start = at
        if data[start : start + 2] == b"\x00\x53" and start + 2 < size:
            code, value_at = data[start + 2], start + 3
        elif data[start] == 0:
            descriptor, value_at = decode(data, start + 1)
            code = int(_expect(descriptor, int))
        else:
            raise DecodeError(f"byte {start} does not begin a section")
        if not HEADER <= code <= FOOTER:
            raise DecodeError(f"section at byte {start} has the unknown descriptor {code:#x}")
        at = skip(data, value_at)
        found.append((code, start, value_at, at))
    return found


def _read_header(message: Message, fields: Any) -> None:
    durable, priority, ttl_ms = (_expect(fields, list) + [None] * 3)[:3]
    message.durable = bool(durable)
    message.priority = None if priority is None else _expect(priority, UByte)
    message.ttl_ms = None if ttl_ms is None else _expect(ttl_ms, UInt)


def _section_start(code: int) -> bytes:
    return b"\x00\x53" + bytes((code,))


def _section_value(section: bytes, kind: type[Any]) -> Any:
    try:
        return _expect(decode(section, 3)[0], kind) if section else None
    except DecodeError as error:
        raise ServiceBusError(DECODE_ERROR, f"A section of the message cannot be read: {error}") from error


def _expect[T](value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise ServiceBusError(DECODE_ERROR, f"Expected {kind.__name__} in the message, got {type(value).__name__}.")
    return value
