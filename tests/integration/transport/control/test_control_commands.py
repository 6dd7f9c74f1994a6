"""Commands to two real workers."""

import uuid

from tests.integration.transport.conftest import wait_until
from tests.integration.transport.control.conftest import counts


def test_a_revoked_task_is_not_begun(cluster):
    task_id = uuid.uuid4().hex
    assert len(cluster.app.control.revoke(task_id, reply=True, limit=2, timeout=30)) == 2
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
    assert len(cluster.app.control.rate_limit("control_app.say", "100/m", reply=True, limit=2, timeout=30)) == 2
    assert len(cluster.app.control.time_limit("control_app.say", hard=30, reply=True, limit=2, timeout=30)) == 2
    registered = cluster.ask("registered", "rate_limit")
    assert all("control_app.say [rate_limit=100/m]" in tasks for tasks in registered.values())


def test_a_pool_grows_and_shrinks(cluster):
    def sizes() -> list[int]:
        return sorted(len(stats["pool"]["processes"]) for stats in cluster.ask("stats").values())

    cluster.app.control.pool_grow(1, destination=["one@test"], reply=True, timeout=30)
    wait_until(lambda: sizes() == [2, 3], what="growth")
    cluster.app.control.pool_shrink(1, destination=["one@test"], reply=True, timeout=30)
    wait_until(lambda: sizes() == [2, 2], what="shrinking")


def test_a_worker_takes_up_and_drops_a_queue(cluster):
    def consumers(queue: str) -> set[str]:
        told = cluster.ask("active_queues")
        return {worker for worker, queues in told.items() if queue in [each["name"] for each in queues]}

    cluster.app.control.add_consumer("more", destination=["two@test"], reply=True, timeout=30)
    assert consumers("more") == {"two@test"}
    with cluster.events() as heard:
        cluster.app.send_task("control_app.say", ("hello",), queue="more")
        wait_until(lambda: [e for e in heard if e["type"] == "task-succeeded"], what="the task of the new queue")
    cluster.app.control.cancel_consumer("more", destination=["two@test"], reply=True, timeout=30)
    assert consumers("more") == set()


def test_a_shutdown_stops_a_worker_and_takes_its_subscription_along(cluster):
    cluster.app.control.shutdown(destination=["two@test"])
    assert cluster.processes.pop("two").wait(60) == 0
    cluster.app.control.ping(limit=1, timeout=30)
    subscriptions = counts(cluster.server)["subscriptions"]
    assert [name for name in subscriptions if "two_test" in name] == []
    cluster.start("two")
