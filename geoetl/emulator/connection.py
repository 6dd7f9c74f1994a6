"""An AMQP connection: protocol headers, SASL, open and close, heartbeats, and frames to and from its sessions."""

import asyncio
import enum
import logging
from collections.abc import Callable
from typing import Final, cast

from geoetl.emulator.amqp_types import Array, Symbol, UByte, UInt, UShort
from geoetl.emulator.broker import Broker
from geoetl.emulator.conditions import (
    CONNECTION_FORCED,
    DECODE_ERROR,
    FRAMING_ERROR,
    INTERNAL_ERROR,
    NOT_ALLOWED,
    RESOURCE_LIMIT_EXCEEDED,
    UNAUTHORIZED,
    ServiceBusError,
)
from geoetl.emulator.decode import DecodeError
from geoetl.emulator.entities import Entity
from geoetl.emulator.frame_writer import FrameWriter
from geoetl.emulator.frames import (
    AMQP_FRAME,
    AMQP_HEADER,
    EMPTY_FRAME,
    FRAME_HEADER_SIZE,
    SASL_FRAME,
    SASL_HEADER,
    Frame,
    FrameReader,
)
from geoetl.emulator.grant_watch import GrantWatch
from geoetl.emulator.links import Link
from geoetl.emulator.liveness import Liveness
from geoetl.emulator.locks import NEVER
from geoetl.emulator.nodes import is_cbs
from geoetl.emulator.outcomes import error_value
from geoetl.emulator.performatives import (
    Begin,
    Close,
    End,
    Open,
    Performative,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    decode_performative,
    encode_performative,
)
from geoetl.emulator.queue import Queue
from geoetl.emulator.session import HANDLE_MAX, INCOMING_WINDOW, Session
from geoetl.emulator.tokens import Grant
from geoetl.emulator.window import MAX_WINDOW

log = logging.getLogger(__name__)

#: The largest frame the broker takes, in bytes: that of Service Bus.
MAX_FRAME_SIZE: Final = 65536
_MIN_FRAME_SIZE: Final = 512
#: Sessions a connection may have.
_CHANNEL_MAX: Final = 4095
_CONTAINER_ID: Final = "geoetl-emulator"
_MECHANISMS: Final = ("MSSBCBS", "ANONYMOUS", "PLAIN", "EXTERNAL")
_SASL_OK: Final = 0
_SASL_AUTH_FAILED: Final = 1
#: How long a peer may take from connecting to its open, in seconds.
_OPENING_TIMEOUT_S: Final = 30.0
#: How long a peer may take to read why it was cut off, in seconds.
_FAREWELL_S: Final = 5.0
#: How often a peer may ask for heartbeats, in seconds.
_MIN_HEARTBEAT_S: Final = 0.01


class _Phase(enum.Enum):
    SASL_HEADER = enum.auto()
    SASL = enum.auto()
    AMQP_HEADER = enum.auto()
    OPENING = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()


class AmqpConnection(asyncio.Protocol):
    """One client's connection.

    Args:
        broker: what it connects to.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._grant_watch = GrantWatch(broker.namespace.clock, self._detach_expired)
        self.grants = self._grant_watch.grants
        self.can_write = True
        self.max_body_size = _MIN_FRAME_SIZE - FRAME_HEADER_SIZE
        self._phase = _Phase.SASL_HEADER
        self._reader = FrameReader(MAX_FRAME_SIZE)
        self._sessions: dict[int, Session] = {}
        self._loop = asyncio.get_running_loop()
        self._liveness = Liveness()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._writer = FrameWriter(self._transport, self.broker.namespace.journal.commit)
        self.broker.connections.add(self)
        self._liveness.set_deadline(_OPENING_TIMEOUT_S, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        log.debug("AMQP connection lost: %s", exc)
        self._phase = _Phase.CLOSED
        self.broker.connections.discard(self)
        self._liveness.stop()
        self._grant_watch.stop()
        for session in self._sessions.values():
            session.close()

    def pause_writing(self) -> None:
        self.can_write = False

    def resume_writing(self) -> None:
        self.can_write = True
        for session in list(self._sessions.values()):
            session.resume()

    def data_received(self, data: bytes) -> None:
        self._liveness.hear()
        self._reader.feed(data)
        try:
            while self._read_one():
                pass
        except ServiceBusError as error:
            self._fail(error)
        except DecodeError as error:
            self._fail(ServiceBusError(DECODE_ERROR, str(error)))
        except Exception:
            # The border to whatever a peer may send: a defect of ours ends this connection, not the server.
            log.exception("AMQP connection failed")
            self._fail(ServiceBusError(INTERNAL_ERROR, "The emulator failed on this frame; its log says why."))

    def _read_one(self) -> bool:
        if self._phase in (_Phase.SASL_HEADER, _Phase.AMQP_HEADER):
            header = self._reader.read_header()
            return header is not None and self._on_header(header)
        if self._phase is _Phase.CLOSED:
            return False
        frame = self._reader.read_frame()
        if frame is None:
            return False
        if frame.body:
            self._on_frame(frame)
        return True

    def _on_header(self, header: bytes) -> bool:
        expected = SASL_HEADER if self._phase is _Phase.SASL_HEADER else AMQP_HEADER
        self._writer.write(expected)
        if header != expected:
            # The header we wrote says what would have been right (AMQP 1.0, 2.2).
            self._hang_up()
            return False
        if self._phase is _Phase.SASL_HEADER:
            self._phase = _Phase.SASL
            self._say(SaslMechanisms(Array(map(Symbol, _MECHANISMS))), kind=SASL_FRAME)
        else:
            self._phase = _Phase.OPENING
        return True

    def _on_frame(self, frame: Frame) -> None:
        if frame.kind != (SASL_FRAME if self._phase is _Phase.SASL else AMQP_FRAME):
            raise ServiceBusError(FRAMING_ERROR, f"A frame of type {frame.kind} has no place here.")
        performative, end = decode_performative(frame.body)
        match performative:
            case SaslInit() if self._phase is _Phase.SASL:
                self._on_sasl_init(performative)
            case Open() if self._phase is _Phase.OPENING:
                self._on_open(performative)
            case Begin() if self._phase is _Phase.OPEN:
                self._on_begin(frame.channel, performative)
            case End() if self._phase is _Phase.OPEN:
                self._on_end(frame.channel)
            case Close():
                self._say(Close())
                self._hang_up()
            case _ if self._phase is _Phase.OPEN:
                self._to_session(frame, performative, end)
            case _:
                raise ServiceBusError(NOT_ALLOWED, f"{type(performative).__name__} came before open.")

    def _on_sasl_init(self, init: SaslInit) -> None:
        is_ok = init.mechanism in _MECHANISMS
        if init.mechanism == "PLAIN":
            is_ok = self.broker.policy.verify_password(init.initial_response or b"")
            if is_ok:
                self.grants.add(Grant("", NEVER))
        code = _SASL_OK if is_ok else _SASL_AUTH_FAILED
        self._say(SaslOutcome(UByte(code)), kind=SASL_FRAME)
        self._phase = _Phase.AMQP_HEADER
        if not is_ok:
            self._hang_up()

    def _on_open(self, opened: Open) -> None:
        self._phase = _Phase.OPEN
        asked = int(opened.max_frame_size or MAX_FRAME_SIZE)
        self.max_body_size = max(min(asked, MAX_FRAME_SIZE), _MIN_FRAME_SIZE) - FRAME_HEADER_SIZE
        idle_s = self.broker.limits.idle_timeout_s
        answer = Open(
            container_id=_CONTAINER_ID,
            max_frame_size=UInt(MAX_FRAME_SIZE),
            channel_max=UShort(_CHANNEL_MAX),
            idle_time_out=UInt(idle_s * 1000),
        )
        self._say(answer)
        self._liveness.watch_silence(idle_s, self._on_silence)
        if opened.idle_time_out:
            interval_s = max(opened.idle_time_out / 2000, _MIN_HEARTBEAT_S)
            self._liveness.beat(interval_s, lambda: self._writer.write(EMPTY_FRAME))

    def _on_begin(self, channel: int, begin: Begin) -> None:
        if channel in self._sessions or channel > _CHANNEL_MAX:
            raise ServiceBusError(NOT_ALLOWED, f"Channel {channel} is in use or over {_CHANNEL_MAX}.")
        self._sessions[channel] = Session(self, channel, begin)
        answer = Begin(
            remote_channel=UShort(channel),
            next_outgoing_id=UInt(0),
            incoming_window=UInt(INCOMING_WINDOW),
            outgoing_window=UInt(MAX_WINDOW),
            handle_max=UInt(HANDLE_MAX),
        )
        self._say(answer, channel=channel)

    def _on_end(self, channel: int) -> None:
        session = self._sessions.pop(channel, None)
        if session is not None:
            session.close()
            self._say(End(), channel=channel)

    def _to_session(self, frame: Frame, performative: Performative, end: int) -> None:
        session = self._sessions.get(frame.channel)
        if session is None:
            raise ServiceBusError(NOT_ALLOWED, f"Channel {frame.channel} has no session.")
        try:
            session.handle(performative, frame.body[end:])
        except ServiceBusError as error:
            del self._sessions[frame.channel]
            session.close()
            self._say(End(error_value(error)), channel=frame.channel)

    def _on_silence(self, silence_s: float) -> None:
        self._fail(ServiceBusError(RESOURCE_LIMIT_EXCEEDED, f"Nothing was heard for {silence_s:.1f} s."))

    def _detach_expired(self) -> None:
        error = ServiceBusError(UNAUTHORIZED, "ExpiredToken: The token of the link has expired and was not renewed.")
        self._detach_where(lambda link: not (is_cbs(link.address) or self.grants.covers(link.address)), error)

    def write_body(self, channel: int, body: bytes) -> None:
        """Sends a frame of a session."""
        self._writer.write_frame(channel, body)

    def _say(self, performative: Performative, *, channel: int = 0, kind: int = AMQP_FRAME) -> None:
        self._writer.write_frame(channel, encode_performative(performative), kind)

    def _fail(self, error: ServiceBusError) -> None:
        if self._phase in (_Phase.OPENING, _Phase.OPEN):
            self._say(Close(error_value(error)))
        self._hang_up()

    def _hang_up(self) -> None:
        self._writer.flush()
        self._phase = _Phase.CLOSED
        self._transport.close()
        # A peer that does not read would keep the farewell, and the connection, for ever.
        self._liveness.stop()
        self._liveness.set_deadline(_FAREWELL_S, self._transport.abort)

    def close(self) -> None:
        """Says goodbye: the server stops."""
        self._fail(ServiceBusError(CONNECTION_FORCED, "The emulator is shutting down."))

    def drop(self) -> None:
        """Breaks the connection without a word, as a network does."""
        self._writer.discard()
        self._transport.abort()

    def detach_links(self, entity: Entity | None, error: ServiceBusError) -> int:
        """Detaches the links to an entity, or all, and returns how many there were."""
        return self._detach_where(lambda link: entity is None or link.entity is entity, error)

    def forget_delivery(self, queue: Queue, tag: bytes) -> bool:
        """Forgets a delivery that was settled elsewhere; whether it was one of this connection."""
        return any(session.forget_delivery(queue, tag) for session in self._sessions.values())

    def _detach_where(self, concerns: Callable[[Link], bool], error: ServiceBusError) -> int:
        return sum(session.detach_links(concerns, error) for session in self._sessions.values())
