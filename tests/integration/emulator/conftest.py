"""A server per module, and links that are opened once: the SDK takes half a second to open each."""

import itertools
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from azure.core.pipeline.transport import RequestsTransport
from azure.servicebus import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.management import ServiceBusAdministrationClient

from geoetl.emulator import EmulatorServer, RunningServer

_numbers = itertools.count(1)


class PlainHttpTransport(RequestsTransport):
    """The administration client of azure-servicebus hard-codes https; the emulator speaks plain HTTP."""

    def send(self, request: Any, **kwargs: Any) -> Any:
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, **kwargs)


class Bus:
    """A client of a running server with links it keeps."""

    def __init__(self, connection_string: str, stack: ExitStack) -> None:
        self.connection_string = connection_string
        self.address = connection_string.split(";", maxsplit=1)[0].removeprefix("Endpoint=sb://")
        self._stack = stack
        self.admin = self.new_admin(connection_string)
        self.client = self.new_client()
        self._links: dict[tuple[str, str], Any] = {}

    def new_admin(self, connection_string: str) -> ServiceBusAdministrationClient:
        return self._stack.enter_context(
            ServiceBusAdministrationClient.from_connection_string(
                connection_string, transport=PlainHttpTransport(), retry_total=0
            )
        )

    def new_client(self, connection_string: str | None = None, **options: Any) -> ServiceBusClient:
        return self._stack.enter_context(
            ServiceBusClient.from_connection_string(
                connection_string or self.connection_string, **{"retry_total": 0, "keep_alive": 0, **options}
            )
        )

    def queue(self, **settings: Any) -> str:
        name = f"queue-{next(_numbers)}"
        self.admin.create_queue(name, **settings)
        return name

    def sender(self, queue: str) -> ServiceBusSender:
        return self._link("sender", queue, lambda: self.client.get_queue_sender(queue))

    def receiver(self, queue: str, **options: Any) -> ServiceBusReceiver:
        options.setdefault("socket_timeout", 0.05)
        key = f"receiver{sorted(options.items())}"
        return self._link(key, queue, lambda: self.client.get_queue_receiver(queue, **options))

    def control(self, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        url = f"http://{self.address}/$control/{name}"
        data = None if name == "counts" else json.dumps(body or {}).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=5) as response:
            return json.load(response)

    def counts(self, queue: str) -> dict[str, int]:
        return self.control("counts")["queues"][queue]

    def _link(self, kind: str, queue: str, make: Callable[[], Any]) -> Any:
        if (kind, queue) not in self._links:
            self._links[kind, queue] = self._stack.enter_context(make())
        return self._links[kind, queue]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with EmulatorServer.in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def bus(server: RunningServer) -> Iterator[Bus]:
    with ExitStack() as stack:
        yield Bus(server.connection_string, stack)


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
