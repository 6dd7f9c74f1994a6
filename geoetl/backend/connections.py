"""Connections for an app that only has an URL. The app of geoetl brings its own factory instead (``geoetl.db``)."""

import os
import threading
from functools import cache
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from geoetl.backend.ledger import Connection

#: What an URL may say otherwise. A network that goes silent ends a session after 20 s, within a claim's lease: Linux by
#: itself would wait for a quarter of an hour for a statement to arrive, and two hours for its answer.
#: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES-IDLE
_DEFAULTS = {
    "application_name": "celery",
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


class UrlConnections:
    """Callable that hands each thread of each process its own open connection, in autocommit mode.

    Safe across fork: entries are kept by process and thread, so a child never touches its parent's. The number of
    connections is that of the threads alive at one time: the system gives a dead thread's identity, and with it the
    connection, to the next one.
    """

    def __init__(self, conninfo: str, *, prepare: bool = True) -> None:
        """Connect to nothing yet.

        Args:
            conninfo: A libpq URL or ``key=value`` string.
            prepare: Let psycopg prepare statements it sees often; not behind a pooler in transaction mode.
        """
        parts = _DEFAULTS | conninfo_to_dict(conninfo)
        self._conninfo = make_conninfo("", **parts)
        self._parts = parts
        self._prepare = prepare
        self._connections: dict[tuple[int, int], Connection] = {}

    def __call__(self) -> Connection:
        """The calling thread's connection. A connection that was lost is replaced.

        Raises:
            psycopg.OperationalError: The server is away or refuses.
        """
        key = (os.getpid(), threading.get_ident())
        connection = self._connections.get(key)
        if connection is None or not is_usable(connection):
            if connection is not None:
                connection.close()
            connection = psycopg.connect(self._conninfo, autocommit=True)
            if not self._prepare:
                connection.prepare_threshold = None
            self._connections[key] = connection
        return connection

    def close_mine(self) -> None:
        """Close the calling thread's connection, before the thread ends."""
        connection = self._connections.pop((os.getpid(), threading.get_ident()), None)
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close this process's connections, of all its threads; a later call opens anew."""
        pid = os.getpid()
        for key in [key for key in self._connections if key[0] == pid]:
            self._connections.pop(key).close()

    def address(self) -> str:
        """Where it connects to, without the password: ``postgresql://user@host:port/dbname``."""
        part: dict[str, Any] = {name: self._parts.get(name) for name in ("user", "host", "port", "dbname")}
        user = f"{part['user']}@" if part["user"] else ""
        port = f":{part['port']}" if part["port"] else ""
        return f"postgresql://{user}{part['host'] or ''}{port}/{part['dbname'] or ''}"


@cache
def shared_connections(conninfo: str, *, prepare: bool = True) -> UrlConnections:
    """One factory for all apps of this process that name the same database: one connection per thread, not per app."""
    return UrlConnections(conninfo, prepare=prepare)


def close_mine(connections: Any) -> None:
    """Close the calling thread's connection of a factory, where it can: the next call opens another.

    For threads of a worker's main process that seldom need one. They would each hold it for ever.
    """
    close = getattr(connections, "close_mine", None)
    if close is not None:
        close()


def is_usable(connection: Connection) -> bool:
    """Whether the server still holds the session, as far as can be known without a round trip."""
    if connection.closed:
        return False
    try:
        # The first call may read the server's last words, only the second finds the end of the stream.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return connection.pgconn.status == pq.ConnStatus.OK
