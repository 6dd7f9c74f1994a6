"""Questions to two real workers, and how long their answers take."""

import json
import threading
import time
from typing import Any

import pytest

from tests.integration.transport.conftest import wait_until
from tests.integration.transport.control.conftest import BOTH, counts


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


def test_inspect_scheduled_tells_what_waits_on_the_service(cluster):
    task_id = cluster.app.send_task("control_app.say", ("later",), countdown=2).id
    told = cluster.ask("scheduled")
    assert set(told) == BOTH
    for (found,) in told.values():
        assert (found["request"]["id"], found["request"]["args"]) == (task_id, ["later"])
        assert found["request"]["acknowledged"] is False
    assert counts(cluster.server)["queues"]["tasks"]["scheduled"] == 1
    cluster.app.control.revoke(task_id, reply=True, limit=2, timeout=30)


def test_a_question_to_one_worker_is_answered_by_that_one(cluster):
    assert cluster.app.control.ping(destination=["two@test"], timeout=30) == [{"two@test": {"ok": "pong"}}]


def test_replies_come_fast(cluster):
    def ask() -> float:
        begin = time.monotonic()
        assert len(cluster.app.control.ping(limit=2, timeout=30)) == 2
        return (time.monotonic() - begin) * 1000

    ask()
    times = sorted(ask() for _ in range(100))
    assert times[98] < 300, (
        f"ping of two workers: p50 {times[49]:.0f} ms, p99 {times[98]:.0f} ms, max {times[99]:.0f} ms"
    )


def test_concurrent_questions_get_their_own_answers(cluster):
    answers: list[list[Any]] = []

    def ask() -> None:
        answers.append(cluster.app.control.ping(limit=2, timeout=30))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [sorted(name for reply in answer for name in reply) for answer in answers] == [sorted(BOTH)] * 5
