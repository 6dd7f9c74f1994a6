"""A Celery app with the backend on a fresh database, and kombu's broker in memory."""

import importlib.util
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest
from kombu.entity import Exchange, Queue

from geoetl.backend.app import OutboxCelery
from geoetl.backend.messages import capture
from geoetl.backend.relay import enqueue
from geoetl.backend.schema import install
from geoetl.config import DatabaseTarget
from geoetl.db.connections import ConnectionSource, DatabaseUnavailable
from geoetl.db.provision import Layout
from geoetl.emulator import EmulatorServer
from tests.stack import TestDatabases

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]


def add(x: int, y: int) -> int:
    return x + y


@pytest.fixture
def connections(app_db: DatabaseTarget) -> Generator[ConnectionSource]:
    source = ConnectionSource(app_db, application_name="backend-test")
    yield source
    source.close()


@pytest.fixture
def make_app(connections: ConnectionSource) -> Callable[[], OutboxCelery]:
    queue = f"q-{uuid.uuid4().hex[:8]}"  # kombu's memory broker is one for the whole process

    def make() -> OutboxCelery:
        app = OutboxCelery(
            "backend-test",
            broker="memory://",
            connections=connections,
            database_errors=(psycopg.Error, DatabaseUnavailable),
            set_as_current=False,
        )
        app.conf.task_default_queue = queue
        app.conf.task_queues = [Queue(queue, Exchange(queue, type="direct"), routing_key=queue)]
        app.conf.task_default_exchange = queue
        app.conf.task_default_routing_key = queue
        app.task(add, name="add")
        return app

    return make


@pytest.fixture
def app(make_app: Callable[[], OutboxCelery]) -> OutboxCelery:
    return make_app()


@dataclass
class CanvasWorker:
    """A worker process of ``canvas_app``, its database, and the same app here as a client."""

    app: OutboxCelery
    tasks: Any
    database: DatabaseTarget
    process: subprocess.Popen[bytes]
    log: Path
    environ: dict[str, str]

    def sql(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.conninfo(application_name="canvas-test"), autocommit=True) as conn:
            cursor = conn.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    def submit(self, signature: Any) -> Any:
        """Send a canvas through the outbox, in one transaction."""
        conn = self.app.connections()
        with conn.transaction(), capture() as captured:
            result = signature.apply_async()
            enqueue(conn, captured)
        return result

    def settle(self, within_s: float = 20.0) -> None:
        """Wait until nothing waits and nothing runs."""
        until = time.monotonic() + within_s
        while True:
            waiting = self.sql("SELECT count(*) FROM geoetl.outbox WHERE parked_at IS NULL")[0][0]
            running = self.sql("SELECT count(*) FROM geoetl.result WHERE phase = 'running'")[0][0]
            if not waiting and not running:
                return
            assert time.monotonic() < until, f"{waiting} messages wait, {running} tasks run after {within_s} s"
            time.sleep(0.05)

    def done(self, what: str) -> list[str]:
        return [row[0] for row in self.sql("SELECT task_id FROM done WHERE what = %s", what)]


@pytest.fixture(scope="module")
def broker() -> Generator[str]:
    """Connection string of a Service Bus emulator."""
    with EmulatorServer.in_thread() as server:
        yield server.connection_string


@pytest.fixture(scope="module")
def start_canvas_worker(
    databases: TestDatabases, broker: str, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Callable[..., CanvasWorker]]:
    started: list[CanvasWorker] = []

    def start(*arguments: str, copies: int = 1, **env: str) -> CanvasWorker:
        number = len(started)
        database = databases.new_empty(Layout().app)
        url = f"geoetl+postgresql:///{database.dbname}?host={database.host}&port={database.port}&user={database.user}"
        environ = {
            "TEST_BACKEND_URL": url,
            "TEST_CONNECTION_STRING": broker,
            "TEST_QUEUE": f"canvas-{uuid.uuid4().hex[:8]}",
            **env,
        }
        with psycopg.connect(database.conninfo(application_name="canvas-test"), autocommit=True) as conn:
            install(conn)
            conn.execute("CREATE TABLE done (what text, task_id text, pid int, at timestamptz DEFAULT now())")
            if copies > 1:
                conn.execute(COPY_EVERY_MESSAGE.format(copies=copies))
        log = tmp_path_factory.mktemp("canvas") / f"worker-{number}.log"
        with mock.patch.dict(os.environ, environ):
            module = _load_canvas_app()
        process = start_process(log, arguments, environ)
        worker = CanvasWorker(module.app, module, database, process, log, environ)
        started.append(worker)
        wait_for_ready(worker)
        return worker

    yield start
    for worker in started:
        stop_process(worker.process)
        worker.app.backend.connections.close()
        worker.app.pool.force_close_all()
        databases.drop(worker.database)


#: Every message of the outbox is published several times.
COPY_EVERY_MESSAGE = """
CREATE FUNCTION copy_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        INSERT INTO geoetl.outbox (source, ref, envelope, body, not_before)
        SELECT NEW.source, NEW.ref, NEW.envelope, NEW.body, NEW.not_before FROM generate_series(2, {copies});
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER copies AFTER INSERT ON geoetl.outbox FOR EACH ROW WHEN (NEW.dedupe IS NULL)
    EXECUTE FUNCTION copy_message();
"""


def _load_canvas_app() -> Any:
    """A module of its own for each worker: its tasks belong to that worker's app."""
    spec = importlib.util.spec_from_file_location("canvas_app", FOLDER / "canvas_app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start_process(log: Path, arguments: Sequence[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "celery", "-A", "canvas_app", "worker", "-l", "INFO", "--without-gossip",
               "--without-mingle", *(arguments or ("-c", "3"))]  # fmt: skip
    environ = os.environ | environ | {"PYTHONPATH": f"{FOLDER}:{ROOT}"}
    with log.open("ab") as out:
        return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out, stderr=out)


def wait_for_ready(worker: CanvasWorker, within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while " ready." not in worker.log.read_text(errors="replace"):
        assert worker.process.poll() is None, worker.log.read_text(errors="replace")
        assert time.monotonic() < until, "the worker did not get ready"
        time.sleep(0.05)


def stop_process(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
