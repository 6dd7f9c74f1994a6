"""Events of tasks are collected, and sent as lists."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from kombu.asynchronous import set_event_loop

from geoetl.transport.events import LINGER_S, LIST_LIMIT, Events


class Loop:
    """A worker's event loop that turns when it is told to."""

    def __init__(self) -> None:
        self.soon: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.later: list[tuple[float, Callable[[], Any]]] = []
        self.on_close: set[Callable[[Any], Any]] = set()

    def call_soon(self, function: Callable[..., Any], *args: Any) -> None:
        self.soon.append((function, args))

    def call_later(self, delay_s: float, function: Callable[[], Any]) -> None:
        self.later.append((delay_s, function))

    def turn(self) -> None:
        for function, args in self.soon:
            function(*args)
        self.soon.clear()

    def wait(self) -> None:
        for _, function in self.later:
            function()
        self.later.clear()


class Producer:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def publish(self, body: Any, **_: Any) -> None:
        self.sent.append([event["type"] for event in body] if isinstance(body, list) else body["type"])


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    set_event_loop(loop)
    yield loop
    set_event_loop(None)


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def dispatcher(producer, loop):
    app = Celery("app", broker="memory://", events=Events, set_as_current=False)
    dispatcher = app.events.Dispatcher(
        app.connection(), buffer_group=["task"], on_send_buffered=lambda: None, hostname="a@b"
    )
    dispatcher.producer = producer
    return dispatcher


def test_events_of_tasks_wait_for_each_other(dispatcher, producer, loop):
    for kind in ("task-received", "task-started"):
        dispatcher.send(kind)
        loop.turn()
    assert producer.sent == []
    assert [delay_s for delay_s, _ in loop.later] == [LINGER_S]

    loop.wait()

    assert producer.sent == [["task-received", "task-started"]]


def test_a_later_event_waits_again(dispatcher, producer, loop):
    for kind in ("task-received", "task-started"):
        dispatcher.send(kind)
        loop.turn()
        loop.wait()
    assert producer.sent == [["task-received"], ["task-started"]]


def test_a_long_list_does_not_wait(dispatcher, producer):
    for _ in range(LIST_LIMIT):
        dispatcher.send("task-received")
    assert [len(each) for each in producer.sent] == [LIST_LIMIT]


def test_the_end_of_a_worker_is_told_after_the_end_of_its_tasks(dispatcher, producer):
    dispatcher.send("task-succeeded")
    dispatcher.send("worker-offline")
    assert producer.sent == [["task-succeeded"], "worker-offline"]


def test_what_was_collected_is_sent_when_the_loop_ends(dispatcher, producer, loop):
    dispatcher.send("task-succeeded")
    for function in loop.on_close:
        function(loop)
    assert producer.sent == [["task-succeeded"]]


def test_what_was_collected_is_sent_when_the_dispatcher_is_closed(dispatcher, producer):
    dispatcher.send("task-succeeded")
    dispatcher.close()
    assert producer.sent == [["task-succeeded"]]
