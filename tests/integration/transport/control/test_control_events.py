"""Events of two real workers."""

from tests.integration.transport.conftest import wait_until
from tests.integration.transport.control.conftest import BOTH


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
    told = cluster.app.control.disable_events(reply=True, limit=2, timeout=30)
    assert all("disabled" in answer["ok"] for reply in told for answer in reply.values())
    assert len(cluster.app.control.enable_events(reply=True, limit=2, timeout=30)) == 2


def test_a_routing_key_selects_events(cluster):
    with cluster.events() as everything, cluster.events("worker.#") as of_workers:
        task_id = cluster.nap(0)
        wait_until(lambda: [e for e in everything if e.get("uuid") == task_id and e["type"] == "task-succeeded"])
        heartbeats = len(of_workers)
        wait_until(lambda: len(of_workers) > heartbeats, what="a heartbeat after the task")
    assert {e["type"].partition("-")[0] for e in of_workers} == {"worker"}


def test_the_last_events_of_a_worker_are_not_lost(cluster):
    task_id = cluster.nap(3)
    wait_until(lambda: task_id in cluster.active(), what="the task")
    name = cluster.active()[task_id].partition("@")[0]
    with cluster.events() as heard:
        cluster.app.control.shutdown(destination=[f"{name}@test"])
        assert cluster.processes.pop(name).wait(60) == 0
        # Celery says so when the worker begins to stop, and then waits for its tasks.
        wait_until(lambda: [e for e in heard if e["type"] == "worker-offline"], what="the end of the worker")
        wait_until(lambda: [e for e in heard if e["type"] == "task-succeeded"], what="the end of its task")
    cluster.start(name)
