"""The frame bodies of AMQP 1.0: transport performatives (part 2.7) and SASL (part 5.3).

Named tuples rather than dataclasses: the field order *is* the wire order, they are immutable, and one is built for
every transfer and disposition.
"""

from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_type_hints

from geoetl.emulator.amqp_types import Array, Described, Symbol, UByte, UInt, ULong, UShort
from geoetl.emulator.decode import DecodeError, decode
from geoetl.emulator.encode import encode_described, pack_u32


class Open(NamedTuple):
    """Negotiates the connection."""

    container_id: str
    hostname: str | None = None
    max_frame_size: UInt | None = None
    channel_max: UShort | None = None
    idle_time_out: UInt | None = None
    outgoing_locales: Any = None
    incoming_locales: Any = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict[Any, Any] | None = None


class Begin(NamedTuple):
    """Begins a session on a channel."""

    remote_channel: UShort | None
    next_outgoing_id: UInt
    incoming_window: UInt
    outgoing_window: UInt
    handle_max: UInt | None = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict[Any, Any] | None = None


class Attach(NamedTuple):
    """Attaches a link to a session. `role` is true for a receiver."""

    name: str
    handle: UInt
    role: bool
    snd_settle_mode: UByte | None = None
    rcv_settle_mode: UByte | None = None
    source: Described | None = None
    target: Described | None = None
    unsettled: dict[Any, Any] | None = None
    incomplete_unsettled: bool | None = None
    initial_delivery_count: UInt | None = None
    max_message_size: ULong | None = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict[Any, Any] | None = None


class Flow(NamedTuple):
    """Updates the windows of a session and, with a handle, the credit of a link."""

    next_incoming_id: UInt | None
    incoming_window: UInt
    next_outgoing_id: UInt
    outgoing_window: UInt
    handle: UInt | None = None
    delivery_count: UInt | None = None
    link_credit: UInt | None = None
    available: UInt | None = None
    drain: bool | None = None
    echo: bool | None = None
    properties: dict[Any, Any] | None = None


class Transfer(NamedTuple):
    """Carries a message or a part of one."""

    handle: UInt
    delivery_id: UInt | None = None
    delivery_tag: bytes | None = None
    message_format: UInt | None = None
    settled: bool | None = None
    more: bool | None = None
    rcv_settle_mode: UByte | None = None
    state: Described | None = None
    resume: bool | None = None
    aborted: bool | None = None
    batchable: bool | None = None


class Disposition(NamedTuple):
    """States what became of deliveries. `role` is that of the sender of this frame: true for a receiver."""

    role: bool
    first: UInt
    last: UInt | None = None
    settled: bool | None = None
    state: Described | None = None
    batchable: bool | None = None


class Detach(NamedTuple):
    """Detaches or closes a link."""

    handle: UInt
    closed: bool | None = None
    error: Described | None = None


class End(NamedTuple):
    """Ends a session."""

    error: Described | None = None


class Close(NamedTuple):
    """Ends the connection."""

    error: Described | None = None


class SaslMechanisms(NamedTuple):
    """What the server offers."""

    mechanisms: Array | Symbol


class SaslInit(NamedTuple):
    """What the client chose."""

    mechanism: Symbol
    initial_response: bytes | None = None
    hostname: str | None = None


class SaslOutcome(NamedTuple):
    """How the negotiation ended: 0 is ok, 1 wrong credentials."""

    code: UByte
    additional_data: bytes | None = None


type Performative = (
    Open
    | Begin
    | Attach
    | Flow
    | Transfer
    | Disposition
    | Detach
    | End
    | Close
    | SaslMechanisms
    | SaslInit
    | SaslOutcome
)

_CODES: dict[type[Any], int] = {
    Open: 0x10,
    Begin: 0x11,
    Attach: 0x12,
    Flow: 0x13,
    Transfer: 0x14,
    Disposition: 0x15,
    Detach: 0x16,
    End: 0x17,
    Close: 0x18,
    SaslMechanisms: 0x40,
    SaslInit: 0x41,
    SaslOutcome: 0x44,
}


class _Field(NamedTuple):
    kinds: tuple[type, ...]
    is_required: bool


def _fields(kind: type[Any]) -> tuple[_Field, ...]:
    """The types a peer may send in each field, read from the annotations; `Any` fields are taken as they come."""
    fields: list[_Field] = []
    for hint in get_type_hints(kind).values():
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        plain = tuple(_plain(each) for each in kinds if each is not NoneType)
        fields.append(_Field(plain, is_required=hint is not Any and NoneType not in kinds))
    return tuple(fields)


def _plain(hint: Any) -> type:
    return object if hint is Any else getattr(hint, "__origin__", hint)


_LAYOUTS: dict[int, tuple[type[Any], tuple[_Field, ...]]] = {
    code: (kind, _fields(kind)) for kind, code in _CODES.items()
}


def encode_performative(performative: Performative) -> bytes:
    """The frame body of a performative."""
    return encode_described(_CODES[type(performative)], list(performative))


def decode_performative(body: bytes) -> tuple[Performative, int]:
    """The performative at the start of a frame body, and where the payload after it begins.

    Raises:
        DecodeError: the body does not start with a known performative, or a field is missing or has the wrong type.
    """
    value, end = decode(body)
    if not isinstance(value, Described) or not isinstance(value.value, list):
        raise DecodeError("frame body does not start with a performative")
    if not isinstance(value.descriptor, ULong) or value.descriptor not in _LAYOUTS:
        raise DecodeError(f"frame body starts with the unknown descriptor {value.descriptor!r}")
    kind, fields = _LAYOUTS[value.descriptor]
    values: list[Any] = value.value
    if len(values) > len(fields):
        raise DecodeError(f"{kind.__name__} has {len(fields)} fields, got {len(values)}")
    for field, given in zip(fields, values, strict=False):
        if given is None:
            if field.is_required:
                raise DecodeError(f"{kind.__name__} lacks a mandatory field")
        elif not isinstance(given, field.kinds):
            raise DecodeError(
                f"{kind.__name__} has a field of type {type(given).__name__} where AMQP wants {field.kinds}"
            )
    try:
        return kind(*values), end
    except TypeError:
        raise DecodeError(f"{kind.__name__} lacks mandatory fields") from None


def encode_transfer(handle: int, delivery_id: int, tag: bytes, *, settled: bool) -> bytes:
    """The body of a transfer that carries a whole message: what :func:`encode_performative` would say, but faster.

    Args:
        handle: the link's output handle.
        delivery_id: the delivery's number in its session.
        tag: 16 bytes, the lock token in GUID byte order.
        settled: whether the delivery is sent settled.
    """
    return b"".join(
        (
            b"\x00\x53\x14\xc0\x1f\x05\x70",
            pack_u32(handle),
            b"\x70",
            pack_u32(delivery_id),
            b"\xa0\x10",
            tag,
            b"\x43",
            b"\x41" if settled else b"\x42",
        )
    )


def encode_settled(role: bool, delivery_id: int, state: bytes) -> bytes:
    """The body of a disposition that settles one delivery with an encoded outcome."""
    size = 13 + len(state)
    if size > 255:
        return encode_performative(
            Disposition(role, UInt(delivery_id), UInt(delivery_id), settled=True, state=decode(state)[0])
        )
    number = pack_u32(delivery_id)
    return b"".join(
        (
            b"\x00\x53\x15\xc0",
            bytes((size, 5)),
            b"\x41\x70" if role else b"\x42\x70",
            number,
            b"\x70",
            number,
            b"\x41",
            state,
        )
    )
