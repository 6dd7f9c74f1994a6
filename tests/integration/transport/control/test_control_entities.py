"""The topics and subscriptions behind remote control: made anew, left by nobody, and what is off without them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from geoetl.emulator import EmulatorServer
from geoetl.emulator.tokens import AccessPolicy
from tests.integration.transport.conftest import wait_until
from tests.integration.transport.control.conftest import (
    HERE,
    client_of,
    close,
    close_namespace,
    counts,
    environ_of,
    start_workers,
    stop,
)  # fmt: skip


def test_a_worker_that_lost_its_subscription_makes_it_anew(cluster):
    def path() -> str | None:
        return next((name for name in counts(cluster.server)["subscriptions"] if "one_test" in name), None)

    topic, _, name = (path() or "").partition("/Subscriptions/")
    cluster.server.call(lambda it: it.namespace.delete_subscription(topic, name))
    wait_until(path, what="the new subscription")
    assert cluster.app.control.ping(destination=["one@test"], timeout=30) == [{"one@test": {"ok": "pong"}}]


@pytest.mark.slow
def test_fifty_starts_and_stops_leave_nothing_behind(server, tmp_path):
    environ = {**environ_of(server), "TEST_QUEUE": "leaks", "TEST_CONTROL_EXCHANGE": "leaks"}
    app = client_of(server, environ)

    def left() -> tuple[list[str], list[str], list[str]]:
        told = counts(server)
        return sorted(told["queues"]), sorted(told["topics"]), sorted(told["subscriptions"])

    def answering() -> set[str]:
        return {worker for answer in app.control.ping(timeout=2, limit=10) for worker in answer}

    command = [sys.executable, str(HERE / "forked_workers.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    log = (tmp_path / "workers.log").open("wb")
    seen = []
    with log, subprocess.Popen(command, env=environ, stderr=log, start_new_session=True, **pipes) as workers:
        try:
            for turn in range(5):
                names = [f"leaks{turn}{letter}" for letter in "abcdefghij"]
                workers.stdin.write(" ".join(names) + "\n")
                workers.stdin.flush()
                expected = {f"{name}@test" for name in names}
                wait_until(lambda wanted=expected: answering() == wanted, timeout_s=40, what=f"ten starts ({log.name})")
                app.control.shutdown()
                assert workers.stdout.readline() == "gone\n"
                seen.append(left())
        finally:
            workers.stdin.close()
            with suppress(ProcessLookupError):
                os.killpg(workers.pid, signal.SIGKILL)
    assert seen[-1] == seen[0]
    assert not [name for name in seen[-1][2] if "leaks" in name]
    app.close()


def test_without_the_right_to_create_control_is_off_and_tasks_go_on(tmp_path):
    with EmulatorServer.in_thread(policy=AccessPolicy("send-and-listen", "key", can_manage=False)) as server:
        server.call(lambda it: it.namespace.create("tasks", {"LockDuration": "PT5S"}))
        environ = {**environ_of(server), "TEST_CREATE_QUEUES": ""}
        app = client_of(server, environ)
        app.conf.broker_transport_options["create_queues"] = False
        workers = start_workers(environ, tmp_path, "poor", arguments=("-c", "1"))
        (log,) = tmp_path.iterdir()
        try:
            app.send_task("control_app.nap", (0,))
            wait_until(lambda: "succeeded in" in log.read_text(), what="the task")
            assert app.control.ping(timeout=0.5) == []
        finally:
            stop(*workers.values())
        close(app)
    assert log.read_text().count("remote control and events are off") == 1


def test_a_subscription_refused_by_the_namespace_is_one_warning(caplog):
    with (
        EmulatorServer.in_thread(policy=AccessPolicy("send-and-listen", "key", can_manage=False)) as server,
        Connection("servicebus://", transport_options={"connection_string": server.connection_string}) as it,
    ):
        channel = it.channel()
        for name in ("a", "b"):
            queue = Queue(name, Exchange("news", type="fanout"), auto_delete=True)
            queue(channel).declare()
        close_namespace(it)
    assert caplog.text.count("remote control and events are off") == 1
    assert "403" in caplog.text or "401" in caplog.text


def test_each_listener_of_a_fanout_exchange_gets_its_copy(server):
    exchange = Exchange("news", type="fanout")
    got: dict[str, list[Any]] = {"a": [], "b": []}

    def into(name: str) -> Callable[[Any, Any], None]:
        def take(body: Any, message: Any) -> None:
            got[name].append(body)
            message.ack()

        return take

    with Connection("servicebus://", transport_options={"connection_string": server.connection_string}) as it:
        for name in got:
            it.Consumer(Queue(name, exchange, auto_delete=True), callbacks=[into(name)]).consume()
        with Connection("servicebus://", transport_options={"connection_string": server.connection_string}) as other:
            other.Producer(exchange=exchange).publish("good", declare=[exchange])
        it.drain_events(timeout=60)
        it.drain_events(timeout=60)
    assert got == {"a": ["good"], "b": ["good"]}
    assert [name for name in counts(server)["subscriptions"] if "news" in name] == []
