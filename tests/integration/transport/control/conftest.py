"""Two real workers of one queue for the tests of remote control and events."""

import json
import os
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection

from geoetl.emulator import EmulatorServer
from tests.integration.transport.conftest import ROOT, wait_until

HERE = Path(__file__).parent

BOTH = {"one@test", "two@test"}


type Workers = dict[str, subprocess.Popen[bytes]]


def counts(server: EmulatorServer) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/$control/counts", timeout=60) as answer:
        return json.load(answer)


def start_worker(name: str, environ: dict[str, str], log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "celery", "-A", "control_app", "worker", "-n", name, "-l", "INFO", *arguments]
    with log.open("ab") as output:
        return subprocess.Popen(command, cwd=HERE, env=environ, stdout=output, stderr=subprocess.STDOUT)


def start_workers(
    environ: dict[str, str], logs: Path, *names: str, arguments: tuple[str, ...] = ("-c", "2")
) -> Workers:
    """Workers that start at the same time, by name, when all are ready."""
    paths = {name: logs / f"{name}-{uuid.uuid4().hex[:6]}.log" for name in names}
    processes = {name: start_worker(f"{name}@test", environ, log, *arguments) for name, log in paths.items()}
    try:
        for name, log in paths.items():
            wait_until(lambda log=log: " ready." in log.read_text(), timeout_s=90, what=f"the start of {name} ({log})")
    except BaseException:  # the test's time may be up
        stop(*processes.values())
        raise
    return processes


def stop(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)


@dataclass
class Cluster:
    """Two workers of one queue, ``one`` and ``two``, and a client of theirs."""

    server: EmulatorServer
    app: Celery
    environ: dict[str, str]
    logs: Path
    processes: Workers = field(default_factory=dict)

    def start(self, *names: str) -> None:
        self.processes |= start_workers(self.environ, self.logs, *names)

    def celery(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "control_app", *arguments],
            cwd=HERE, env=self.environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def nap(self, seconds: float) -> str:
        return self.app.send_task("control_app.nap", (seconds,)).id

    def active(self) -> dict[str, str]:
        """Worker by the id of the task it runs."""
        return {task["id"]: worker for worker, tasks in self.ask("active").items() for task in tasks}

    def ask(self, command: str, *arguments: Any) -> dict[str, Any]:
        return getattr(self.app.control.inspect(limit=2, timeout=30), command)(*arguments) or {}

    @contextmanager
    def events(self, routing_key: str = "#") -> Iterator[list[dict[str, Any]]]:
        heard: list[dict[str, Any]] = []
        is_over = threading.Event()

        def listen() -> None:
            with self.app.connection() as connection:
                receiver = self.app.events.Receiver(connection, handlers={"*": heard.append}, routing_key=routing_key)
                for _ in receiver.itercapture(limit=None, timeout=None, wakeup=True):
                    if is_over.is_set():
                        return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        wait_until(lambda: heard, what="the first heartbeat")
        yield heard
        is_over.set()
        thread.join(60)
        assert not thread.is_alive()


def client_of(server: EmulatorServer, environ: dict[str, str]) -> Celery:
    app = Celery("client", broker="servicebus://", set_as_current=False)
    app.conf.update(
        broker_transport_options={"connection_string": server.connection_string, "lock_duration_s": 5},
        control_exchange=environ["TEST_CONTROL_EXCHANGE"],
        event_exchange=environ["TEST_EVENT_EXCHANGE"],
        task_default_queue=environ["TEST_QUEUE"],
        task_ignore_result=True,
    )
    return app


def environ_of(server: EmulatorServer) -> dict[str, str]:
    return {
        **os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", "TEST_CONNECTION_STRING": server.connection_string,
        "TEST_QUEUE": "tasks", "TEST_CONTROL_EXCHANGE": "celery", "TEST_EVENT_EXCHANGE": "celeryev",
    }  # fmt: skip


def close_namespace(connection: Connection) -> None:
    """Close what this process has open at one server; the other servers' is in use."""
    connection.transport.namespace.close()


def close(app: Celery) -> None:
    with app.connection_for_write() as connection:
        close_namespace(connection)
    app.close()
    app.pool.force_close_all()


@pytest.fixture(scope="session")
def server() -> Iterator[EmulatorServer]:
    # Of its own: what is left behind is counted.
    with EmulatorServer.in_thread() as server:
        yield server


@pytest.fixture(scope="session")
def cluster(server: EmulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    environ = environ_of(server)
    cluster = Cluster(server, client_of(server, environ), environ, tmp_path_factory.mktemp("logs"))
    cluster.start("one", "two")
    yield cluster
    stop(*cluster.processes.values())
    close(cluster.app)
