"""A Celery app with the backend on a fresh database, and kombu's broker in memory."""

import os
import uuid
from collections.abc import Callable, Generator
from unittest import mock

import psycopg
import pytest
from kombu.entity import Exchange, Queue

from geoetl.backend.app import OutboxCelery
from geoetl.backend.schema import install
from geoetl.config import DatabaseTarget
from geoetl.db.connections import ConnectionSource, DatabaseUnavailable
from geoetl.db.provision import Layout
from geoetl.emulator import EmulatorServer
from tests.integration.backend.canvas_workers import (
    COPY_EVERY_MESSAGE,
    CanvasWorker,
    load_canvas_app,
    start_process,
    stop_process,
    wait_for_ready,
)
from tests.stack import TestDatabases


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
            module = load_canvas_app()
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
