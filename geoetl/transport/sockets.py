"""What lies under a connection: a plain or TLS socket, or the same inside a WebSocket."""

import socket
from contextlib import suppress
from typing import Any


def raw_socket(connected: Any) -> socket.socket | None:
    """The socket to poll and to close: `connected` is one, or a WebSocket of websocket-client around one."""
    return connected if isinstance(connected, socket.socket) or connected is None else connected.sock


def close_socket(sock: socket.socket | None) -> None:
    """Close a connection at once and say nothing to the peer: for those known or feared to be dead."""
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # a child that is being forked may have a copy, which would keep it open
        with suppress(OSError):
            sock.close()
