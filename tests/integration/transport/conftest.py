"""A Service Bus, Celery workers as real processes, and the journal their tasks write.

The Service Bus is the project's emulator in this process, or the one that TEST_SERVICEBUS names by a connection string.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus.management import ServiceBusAdministrationClient
from celery import Celery
from kombu import Connection

import geoetl.transport  # noqa: F401 - registers servicebus://
from geoetl.transport import signals
from geoetl.transport.clients import Clients
from geoetl.transport.namespace import close_all
from geoetl.transport.options import Options
from geoetl.transport.urls import parse_connection_string

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def wait_until(fact: Callable[[], object], *, timeout_s: float = 60.0, what: str = "it") -> None:
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.02)


@dataclass(frozen=True)
class Entry:
    event: str
    key: str
    at: float
    pid: int
    facts: tuple[str, ...]


class Journal:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def entries(self, event: str, prefix: str = "") -> list[Entry]:
        lines = [line.split() for line in self.path.read_text().splitlines()]
        return [
            Entry(word, key, float(at), int(pid), tuple(facts))
            for word, key, at, pid, *facts in lines
            if word == event and key.startswith(prefix)
        ]

    def wait(self, event: str, prefix: str, count: int = 1, *, timeout_s: float = 60.0) -> list[Entry]:
        wait_until(
            lambda: len({entry.key for entry in self.entries(event, prefix)}) >= count,
            timeout_s=timeout_s,
            what=f"{count} x {event} of {prefix}",
        )
        return self.entries(event, prefix)

    def times(self, event: str, prefix: str) -> Counter[str]:
        return Counter(entry.key for entry in self.entries(event, prefix))


class Worker:
    """A `celery worker` process in its own process group."""

    def __init__(
        self, *, connection_string: str, queue: str, journal: Journal, log: Path, arguments: list[str], **env: str
    ):
        self.log = log
        environment = {
            **os.environ, "TEST_CONNECTION_STRING": connection_string, "TEST_QUEUE": queue,
            "TEST_JOURNAL": str(journal.path), "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", **env,
        }  # fmt: skip
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "worker_app", "worker", "-l", "INFO",
                 "-n", f"{uuid.uuid4().hex}@%h", "--without-gossip", "--without-mingle", "--without-heartbeat",
                 *arguments],
                cwd=HERE, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        wait_until(lambda: self.is_ready, timeout_s=30, what=f"the worker's start (see {log})")

    @property
    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return " ready." in self.log.read_text()

    def stop(self) -> float:
        """Warm shutdown; how long it took."""
        begin = time.monotonic()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        return time.monotonic() - begin

    def kill(self) -> None:
        """Kill the main process and its children, as a lost machine would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)


@pytest.fixture(scope="session")
def connection_string() -> Iterator[str]:
    if given := os.environ.get("TEST_SERVICEBUS"):
        yield given
        return
    from geoetl.emulator.server import EmulatorServer

    with EmulatorServer.in_thread() as server:
        yield server.connection_string


@pytest.fixture(scope="session")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    return Journal(tmp_path_factory.mktemp("journal") / "tasks")


@pytest.fixture
def queue() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex[:8]


@pytest.fixture(autouse=True, scope="session")
def _close_namespaces() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture(scope="session")
def client_for(connection_string: str) -> Iterator[Callable[..., Celery]]:
    """Make Celery apps that publish to a queue as any client would."""
    apps: list[Celery] = []

    def make(queue: str, string: str | None = None, *, lock_s: float = 2) -> Celery:
        app = Celery("client", broker="servicebus://", set_as_current=False)
        app.conf.update(
            broker_transport_options={"connection_string": string or connection_string, "lock_duration_s": lock_s},
            task_default_queue=queue,
            task_ignore_result=True,
        )
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()
        app.pool.force_close_all()


type StartWorker = Callable[..., Worker]


@pytest.fixture(scope="session")
def _start_worker(connection_string: str, journal: Journal, tmp_path_factory: pytest.TempPathFactory) -> StartWorker:
    numbers = itertools.count()
    logs = tmp_path_factory.mktemp("workers")

    def start(queue: str, *arguments: str, string: str | None = None, **env: str) -> Worker:
        return Worker(
            connection_string=string or connection_string, queue=queue, journal=journal,
            log=logs / f"{next(numbers)}.log", arguments=list(arguments), **env,
        )  # fmt: skip

    return start


@pytest.fixture
def start_worker(_start_worker: StartWorker) -> Iterator[StartWorker]:
    """Start workers that are killed at the end of the test."""
    workers: list[Worker] = []

    def start(*args: str, **kwargs: str) -> Worker:
        workers.append(_start_worker(*args, **kwargs))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.kill()


@dataclass(frozen=True)
class Running:
    worker: Worker
    queue: str
    client: Celery


@pytest.fixture(scope="session", params=["prefork", "threads"])
def running(
    request: pytest.FixtureRequest, _start_worker: StartWorker, client_for: Callable[..., Celery]
) -> Iterator[Running]:
    """A worker with two slots and a lock of two seconds, shared by the tests."""
    queue = f"test-{request.param}-{uuid.uuid4().hex[:8]}"
    worker = _start_worker(queue, "-c", "2", "-P", request.param)
    yield Running(worker, queue, client_for(queue))
    worker.stop()


@pytest.fixture
def connect(connection_string: str) -> Iterator[Callable[..., Connection]]:
    connections: list[Connection] = []

    def make(url: str = "servicebus://", **options: Any) -> Connection:
        if url == "servicebus://":
            options.setdefault("connection_string", connection_string)
        connections.append(Connection(url, transport_options={"lock_duration_s": 2, **options}))
        return connections[-1]

    yield make
    for connection in connections:
        connection.release()


@pytest.fixture
def admin(connection_string: str) -> Iterator[ServiceBusAdministrationClient]:
    with Clients(parse_connection_string(connection_string), Options()).admin() as admin:
        yield admin


@pytest.fixture
def control(connection_string: str) -> Callable[..., dict[str, Any]]:
    """The emulator's fault injection."""
    if os.environ.get("TEST_SERVICEBUS"):
        pytest.skip("only the project's emulator breaks on demand")

    def call(command: str, **arguments: Any) -> dict[str, Any]:
        url = f"http://{parse_connection_string(connection_string).host}/$control/{command}"
        request = urllib.request.Request(url, data=json.dumps(arguments).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    return call


@pytest.fixture
def heard() -> Iterator[dict[str, list[dict[str, Any]]]]:
    """What was sent to each of the signals."""
    heard: dict[str, list[dict[str, Any]]] = {name: [] for name in ("lock_lost", "link_lost", "link_restored")}
    receivers = {name: (lambda _name=name, **facts: heard[_name].append(facts)) for name in heard}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver, weak=False)
    yield heard
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)
