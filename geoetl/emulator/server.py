"""The server: listens, tells AMQP from HTTP by the first bytes, and runs the timers of the namespace."""

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final, cast
from weakref import WeakSet

from geoetl.emulator import control
from geoetl.emulator.admin import AdminApi
from geoetl.emulator.broker import Broker, Limits
from geoetl.emulator.clock import SystemClock
from geoetl.emulator.conditions import RESOURCE_DELETED, ServiceBusError
from geoetl.emulator.connection import AmqpConnection
from geoetl.emulator.control import ControlApi
from geoetl.emulator.entities import Entity
from geoetl.emulator.http_connection import HttpConnection, HttpRequest, HttpResponse
from geoetl.emulator.journal import Journal
from geoetl.emulator.loop_thread import LoopThread
from geoetl.emulator.namespace import Namespace
from geoetl.emulator.tokens import AccessPolicy

log = logging.getLogger(__name__)

DEFAULT_KEY_NAME: Final = "RootManageSharedAccessKey"
#: The key Microsoft's emulator has; it protects nothing, it only lets clients sign.
DEFAULT_KEY: Final = "SAS_KEY_VALUE"

#: How long a new connection may stay silent, in seconds.
_SNIFF_TIMEOUT_S: Final = 30.0
_AMQP_MAGIC: Final = b"AMQP"


class EmulatorServer:
    """A Service Bus namespace on a port of this machine.

    Args:
        host: the address to listen on.
        port: the port for AMQP and HTTP; 0 takes a free one.
        admin_port: another port for the same, when clients look for administration elsewhere (Microsoft's: 5300).
        policy: whose tokens are accepted.
        limits: what clients may ask for.
        journal: where messages are kept; without one they live as long as the server.

    Example:
        >>> with EmulatorServer.in_thread() as server:
        ...     server.connection_string.startswith(f"Endpoint=sb://127.0.0.1:{server.port};")
        True
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        admin_port: int | None = None,
        policy: AccessPolicy | None = None,
        limits: Limits | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.admin_port = admin_port
        self.policy = policy or AccessPolicy(DEFAULT_KEY_NAME, DEFAULT_KEY)
        self.namespace = Namespace(SystemClock(), journal)
        self.broker = Broker(self.namespace, self.policy, limits or Limits())
        self.namespace.on_deleted = self._detach_from_deleted
        self._admin = AdminApi(self.broker)
        self._control = ControlApi(self.broker)
        self._listeners: list[asyncio.Server] = []
        self._alarm: asyncio.TimerHandle | None = None
        #: Open connections of every kind.
        self._transports: WeakSet[asyncio.Transport] = WeakSet()

    @property
    def connection_string(self) -> str:
        """What clients connect with, for messages and for administration."""
        return (
            f"Endpoint=sb://{self.host}:{self.port};SharedAccessKeyName={self.policy.name};"
            f"SharedAccessKey={self.policy.key};UseDevelopmentEmulator=true;"
        )

    @classmethod
    @contextmanager
    def in_thread(
        cls,
        *,
        port: int = 0,
        admin_port: int | None = None,
        policy: AccessPolicy | None = None,
        limits: Limits | None = None,
        journal: Journal | None = None,
    ) -> Generator["RunningServer"]:
        """A server in a thread of this process, for tests; it is listening when the block begins."""
        with LoopThread("geoetl-emulator") as thread:
            server = cls(port=port, admin_port=admin_port, policy=policy, limits=limits, journal=journal)
            thread.run(server.start())
            try:
                yield RunningServer(server, thread)
            finally:
                thread.run(server.stop())

    async def start(self) -> None:
        """Begins to listen; from here on `port` is the real one.

        Raises:
            OSError: the port cannot be had.
        """
        self._loop = asyncio.get_running_loop()
        self.namespace.timers.on_earlier = self._set_alarm
        self._run_timers()
        self.port = await self._listen(self.port)
        if self.admin_port is not None:
            self.admin_port = await self._listen(self.admin_port)

    async def stop(self) -> None:
        """Says goodbye to all clients and frees the ports."""
        for listener in self._listeners:
            listener.close()
        self.namespace.timers.on_earlier = lambda _due: None
        if self._alarm is not None:
            self._alarm.cancel()
        for connection in list(self.broker.connections):
            connection.close()
        # One turn of the loop writes the farewells; whoever does not read them is cut off.
        await asyncio.sleep(0)
        for transport in list(self._transports):
            transport.abort()
        await asyncio.sleep(0)
        self.namespace.journal.close()

    async def _listen(self, port: int) -> int:
        listener = await self._loop.create_server(lambda: _FrontDoor(self), self.host, port)
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    def add_transport(self, transport: asyncio.Transport) -> None:
        """Notes a connection, to be cut when the server stops."""
        self._transports.add(transport)

    def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer to an HTTP request of any kind."""
        if request.path == "health":
            return HttpResponse(HTTPStatus.OK, b'{"status": "healthy"}', "application/json")
        if request.path.startswith(control.PREFIX):
            return self._control.handle(request)
        return self._admin.handle(request)

    def _detach_from_deleted(self, entity: Entity) -> None:
        error = ServiceBusError(RESOURCE_DELETED, f"The messaging entity '{entity.name}' has been deleted.")
        self.broker.detach_links(entity, error)

    def _set_alarm(self, due: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(max(due - self.namespace.clock.now(), 0), self._run_timers)

    def _run_timers(self) -> None:
        self._alarm = None
        try:
            self.namespace.timers.run()
            self.namespace.journal.commit()
        finally:
            # Whatever failed is in the log; the other queues go on.
            due = self.namespace.timers.next_due
            if due is not None:
                self._set_alarm(due)


class RunningServer:
    """A server that runs in a thread.

    Args:
        server: the server.
        thread: where it runs.
    """

    def __init__(self, server: EmulatorServer, thread: LoopThread) -> None:
        self._server = server
        self._thread = thread
        self.host = server.host
        self.port = server.port
        self.admin_port = server.admin_port
        self.connection_string = server.connection_string

    def call[T](self, function: Callable[[EmulatorServer], T]) -> T:
        """The result of a function that is given the server, in the server's thread."""
        return self._thread.call(lambda: function(self._server))


class _FrontDoor(asyncio.Protocol):
    """Waits for the first bytes of a connection and hands it to who speaks that protocol."""

    def __init__(self, server: EmulatorServer) -> None:
        self._server = server
        self._first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.add_transport(self._transport)
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(_SNIFF_TIMEOUT_S, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        log.debug("connection lost before it said anything: %s", exc)
        self._watch.cancel()

    def data_received(self, data: bytes) -> None:
        self._first += data
        if _AMQP_MAGIC.startswith(self._first):
            return
        self._watch.cancel()
        if self._first.startswith(_AMQP_MAGIC):
            self._hand_over(AmqpConnection(self._server.broker))
        elif self._first[:1].isalpha():
            self._hand_over(HttpConnection(self._server.answer))
        else:
            # A TLS client would wait for the end of its handshake for ever.
            self._transport.abort()

    def _hand_over(self, protocol: AmqpConnection | HttpConnection) -> None:
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._first)
