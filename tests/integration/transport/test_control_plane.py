"""Remote control and events, with two real workers."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker as start_worker_in_thread
from celery.signals import setup_logging
from kombu import Connection, Exchange, Queue

from geoetl.emulator import EmulatorServer
from geoetl.emulator.tokens import AccessPolicy
from geoetl.transport.namespace import close_all
from tests.integration.transport.conftest import HERE, ROOT, wait_until


def counts(server: EmulatorServer) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/$control/counts", timeout=5) as answer:
        return json.load(answer)


def start_worker(name: str, environ: dict[str, str], log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "celery", "-A", "control_app", "worker", "-n", name, "-l", "INFO", *arguments]
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=HERE, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: " ready." in log.read_text(), timeout_s=40, what=f"the start of {name} (see {log})")
    except AssertionError:
        stop(process)
        raise
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


@dataclass
class Cluster:
    """Two workers of one queue, ``one`` and ``two``, and a client of theirs."""

    server: EmulatorServer
    app: Celery
    environ: dict[str, str]
    logs: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        log = self.logs / f"{name}-{uuid.uuid4().hex[:6]}.log"
        self.processes[name] = start_worker(f"{name}@test", self.environ, log, "-c", "2")

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
        return getattr(self.app.control.inspect(limit=2, timeout=3), command)(*arguments) or {}

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
        thread.join(10)
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


def close(app: Celery) -> None:
    app.close()
    app.pool.force_close_all()


@pytest.fixture(scope="module")
def server() -> Iterator[EmulatorServer]:
    # Of its own: what is left behind is counted.
    with EmulatorServer.in_thread() as server:
        yield server
        close_all()


@pytest.fixture(scope="module")
def cluster(server: EmulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    environ = environ_of(server)
    cluster = Cluster(server, client_of(server, environ), environ, tmp_path_factory.mktemp("logs"))
    cluster.start("one")
    cluster.start("two")
    yield cluster
    for process in cluster.processes.values():
        stop(process)
    close(cluster.app)


BOTH = {"one@test", "two@test"}


def test_status_and_inspect_of_the_command_line_see_both_workers(cluster):
    assert "2 nodes online" in cluster.celery("status")
    told = json.loads(cluster.celery("inspect", "--json", "ping"))
    assert told == {worker: {"ok": "pong"} for worker in BOTH}


@pytest.mark.parametrize(
    "command",
    ["active", "active_queues", "clock", "conf", "registered", "report", "reserved", "revoked", "scheduled", "stats"],
)
def test_inspect_is_answered_by_both_workers(cluster, command):
    assert set(cluster.ask(command)) == BOTH


def test_inspect_of_one_task_finds_it(cluster):
    task_id = cluster.nap(1.0)
    wait_until(lambda: task_id in cluster.active(), what="the task")
    told = cluster.ask("query_task", task_id)
    assert [state for tasks in told.values() for state, _ in tasks.values()] == ["active"]


def test_a_question_to_one_worker_is_answered_by_that_one(cluster):
    assert cluster.app.control.ping(destination=["two@test"], timeout=3) == [{"two@test": {"ok": "pong"}}]


def test_replies_come_fast(cluster):
    def ask() -> float:
        begin = time.monotonic()
        assert len(cluster.app.control.ping(limit=2, timeout=3)) == 2
        return (time.monotonic() - begin) * 1000

    ask()
    times = sorted(ask() for _ in range(100))
    assert times[98] < 300, (
        f"ping of two workers: p50 {times[49]:.0f} ms, p99 {times[98]:.0f} ms, max {times[99]:.0f} ms"
    )


def test_concurrent_questions_get_their_own_answers(cluster):
    answers: list[list[Any]] = []

    def ask() -> None:
        answers.append(cluster.app.control.ping(limit=2, timeout=3))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [sorted(name for reply in answer for name in reply) for answer in answers] == [sorted(BOTH)] * 5


def test_a_revoked_task_is_not_begun(cluster):
    task_id = uuid.uuid4().hex
    assert len(cluster.app.control.revoke(task_id, reply=True, limit=2, timeout=3)) == 2
    with cluster.events() as heard:
        cluster.app.send_task("control_app.nap", (0,), task_id=task_id)
        wait_until(lambda: [e for e in heard if e["type"] == "task-revoked"], what="the event")
    assert [e["type"] for e in heard if e.get("uuid") == task_id] == ["task-revoked"]


def test_a_running_task_is_terminated(cluster):
    task_id = cluster.nap(60)
    wait_until(lambda: task_id in cluster.active(), what="the task")
    with cluster.events() as heard:
        cluster.app.control.revoke(task_id, terminate=True, signal="SIGKILL")
        wait_until(lambda: [e for e in heard if e["type"] == "task-revoked"], what="the event")
    assert task_id not in cluster.active()
    assert counts(cluster.server)["queues"]["tasks"]["total"] == 0


def test_rate_limit_and_time_limit_are_set_on_both(cluster):
    assert len(cluster.app.control.rate_limit("control_app.say", "100/m", reply=True, limit=2, timeout=3)) == 2
    assert len(cluster.app.control.time_limit("control_app.say", hard=30, reply=True, limit=2, timeout=3)) == 2
    registered = cluster.ask("registered", "rate_limit")
    assert all("control_app.say [rate_limit=100/m]" in tasks for tasks in registered.values())


def test_a_pool_grows_and_shrinks(cluster):
    def sizes() -> list[int]:
        return sorted(len(stats["pool"]["processes"]) for stats in cluster.ask("stats").values())

    cluster.app.control.pool_grow(1, destination=["one@test"], reply=True, timeout=3)
    wait_until(lambda: sizes() == [2, 3], what="growth")
    cluster.app.control.pool_shrink(1, destination=["one@test"], reply=True, timeout=3)
    wait_until(lambda: sizes() == [2, 2], what="shrinking")


def test_a_worker_takes_up_and_drops_a_queue(cluster):
    def consumers(queue: str) -> set[str]:
        told = cluster.ask("active_queues")
        return {worker for worker, queues in told.items() if queue in [each["name"] for each in queues]}

    cluster.app.control.add_consumer("more", destination=["two@test"], reply=True, timeout=3)
    assert consumers("more") == {"two@test"}
    with cluster.events() as heard:
        cluster.app.send_task("control_app.say", ("hello",), queue="more")
        wait_until(lambda: [e for e in heard if e["type"] == "task-succeeded"], what="the task of the new queue")
    cluster.app.control.cancel_consumer("more", destination=["two@test"], reply=True, timeout=3)
    assert consumers("more") == set()


def test_events_tell_a_task_s_life_and_make_a_snapshot(cluster):
    with cluster.events() as heard:
        task_id = cluster.nap(0.1)
        wait_until(lambda: "task-succeeded" in [e["type"] for e in heard], what="the end of the task")
    mine = [e for e in heard if e.get("uuid") == task_id]
    assert [e["type"] for e in mine] == ["task-received", "task-started", "task-succeeded"]
    assert max(e["local_received"] - e["timestamp"] for e in mine) < 1.0
    state = cluster.app.events.State()
    for event in heard:
        state.event(event)
    assert state.tasks[task_id].state == "SUCCESS"
    assert {worker.hostname for worker in state.alive_workers()} <= BOTH


def test_events_can_be_switched_off_and_on(cluster):
    told = cluster.app.control.disable_events(reply=True, limit=2, timeout=3)
    assert all("disabled" in answer["ok"] for reply in told for answer in reply.values())
    assert len(cluster.app.control.enable_events(reply=True, limit=2, timeout=3)) == 2


def test_a_routing_key_selects_events(cluster):
    with cluster.events() as everything, cluster.events("worker.#") as of_workers:
        task_id = cluster.nap(0)
        wait_until(lambda: [e for e in everything if e.get("uuid") == task_id and e["type"] == "task-succeeded"])
        heartbeats = len(of_workers)
        wait_until(lambda: len(of_workers) > heartbeats, what="a heartbeat after the task")
    assert {e["type"].partition("-")[0] for e in of_workers} == {"worker"}


def test_a_shutdown_stops_a_worker_and_takes_its_subscription_along(cluster):
    cluster.app.control.shutdown(destination=["two@test"])
    assert cluster.processes.pop("two").wait(20) == 0
    cluster.app.control.ping(limit=1, timeout=3)
    subscriptions = counts(cluster.server)["subscriptions"]
    assert [name for name in subscriptions if "two_test" in name] == []
    cluster.start("two")


def test_a_worker_that_lost_its_subscription_makes_it_anew(cluster):
    def path() -> str | None:
        return next((name for name in counts(cluster.server)["subscriptions"] if "one_test" in name), None)

    topic, _, name = (path() or "").partition("/Subscriptions/")
    cluster.server.call(lambda it: it.namespace.delete_subscription(topic, name))
    wait_until(path, what="the new subscription")
    assert cluster.app.control.ping(destination=["one@test"], timeout=3) == [{"one@test": {"ok": "pong"}}]


def test_fifty_starts_and_stops_leave_nothing_behind(server, monkeypatch):
    environ = {**environ_of(server), "TEST_QUEUE": "leaks", "TEST_CONTROL_EXCHANGE": "leaks"}
    app = client_of(server, environ)

    def left() -> tuple[list[str], list[str], list[str]]:
        told = counts(server)
        return sorted(told["queues"]), sorted(told["topics"]), sorted(told["subscriptions"])

    def leave_logging_alone(**_: Any) -> None:
        pass

    # A worker in this process would set up logging for all tests that follow.
    monkeypatch.setattr(setup_logging, "receivers", [])
    setup_logging.connect(leave_logging_alone)
    seen = []
    for _ in range(50):
        with start_worker_in_thread(app, pool="solo", perform_ping_check=False, hostname="leaks@test"):
            assert app.control.ping(timeout=3, limit=1) == [{"leaks@test": {"ok": "pong"}}]
        seen.append(left())
    assert seen[-1] == seen[0]
    assert not [name for name in seen[-1][2] if "leaks" in name]
    close(app)


def test_without_the_right_to_create_control_is_off_and_tasks_go_on(tmp_path):
    with EmulatorServer.in_thread(policy=AccessPolicy("send-and-listen", "key", can_manage=False)) as server:
        server.call(lambda it: it.namespace.create("tasks", {"LockDuration": "PT5S"}))
        environ = {**environ_of(server), "TEST_CREATE_QUEUES": ""}
        app = client_of(server, environ)
        app.conf.broker_transport_options["create_queues"] = False
        log = tmp_path / "worker.log"
        process = start_worker("poor@test", environ, log, "-c", "1")
        try:
            app.send_task("control_app.nap", (0,))
            wait_until(lambda: "succeeded in" in log.read_text(), what="the task")
            assert app.control.ping(timeout=0.5) == []
        finally:
            stop(process)
        close(app)
        close_all()
    assert log.read_text().count("remote control and events are off") == 1


def test_a_subscription_refused_by_the_namespace_is_one_warning(caplog):
    with EmulatorServer.in_thread(policy=AccessPolicy("send-and-listen", "key", can_manage=False)) as server:
        with Connection("servicebus://", transport_options={"connection_string": server.connection_string}) as it:
            channel = it.channel()
            for name in ("a", "b"):
                queue = Queue(name, Exchange("news", type="fanout"), auto_delete=True)
                queue(channel).declare()
        close_all()
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
        it.drain_events(timeout=5)
        it.drain_events(timeout=5)
    assert got == {"a": ["good"], "b": ["good"]}
    assert [name for name in counts(server)["subscriptions"] if "news" in name] == []
