"""A queue that refuses keeps its own messages waiting, and nobody else's: on a real Service Bus emulator."""

import logging
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager

import psycopg
import pytest
from azure.servicebus.exceptions import ServiceBusQuotaExceededError
from kombu.entity import Queue

import geoetl.transport  # noqa: F401 - registers servicebus://
from geoetl.backend import dispatch
from geoetl.backend.app import OutboxCelery
from geoetl.backend.dispatch import MessagesRefused
from geoetl.backend.relay import Relay
from geoetl.emulator import EmulatorServer
from geoetl.emulator.tokens import AccessPolicy
from geoetl.transport.namespace import close_all
from tests.integration.backend.sending import commit, eventually, running

GOOD, BAD = "good", "bad"


def work(x: int) -> int:
    return x


@pytest.fixture
def server() -> Generator[EmulatorServer]:
    """A Service Bus whose key may send and listen, and not create anything; it has one queue."""
    with EmulatorServer.in_thread(policy=AccessPolicy("send-and-listen", "key", can_manage=False)) as server:
        server.call(lambda it: it.namespace.create(GOOD, {}))
        yield server
        close_all()


@pytest.fixture
def app(server: EmulatorServer, connections) -> Generator[OutboxCelery]:
    app = OutboxCelery(
        f"refusing-{uuid.uuid4().hex[:8]}",
        broker="servicebus://",
        connections=connections,
        database_errors=(psycopg.Error,),
        set_as_current=False,
    )
    app.conf.broker_transport_options = {"connection_string": server.connection_string, "create_queues": False}
    app.conf.task_queues = [Queue(GOOD), Queue(BAD)]
    app.task(work, name="work")
    yield app
    app.pool.force_close_all()


def send(app: OutboxCelery, queue: str, *numbers: int) -> None:
    commit(app, *(app.signature("work", (number,), options={"queue": queue}) for number in numbers))


def waiting(server: EmulatorServer, queue: str) -> int:
    return server.call(lambda it: it.namespace.queue(queue).counts.active)


def kept(app: OutboxCelery) -> list[tuple[bool, str]]:
    """Rows that are put back: whether they are due, and why."""
    rows = app.connections().execute(
        "SELECT not_before <= now(), problem FROM geoetl.outbox WHERE parked_at IS NULL ORDER BY id"
    )
    return rows.fetchall()


@contextmanager
def refusal_forgotten_after(seconds: float, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(dispatch, "RETRY_S", seconds)
        yield


MENDERS: dict[str, tuple[Callable[[EmulatorServer], object], Callable[[EmulatorServer], object]]] = {
    "missing": (lambda it: None, lambda it: it.call(lambda broker: broker.namespace.create(BAD, {}))),
    "disabled": (
        lambda it: it.call(lambda broker: broker.namespace.create(BAD, {"Status": "SendDisabled"})),
        lambda it: it.call(lambda broker: broker.namespace.update(BAD, {"Status": "Active"})),
    ),
}


@pytest.mark.parametrize("how", MENDERS)
def test_a_queue_that_refuses_holds_up_no_other_and_goes_on_when_it_is_mended(app, server, monkeypatch, how, caplog):
    caplog.set_level(logging.WARNING, logger="geoetl.backend")
    breaks, mends = MENDERS[how]
    breaks(server)
    relay = Relay(app, sources={}, limit=4)
    relay.idle_s = 0.1
    with refusal_forgotten_after(1.0, monkeypatch), running(relay):
        eventually(relay.is_leading.is_set)
        began = time.monotonic()
        for number in range(5):
            send(app, GOOD, number)
            send(app, BAD, number)
            send(app, GOOD, 10 + number)
        eventually(lambda: waiting(server, GOOD) >= 10, within_s=30.0)
        eventually(lambda: len(kept(app)) == 5, within_s=30.0)
        took_s = time.monotonic() - began
        attempts = [record.getMessage() for record in caplog.records if record.name == dispatch.__name__]
        mends(server)
        eventually(lambda: waiting(server, BAD) == 5, within_s=30.0)

    assert waiting(server, GOOD) == 10
    assert app.connections().execute("SELECT count(*) FROM geoetl.outbox").fetchone() == (0,)
    assert 1 <= len(attempts) <= 2 + took_s, "it is tried once a second"
    assert all("queue=bad" in line and "Create" in line for line in attempts)


def test_one_drain_sends_what_it_can_and_says_which_queue_refuses(app, server):
    send(app, BAD, *range(30))
    send(app, GOOD, 1, 2)
    send(app, BAD, *range(30))
    relay = Relay(app, sources={})

    with pytest.raises(MessagesRefused, match=r"'bad'.*no such queue"):
        relay.drain()

    assert waiting(server, GOOD) == 2
    assert len(kept(app)) == 60
    assert {is_due for is_due, _ in kept(app)} == {False}
    assert "no such queue" in kept(app)[0][1]
    assert relay.drain() == 0


def test_a_message_that_is_refused_alone_keeps_no_other_of_its_queue(app, server, monkeypatch):
    send(app, GOOD, *range(6))
    publish = dispatch.Outlet.publish

    def refuse_the_first(self, message) -> None:
        if b"[[0]," in message.body:
            raise ServiceBusQuotaExceededError(message="full")
        publish(self, message)

    monkeypatch.setattr(dispatch.Outlet, "publish", refuse_the_first)
    with pytest.raises(MessagesRefused):
        Relay(app, sources={}).drain()

    assert waiting(server, GOOD) == 5
    assert len(kept(app)) == 1
