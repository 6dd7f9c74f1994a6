"""Fixtures that give the tests of any Celery project a Service Bus broker; see docs/emulator.md.

Name it in the `conftest.py` at the root of your tests: nothing is loaded, or started, for those who do not.

    pytest_plugins = ["celery.contrib.pytest", "geoetl.emulator.pytest_plugin"]
"""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from geoetl.emulator.server import EmulatorServer, RunningServer


@pytest.fixture(scope="session")
def servicebus_emulator() -> Iterator[RunningServer]:
    """A namespace for the run, in memory, in a thread of this process."""
    with EmulatorServer.in_thread() as server:
        yield server
        # The transport of this project, where it was used, would look for a server that is gone. It is not imported:
        # the emulator stands alone.
        if (transport := sys.modules.get("geoetl.transport.namespace")) is not None:
            transport.close_all()


@pytest.fixture(scope="session")
def servicebus_connection_string(servicebus_emulator: RunningServer) -> str:
    """For the Service Bus SDK, or for workers that are processes of their own."""
    return servicebus_emulator.connection_string


@pytest.fixture(scope="session")
def servicebus_celery_config(servicebus_connection_string: str) -> dict[str, Any]:
    """Settings of a Celery app: the broker. Return them from the fixture `celery_config`, with your own."""
    return {
        "broker_url": "servicebus://",
        "broker_transport": "geoetl.transport.transport:Transport",
        # A short lock: what a worker held that a test killed comes back while the test waits.
        "broker_transport_options": {"connection_string": servicebus_connection_string, "lock_duration_s": 5},
        "task_acks_late": True,
    }


@pytest.fixture
def servicebus_empty(servicebus_emulator: RunningServer) -> Iterator[None]:
    """No message from another test, and none left for the next; queues stay."""
    _clear(servicebus_emulator)
    yield
    _clear(servicebus_emulator)


def _clear(server: RunningServer) -> None:
    def clear(it: EmulatorServer) -> None:
        entities = it.namespace.entities
        for queue in [*entities.queues(), *entities.subscriptions()]:
            queue.clear()
        it.namespace.journal.commit()

    server.call(clear)
