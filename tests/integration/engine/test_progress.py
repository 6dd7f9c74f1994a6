"""How far running attempts are, as a job's status shows it."""

import pytest

from geoetl.engine import views
from geoetl.engine.progress import Report, record
from geoetl.engine.rows import Steps
from geoetl.models.states import TaskState
from tests.integration.engine.conftest import claim_work


def seen(engine, submission):
    conn = engine.services.connections()
    status = views.job_status(conn, submission.job_id)
    return status.stages[-1], views.tasks(conn, status.summary.run_id)


def test_a_stage_counts_what_its_running_tasks_have_done(engine):
    submission = engine.start_work_stage(tasks=4)
    one, two, three = (claim_work(engine, at, f"w1:{at}") for at in range(3))
    engine.run(three)
    reports = [Report(one.task_id, 1, done=12, total=64), Report(two.task_id, 1, done=1, total=2)]

    record(engine.services.connections(), reports)

    stage, tasks = seen(engine, submission)
    assert (stage.counts[TaskState.SUCCEEDED], stage.underway) == (1, 12 / 64 + 1 / 2)
    assert stage.share == pytest.approx((1 + 12 / 64 + 1 / 2) / 4)
    assert {task.id: task.steps for task in tasks if task.steps} == {
        one.task_id: Steps(12, 64),
        two.task_id: Steps(1, 2),
    }


def test_the_report_of_an_attempt_that_lost_its_task_is_not_taken(engine, expire_leases):
    submission = engine.start_work_stage(tasks=1)
    claim = claim_work(engine)
    record(engine.services.connections(), [Report(claim.task_id, 1, done=3, total=4)])
    expire_leases()
    again = claim_work(engine, owner="w2:1")
    assert (again.task_id, again.attempt) == (claim.task_id, 2)

    stage, _ = seen(engine, submission)
    assert stage.underway == 0, "a new attempt begins with nothing"
    record(engine.services.connections(), [Report(claim.task_id, 1, done=4, total=4)])

    stage, _ = seen(engine, submission)
    assert stage.underway == 0


def test_a_task_that_has_ended_is_done_and_no_more(engine):
    submission = engine.start_work_stage(tasks=1)
    claim = claim_work(engine)
    record(engine.services.connections(), [Report(claim.task_id, 1, done=3, total=4)])
    engine.run(claim)
    record(engine.services.connections(), [Report(claim.task_id, 1, done=4, total=4)])

    stage, tasks = seen(engine, submission)

    assert (stage.share, stage.underway) == (1, 0)
    assert [task.steps for task in tasks if task.stage_no == stage.no] == [None]
