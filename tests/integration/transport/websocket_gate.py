"""The door of a namespace on port 443: a WebSocket server that passes AMQP on to an emulator; and a CONNECT proxy."""

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: RFC 6455, section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10


class Gate:
    """Accepts on a free port; what to do with a connection is the subclass's business."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.accepted = 0
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.accepted += 1
                self.open.append(client)
                threading.Thread(target=self._guarded, args=(client,), daemon=True).start()

    def _guarded(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            self.serve(client, _head(client))
        client.close()

    def serve(self, client: socket.socket, head: dict[str, str]) -> None:
        raise NotImplementedError

    def cut_all(self) -> None:
        cut, self.open = self.open, []
        for sock in cut:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut_all()


class WebSocketGate(Gate):
    """AMQP in binary messages on one side, plain AMQP on the other. Pings before every message."""

    def __init__(self, target_port: int) -> None:
        self._target = "127.0.0.1", target_port
        super().__init__()

    def serve(self, client: socket.socket, head: dict[str, str]) -> None:
        assert head["sec-websocket-protocol"] == "AMQPWSB10"
        key = base64.b64encode(hashlib.sha1(head["sec-websocket-key"].encode() + _GUID).digest()).decode()
        client.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Protocol: AMQPWSB10\r\nSec-WebSocket-Accept: {key}\r\n\r\n".encode()
        )
        with socket.create_connection(self._target) as server:
            threading.Thread(target=self._outward, args=(server, client), daemon=True).start()
            for opcode, payload in _messages(client):
                if opcode == _CLOSE:
                    return
                if opcode == _BINARY:
                    server.sendall(payload)

    @staticmethod
    def _outward(server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(_frame(_PING, b"?") + _frame(_BINARY, data))
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


class ConnectProxy(Gate):
    """An HTTP proxy that knows CONNECT, and whom it may serve."""

    def __init__(self, *, user: str, password: str) -> None:
        self._expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        super().__init__()

    def serve(self, client: socket.socket, head: dict[str, str]) -> None:
        if head.get("proxy-authorization") != self._expected:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        host, _, port = head[""].split()[1].rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=_copy, args=(server, client), daemon=True).start()
            _copy(client, server)


@contextmanager
def closing[T: Gate](gate: T) -> Iterator[T]:
    try:
        yield gate
    finally:
        gate.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _head(sock: socket.socket) -> dict[str, str]:
    """The headers of a request by lower-case name; its first line under the empty name."""
    text = b""
    while not text.endswith(b"\r\n\r\n"):
        text += _exactly(sock, 1)
    first, *lines = text.decode().strip().split("\r\n")
    return {"": first, **{name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}}


def _messages(sock: socket.socket) -> Iterator[tuple[int, bytes]]:
    while True:
        first, second = _exactly(sock, 2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", _exactly(sock, 2))
        elif length == 127:
            (length,) = struct.unpack(">Q", _exactly(sock, 8))
        mask, payload = _exactly(sock, 4), _exactly(sock, length)
        key = (mask * (length // 4 + 1))[:length]
        plain = int.from_bytes(payload) ^ int.from_bytes(key)
        yield first & 0x0F, plain.to_bytes(length)


def _frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    size = bytes([length]) if length < 126 else struct.pack(">BH", 126, length) if length < 65536 else (
        struct.pack(">BQ", 127, length)
    )  # fmt: skip
    return bytes([0x80 | opcode]) + size + payload


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
