"""A Celery app with the backend on a fresh database, and kombu's broker in memory."""

import uuid
from collections.abc import Callable, Generator

import psycopg
import pytest
from kombu.entity import Exchange, Queue

from geoetl.backend.app import OutboxCelery
from geoetl.config import DatabaseTarget
from geoetl.db.connections import ConnectionSource, DatabaseUnavailable


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
