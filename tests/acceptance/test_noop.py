"""A job that does nothing goes round through real workers, whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from geoetl.chains.noop import Noop
from geoetl.worker.client import submit
from tests.acceptance.conftest import eventually


def accepted_results(installation, run_id: str) -> list[tuple[int, int]]:
    """Accepted results per task that were not exactly one, as the audit trail has them."""
    return installation.sql(
        """
        SELECT t.stage_no, t.idx FROM geoetl.task t
        LEFT JOIN geoetl.event e ON e.task_id = t.id AND e.what = 'task succeeded'
        WHERE t.run_id = %s GROUP BY t.id HAVING count(e.id) <> 1
        """,
        run_id,
    )


def test_two_workers_share_a_job(installation, workers):
    workers("one")
    workers("two")
    job = submit(Noop(tasks=40, seconds=0.05, name=uuid.uuid4().hex), services=installation.services)

    assert job.wait(timeout_s=60) == {"sum_of_squares": sum(n * n for n in range(40))}

    owners = {task.worker.partition(":")[0] for task in job.tasks() if task.worker}
    assert len(owners) == 2
    assert accepted_results(installation, job.submission.run_id) == []


def test_killing_a_worker_changes_nothing(installation, workers):
    victim = workers("victim")
    workers("survivor")
    job = submit(Noop(tasks=30, seconds=0.3, name=uuid.uuid4().hex), services=installation.services)
    eventually(lambda: sum(task.state == "succeeded" for task in job.tasks()) > 4, what="some tasks done")

    victim.kill()

    assert job.wait(timeout_s=60) == {"sum_of_squares": sum(n * n for n in range(30))}
    assert accepted_results(installation, job.submission.run_id) == []


def test_killing_the_children_of_a_worker_gives_their_tasks_back(installation, workers):
    worker = workers("bereaved")
    job = submit(Noop(tasks=6, seconds=2.0, name=uuid.uuid4().hex), services=installation.services)
    eventually(lambda: sum(task.state == "running" for task in job.tasks()) == 2, what="two tasks running")

    for pid in worker.children():
        os.kill(pid, signal.SIGKILL)

    assert job.wait(timeout_s=60) == {"sum_of_squares": sum(n * n for n in range(6))}
    assert accepted_results(installation, job.submission.run_id) == []


def test_every_line_of_a_log_about_a_task_names_its_attempt(installation, workers):
    worker = workers("clerk", environ={"GEOETL_LOG__FORMAT": "json"})
    job = submit(Noop(tasks=2, seconds=1.0, name=uuid.uuid4().hex), services=installation.services)
    eventually(lambda: sum(task.state == "running" for task in job.tasks()) == 2, what="two tasks running")
    os.kill(worker.children()[0], signal.SIGKILL)
    job.wait(timeout_s=60)

    tasks, stages = {task.id: task for task in job.tasks()}, ("count", "work")
    written = [line for line in worker.log.read_text().splitlines() if any(known in line for known in tasks)]
    lines = [json.loads(line) for line in written]
    assert [line for line in lines if not {"job", "run", "stage", "attempt"} <= set(line)] == []
    assert {(line["job"], line["run"]) for line in lines} == {(job.id, job.submission.run_id)}
    ended = {(line["task"], line["attempt"], line["stage"]) for line in lines if " succeeded in " in line["event"]}
    assert ended == {(task.id, task.attempt, stages[task.stage_no]) for task in tasks.values()}
    ((lost, attempt),) = [(line["task"], line["attempt"]) for line in lines if "lost with its process" in line["event"]]
    assert (attempt, tasks[lost].attempt) == (1, 2)


def test_a_worker_removes_the_scratch_of_a_process_that_was_killed(installation, workers):
    code = """if True:
        import sys, time
        from pathlib import Path
        from geoetl.resources.scratch import scratch_folder
        with scratch_folder(Path(sys.argv[1])) as folder:
            print(folder, flush=True)
            time.sleep(60)
    """
    root = installation.services.settings.raster.scratch_dir
    with subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        process.kill()
    assert left.is_dir()

    workers("sweeper")

    eventually(lambda: not left.exists(), what="the folder of a dead process is removed")


def test_a_submit_with_no_worker_rings_and_a_later_worker_finishes(installation, workers):
    job = submit(Noop(tasks=3, name=uuid.uuid4().hex), services=installation.services)
    waiting = installation.sql(
        "SELECT count(*) FROM geoetl.outbox o JOIN geoetl.task t ON t.id = o.ref WHERE t.run_id = %s",
        job.submission.run_id,
    )
    assert waiting == [(0,)], "the submitter publishes by itself"

    workers("late")

    assert job.wait(timeout_s=60) == {"sum_of_squares": 5}


def test_a_cancel_stops_running_tasks_within_two_seconds(installation, a_worker):
    job = submit(Noop(tasks=4, seconds=60, name=uuid.uuid4().hex), services=installation.services)
    eventually(lambda: sum(task.state == "running" for task in job.tasks()) == 2, what="two tasks running")

    assert job.cancel()

    eventually(
        lambda: all(task.state in {"cancelled", "skipped", "succeeded"} for task in job.tasks()),
        within_s=2.5,
        what="every task stopped",
    )
    assert job.status().summary.state == "cancelled"


def test_events_are_followed_until_the_job_has_ended(installation, a_worker):
    job = submit(Noop(tasks=2, seconds=0.5, name=uuid.uuid4().hex), services=installation.services)

    # Transactions may commit in another order than they took their events' ids.
    told = [event.what for event in sorted(job.follow(), key=lambda event: event.id)]

    assert told[0] == "job submitted"
    assert told[-1] == "job completed"
    assert told == [event.what for event in job.events()]


def test_a_resumed_job_completes(installation, a_worker):
    job = submit(Noop(tasks=4, seconds=1.0, name=uuid.uuid4().hex), services=installation.services)
    eventually(lambda: any(task.state == "running" and task.stage_no == 1 for task in job.tasks()), what="running")
    job.cancel()
    assert a_worker.process.poll() is None

    job.resume()

    assert job.wait(timeout_s=60) == {"sum_of_squares": 14}
