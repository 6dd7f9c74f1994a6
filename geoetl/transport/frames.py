"""Reading a socket of AMQP frames without ever waiting for the rest of one."""

import select
import socket
import ssl
from io import BytesIO
from typing import Final

from azure.servicebus.exceptions import ServiceBusConnectionError

#: Bytes taken from the socket at once. TLS gives at most one record of 16 KB.
READ_BYTES: Final = 64 * 1024


def has_whole_frame(buffer: BytesIO) -> bool:
    """Whether the unread part of a buffer begins with a complete frame.

    A frame begins with its own size, 4 bytes, big-endian (AMQP 1.0, part 2.3).
    """
    left = buffer.getbuffer()[buffer.tell() :]
    return len(left) >= 4 and len(left) >= int.from_bytes(left[:4])


def read_available(sock: socket.socket) -> bytes:
    """What the socket has now; nothing when it has nothing.

    Raises:
        ServiceBusConnectionError: the peer has closed the connection.
        OSError: the connection is broken.
    """
    try:
        # A socket with a timeout waits for it whatever the flags of its recv say. TLS may still, on a broken record.
        if not _has_input(sock):
            return b""
        data = sock.recv(READ_BYTES)
    except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
        return b""
    if not data:
        raise ServiceBusConnectionError(message="The service closed the connection.")
    return data


def _has_input(sock: socket.socket) -> bool:
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    poll = select.poll()  # unlike select(), of descriptors beyond 1024 too
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def has_more(sock: socket.socket, taken: bytes) -> bool:
    """Whether input waits that no selector sees, or probably does."""
    return len(taken) == READ_BYTES or (isinstance(sock, ssl.SSLSocket) and sock.pending() > 0)
