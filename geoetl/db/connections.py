"""The only place that opens database connections."""

import os
import re
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg import pq
from psycopg.rows import TupleRow
from pydantic import SecretStr

from geoetl.config.database import DatabaseTarget
from geoetl.errors import GeoEtlError, SystemFault, TransientError
from geoetl.identity import IdentityUnavailable, postgres_password

type Connection = psycopg.Connection[TupleRow]

#: libpq keeps no SQLSTATE of a refused connection, so the server's own words decide. Anything else may pass.
_REFUSED_FOR_GOOD = re.compile(
    r"password authentication failed|no password supplied|does not exist|is not permitted to log in"
    r"|no pg_hba\.conf entry|permission denied for database|does not support SSL"
    # psycopg asks for the address itself. Only this answer says that there is none; others mean that nobody could tell.
    rf"|failed to resolve host .*\[Errno {socket.EAI_NONAME}\]"
)


class DatabaseUnavailable(TransientError):
    """The database did not answer, went away, or had to give way to another transaction."""

    default_code = "database-unavailable"


class DatabaseRefused(SystemFault):
    """The database answered, and refuses this role, password or database name; or nobody knows its host."""

    default_code = "database-refused"


#: Whatever opening a connection, or a statement on it, may raise.
DATABASE_ERRORS: tuple[type[Exception], ...] = (psycopg.Error, DatabaseUnavailable, DatabaseRefused)


def connect(target: DatabaseTarget, *, application_name: str, autocommit: bool = True) -> Connection:
    """A new connection; the caller closes it.

    Raises:
        DatabaseUnavailable: The server is away, starting, stopping or full; or there is no token to sign in with.
        DatabaseRefused: The server refuses this role, password or database name, or the host's name is unknown.
    """
    try:
        # A token is asked for at each connect, and matters only then: sessions outlive it.
        if target.auth == "identity":
            target = target.model_copy(update={"password": SecretStr(postgres_password())})
        return psycopg.connect(target.conninfo(application_name=application_name), autocommit=autocommit)
    except IdentityUnavailable as exc:
        raise DatabaseUnavailable(
            f"Connecting to {target} failed: {exc.message}", code=exc.code, hint=exc.hint
        ) from exc
    except psycopg.OperationalError as exc:
        reason = str(exc).strip()
        if _REFUSED_FOR_GOOD.search(reason):
            raise DatabaseRefused(
                f"Connecting to {target} was refused: {reason}.",
                hint="Check GEOETL_DATABASE__…, and that the databases and roles have been provisioned.",
            ) from exc
        raise DatabaseUnavailable(
            f"Connecting to {target} failed: {reason}.",
            hint="On this machine `geoetl local status` tells whether the database runs.",
        ) from exc


def explain(error: Exception) -> GeoEtlError | None:
    """What a database's error means to whoever gave the command, where nothing nearer to it could; None: it is none."""
    if not isinstance(error, psycopg.Error):
        return None
    reason = str(error).strip()
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        return SystemFault(
            f"The database lacks a table of this version of geoetl: {reason}.",
            code="schema-missing",
            hint="`geoetl db status` shows what is missing; `geoetl db migrate` makes it, `redeploy` after a nuke.",
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return DatabaseUnavailable(f"The database went away, or had to give way: {reason}.")
    return SystemFault(f"The database refused a statement: {type(error).__name__}: {reason}.", code="database-error")


@contextmanager
def database_errors(doing: str) -> Generator[None]:
    """Turn "the database is away, or asks to try again" into `DatabaseUnavailable`; other errors pass as they are.

    Args:
        doing: What was tried, for the message: ``"read the collections"``.

    Raises:
        DatabaseUnavailable: Connection lost, deadlock, serialization failure, lock or statement timeout, shutdown.
    """
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
        # Every SQLSTATE of classes 08, 40, 53, 55, 57 and 58 is an OperationalError in psycopg;
        # using a connection that was lost before is an InterfaceError.
        raise DatabaseUnavailable(f"Could not {doing}: {str(exc).strip()}.") from exc


class ConnectionSource:
    """Callable that hands each thread of each process its own open connection, opened when first asked.

    Safe across fork: a child never touches its parent's connections, it opens its own. A connection that the server
    has closed meanwhile is replaced. Within one thread it is always the same connection: called inside a transaction,
    what it returns is inside that transaction too.
    """

    def __init__(self, target: DatabaseTarget, *, application_name: str) -> None:
        self._target = target
        self._application_name = application_name
        # By process and thread, without a lock: each thread touches only its own key, and a lock could be held by
        # another thread at the moment of a fork. Entries of a parent process stay, never used: closing one here would
        # end the parent's session.
        self._connections: dict[tuple[int, int], Connection] = {}

    def __call__(self) -> Connection:
        """The calling thread's connection, in autocommit mode. Do not close it, do not hand it to another thread.

        Raises:
            DatabaseUnavailable: It must be opened, and the server is away.
            DatabaseRefused: It must be opened, and the server refuses.
        """
        key = (os.getpid(), threading.get_ident())
        connection = self._connections.get(key)
        if connection is None or not _is_usable(connection):
            if connection is not None:
                connection.close()
            connection = connect(self._target, application_name=self._application_name)
            self._connections[key] = connection
        return connection

    @property
    def target(self) -> DatabaseTarget:
        """Where it connects to."""
        return self._target

    def close_mine(self) -> None:
        """Close the calling thread's connection, before the thread ends; a later call opens anew."""
        connection = self._connections.pop((os.getpid(), threading.get_ident()), None)
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close this process's connections, of all its threads; a later call opens anew."""
        pid = os.getpid()
        for key in [key for key in self._connections if key[0] == pid]:
            self._connections.pop(key).close()


class SharedConnection:
    """One connection for those threads of a process that only ever send single statements.

    psycopg lets threads take turns at it, statement by statement. Never open a transaction on it: the statements of
    other threads would become part of that.
    """

    def __init__(self, target: DatabaseTarget, *, application_name: str) -> None:
        self._target = target
        #: What the server's list of sessions says; read when it connects.
        self.application_name = application_name
        # Never used by a child, which may be forked while another thread holds it.
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._pid = 0

    def __call__(self) -> Connection:
        """The connection, in autocommit mode.

        Raises:
            DatabaseUnavailable, DatabaseRefused: It must be opened, and the server is away or refuses.
        """
        with self._lock:
            if self._connection is not None:
                # Not while another thread waits for its answer: looking takes in what the server has sent.
                with self._connection.lock:
                    is_usable = _is_usable(self._connection)
                if is_usable:
                    return self._connection
                self._connection.close()
            self._connection = connect(self._target, application_name=self.application_name)
            self._pid = os.getpid()
            return self._connection

    def close(self) -> None:
        """Close it; a later call opens anew. In a child it is the parent's, and stays."""
        if self._connection is not None and self._pid == os.getpid():
            with self._lock:
                self._connection.close()
                self._connection = None


def _is_usable(connection: Connection) -> bool:
    if connection.closed:
        return False
    try:
        # Reads what has arrived without waiting: notices that the server has closed the session, at no round trip.
        # Twice, because the first may read the server's last words and only the second finds the end of the stream.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return connection.pgconn.status == pq.ConnStatus.OK
