"""A client of the server that speaks single frames, rightly or wrongly."""

import socket
from typing import Any

from geoetl.emulator.amqp_types import Described, Symbol, UByte, UInt, ULong
from geoetl.emulator.encode import encode, encode_described
from geoetl.emulator.frames import AMQP_HEADER, SASL_HEADER, FrameReader, encode_frame_header
from geoetl.emulator.message import AMQP_VALUE, APPLICATION_PROPERTIES, PROPERTIES, parse_message
from geoetl.emulator.performatives import (
    Attach,
    Begin,
    Flow,
    Open,
    Performative,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Transfer,
    decode_performative,
    encode_performative,
)

PLAIN = b"\x00RootManageSharedAccessKey\x00SAS_KEY_VALUE"
SOURCE, TARGET = ULong(0x28), ULong(0x29)
#: A message.
BODY = b"\x00\x53\x75\xa0\x01x"


class Peer:
    """A client that speaks frames, rightly or wrongly."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._reader = FrameReader(1 << 20)
        self.frame_sizes: list[int] = []

    def write(self, performative: Performative, payload: bytes = b"", *, channel: int = 0, kind: int = 0) -> None:
        body = encode_performative(performative) + payload
        self.socket.sendall(encode_frame_header(len(body), channel, kind) + body)

    def read_frame(self) -> tuple[Performative, bytes] | None:
        """The next frame; None for a heartbeat."""
        while (frame := self._reader.read_frame()) is None:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._reader.feed(data)
        self.frame_sizes.append(len(frame.body) + 8)
        if not frame.body:
            return None
        performative, end = decode_performative(frame.body)
        return performative, frame.body[end:]

    def read[P](self, kind: type[P]) -> P:
        """The next frame, which must be of a kind, but for flows and heartbeats."""
        while True:
            frame = self.read_frame()
            if frame is None or (isinstance(frame[0], Flow) and kind is not Flow):
                continue
            assert isinstance(frame[0], kind), frame[0]
            return frame[0]

    def read_transfer(self) -> tuple[Transfer, bytes]:
        while True:
            frame = self.read_frame()
            if frame is not None and isinstance(frame[0], Transfer):
                return frame[0], frame[1]

    def read_header(self) -> bytes:
        while (header := self._reader.read_header()) is None:
            self._reader.feed(self.socket.recv(65536))
        return header

    def sign_in(self, mechanism: str = "PLAIN", response: bytes = PLAIN) -> int:
        self.socket.sendall(SASL_HEADER)
        assert self.read_header() == SASL_HEADER
        self.read(SaslMechanisms)
        self.write(SaslInit(Symbol(mechanism), response), kind=1)
        return int(self.read(SaslOutcome).code)

    def open(self, *, mechanism: str = "PLAIN", window: int = 1000, **options: Any) -> None:
        assert self.sign_in(mechanism) == 0
        self.socket.sendall(AMQP_HEADER)
        assert self.read_header() == AMQP_HEADER
        self.write(Open("peer", **options))
        self.opened = self.read(Open)
        self.write(Begin(None, UInt(0), UInt(window), UInt(1000)))
        self.read(Begin)

    def receive_from(self, address: str, **fields: Any) -> None:
        fields = {"source": Described(SOURCE, [address]), "target": Described(TARGET, ["me"]), **fields}
        self.write(Attach("in", UInt(0), role=True, snd_settle_mode=UByte(0), **fields))

    def send_to(self, address: str, **fields: Any) -> None:
        fields = {"source": Described(SOURCE, ["me"]), "target": Described(TARGET, [address]), **fields}
        self.write(Attach("out", UInt(0), role=False, initial_delivery_count=UInt(0), **fields))

    def give_credit(
        self, credit: int, *, seen: int = 0, taken: int = 0, window: int = 1000, drain: bool = False
    ) -> None:
        self.write(Flow(UInt(seen), UInt(window), UInt(0), UInt(1000), UInt(0), UInt(taken), UInt(credit), drain=drain))

    def is_cut_off(self) -> bool:
        """Whether the server ends the connection within the socket's timeout."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True


class Management:
    """Requests to the `$management` of a queue."""

    def __init__(self, peer: Peer, queue: str) -> None:
        self._peer = peer
        node, me = Described(TARGET, [f"{queue}/$management"]), Described(SOURCE, ["me"])
        peer.write(Attach("requests", UInt(7), False, source=me, target=node, initial_delivery_count=UInt(0)))
        peer.read(Attach)
        source = Described(SOURCE, [f"{queue}/$management"])
        peer.write(Attach("answers", UInt(8), True, source=source, target=Described(TARGET, ["me"])))
        peer.read(Attach)
        peer.write(Flow(UInt(0), UInt(1000), UInt(0), UInt(1000), UInt(8), UInt(0), UInt(99)))
        self._asked = 0

    def ask(self, operation: str, body: dict[str, Any]) -> tuple[int, Any]:
        """The status and the value of the answer."""
        request = b"".join((
            encode_described(PROPERTIES, ["id", None, None, None, "me"]),
            b"\x00\x53" + bytes((APPLICATION_PROPERTIES,)) + encode({"operation": f"com.microsoft:{operation}"}),
            b"\x00\x53" + bytes((AMQP_VALUE,)) + encode(body),
        ))  # fmt: skip
        self._peer.write(Transfer(UInt(7), UInt(self._asked), b"t", UInt(0), settled=True), request)
        self._asked += 1
        answer = parse_message(self._peer.read_transfer()[1])
        return answer.read_application_properties()["statusCode"], answer.read_value()
