"""A namespace per module, and links that are opened once: the SDK takes half a second to open each.

The namespace is our emulator in this process. `GEOETL_TEST_SERVICEBUS=<connection string>` names another one: a real
namespace, or Microsoft's emulator (whose administration has a port of its own:
`GEOETL_TEST_SERVICEBUS_ADMIN=<connection string>`). Tests of what only our emulator has are skipped there.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.servicebus import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.management import ServiceBusAdministrationClient

from geoetl.emulator import EmulatorServer, RunningServer
from geoetl.emulator.message import Message
from tests.integration.emulator.peer import BODY, Peer
from tests.integration.emulator.reopening import Reopening

OTHER = os.environ.get("GEOETL_TEST_SERVICEBUS")
OTHER_ADMIN = os.environ.get("GEOETL_TEST_SERVICEBUS_ADMIN") or OTHER

#: Links kept open to another namespace: Microsoft's emulator takes ten connections.
MAX_LINKS = 6
#: How long another namespace may take to count.
COUNTING_S = 20


def require_ours(why: str) -> None:
    """Skips a test of what only our emulator has."""
    if OTHER is not None:
        pytest.skip(f"not ours: {why}")


class PlainHttpTransport(RequestsTransport):
    """The administration client of azure-servicebus hard-codes https; emulators speak plain HTTP."""

    def send(self, request: Any, **kwargs: Any) -> Any:
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, **kwargs)


class Bus:
    """A client of a namespace with links it keeps; it deletes at its end what it made."""

    def __init__(self, connection_string: str, stack: ExitStack, admin_connection_string: str | None = None) -> None:
        self.connection_string = connection_string
        self.address = connection_string.split(";", maxsplit=1)[0].removeprefix("Endpoint=sb://").rstrip("/")
        self._stack = stack
        self.admin = self.new_admin(admin_connection_string or connection_string)
        self.client = self.new_client()
        self._links: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._made: list[tuple[Callable[[str], None], str]] = []
        #: The shortest lock there is, in seconds.
        self.shortest_lock_s = 1 if OTHER is None else 5
        stack.callback(self._leave)

    def new_admin(self, connection_string: str) -> ServiceBusAdministrationClient:
        options: dict[str, Any] = {"retry_total": 0}
        if "UseDevelopmentEmulator=true" in connection_string:
            options["transport"] = PlainHttpTransport()
        return self._stack.enter_context(
            ServiceBusAdministrationClient.from_connection_string(connection_string, **options)
        )

    def new_client(self, connection_string: str | None = None, **options: Any) -> ServiceBusClient:
        return self._stack.enter_context(
            ServiceBusClient.from_connection_string(
                connection_string or self.connection_string, **{"retry_total": 0, "keep_alive": 0, **options}
            )
        )

    def name(self, kind: str) -> str:
        """A new name for a queue or topic."""
        return f"{kind}-{uuid4().hex[:12]}"

    def queue(self, **settings: Any) -> str:
        name = self.name("queue")
        self.admin.create_queue(name, **settings)
        self._made.append((self.admin.delete_queue, name))
        return name

    def topic(self, *subscriptions: str, **settings: Any) -> str:
        """A topic with subscriptions that let everything pass."""
        name = self.name("topic")
        self.admin.create_topic(name, **settings)
        self._made.append((self.admin.delete_topic, name))
        for subscription in subscriptions:
            self.admin.create_subscription(name, subscription)
        return name

    def sender(self, queue: str) -> ServiceBusSender:
        return self._link(("sender", queue), lambda: self.client.get_queue_sender(queue))

    def topic_sender(self, topic: str) -> ServiceBusSender:
        return self._link(("topic", topic), lambda: self.client.get_topic_sender(topic))

    def receiver(self, queue: str, subscription: str | None = None, **options: Any) -> ServiceBusReceiver:
        """The receiver of a queue, or of a subscription of a topic."""
        options.setdefault("socket_timeout", 0.05)
        key = ("receiver", queue, subscription or "", repr(sorted(options.items())))
        if subscription is None:
            return self._link(key, lambda: self.client.get_queue_receiver(queue, **options))
        return self._link(key, lambda: self.client.get_subscription_receiver(queue, subscription, **options))

    def control(self, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of the control API."""
        require_ours("the control API")
        url = f"http://{self.address}/$control/{name}"
        data = None if name == "counts" else json.dumps(body or {}).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as response:
            return json.load(response)

    def locked(self, queue: str) -> int:
        return self.control("counts")["queues"][queue]["locked"]

    def counts(self, queue: str, subscription: str | None = None) -> dict[str, int]:
        """Messages by kind, as administration counts them."""
        if subscription is None:
            found: Any = self.admin.get_queue_runtime_properties(queue)
        else:
            found = self.admin.get_subscription_runtime_properties(queue, subscription)
        return {
            "active": found.active_message_count,
            "dead_lettered": found.dead_letter_message_count,
            "total": found.total_message_count,
        }

    def assert_counts(self, queue: str, subscription: str | None = None, **expected: int) -> None:
        """Looks until the counts are those expected: our emulator has them at once, another namespace later."""
        deadline = time.monotonic() + (0 if OTHER is None else COUNTING_S)
        while True:
            found = self.counts(queue, subscription)
            if expected.items() <= found.items() or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        assert expected.items() <= found.items(), found

    def _link(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        if key not in self._links:
            if OTHER is not None and len(self._links) >= MAX_LINKS:
                self._links.popitem(last=False)[1].close()
            self._links[key] = make().__enter__()
        self._links.move_to_end(key)
        return self._links[key]

    def _leave(self) -> None:
        # Each takes half a second, waiting for the other side.
        with ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(lambda link: link.close(), self._links.values()))
        for delete, name in self._made if OTHER is not None else []:
            with suppress(ResourceNotFoundError):
                delete(name)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    require_ours("the server is in another process")
    with EmulatorServer.in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    with ExitStack() as stack:
        if OTHER is None:
            yield Bus(request.getfixturevalue("server").connection_string, stack)
        else:
            yield Bus(OTHER, stack, OTHER_ADMIN)


@pytest.fixture
def our_bus(bus: Bus) -> Bus:
    """A namespace that is our emulator."""
    require_ours("of our emulator only")
    return bus


@pytest.fixture(scope="module")
def shared_queue(bus: Bus) -> str:
    """A queue for tests that leave it empty, so that they share its links."""
    return bus.queue(lock_duration="PT30S", max_delivery_count=3)


@pytest.fixture
def new_bus() -> type[Bus]:
    return Bus


@pytest.fixture
def start_emulator() -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts the emulator as a process of its own and returns it with its connection string."""
    require_ours("a process of our emulator")
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "geoetl.emulator", "--port", "0", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Reopening]:
    """A namespace that is written down, with the queue `q`."""
    reopening = Reopening(tmp_path)
    reopening.namespace.create("q", {"LockDuration": "PT30S", "MaxDeliveryCount": "3", "UserMetadata": "mine"})
    yield reopening
    reopening.journal.close()


@pytest.fixture
def connect(server: RunningServer) -> Iterator[Callable[[], Peer]]:
    peers: list[Peer] = []

    def new_peer(port: int = server.port) -> Peer:
        peers.append(Peer(port))
        return peers[-1]

    yield new_peer
    for peer in peers:
        peer.socket.close()


@pytest.fixture
def fill(server: RunningServer) -> Callable[..., str]:
    """Makes a queue with messages and returns its name."""

    def make(count: int, body: bytes = BODY) -> str:
        name = f"queue-{os.urandom(4).hex()}"

        def in_server(it: EmulatorServer) -> None:
            queue = it.namespace.create(name, {})
            for _ in range(count):
                queue.send(Message(body=body))

        server.call(in_server)
        return name

    return make
