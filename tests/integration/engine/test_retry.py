"""Failed tasks get new attempts, and show all that is needed to find out why they failed."""

import pytest

from geoetl.engine import control, views
from geoetl.engine.history import find_task
from geoetl.errors import BadData, InvalidInput, NotFound, TransientError
from tests.integration.engine.conftest import claim_work


@pytest.fixture
def failed(engine):
    """A job of three tasks: the first two failed (the second while it was told to stop), the third was skipped."""
    submission = engine.start_work_stage()
    engine.bells()
    first, second = claim_work(engine, 0), claim_work(engine, 1, "w2:2")
    for claim in (first, second):
        engine.services.ledger.fail(claim, BadData("broken", code="corrupt-block"), None)
    assert engine.states()["tasks"][2:] == ["skipped", "failed", "failed", "skipped"]
    return submission


def attempts_left(engine):
    return engine.sql("SELECT max_attempts - attempt FROM geoetl.task WHERE stage_no = 1 AND idx >= 0 ORDER BY idx")


def test_a_retried_job_runs_what_failed_and_what_was_skipped_for_it(engine, failed):
    assert control.retry(engine.services, failed.job_id) == ("2.1", "2.2")

    engine.work_off()

    assert engine.states()["run"] == "completed"


def test_a_retry_says_how_many_attempts_there_are(engine, failed):
    control.retry(engine.services, failed.job_id, attempts=7)

    assert attempts_left(engine) == [(7,), (7,), (7,)]


@pytest.mark.parametrize("attempts", [0, -1])
def test_a_retry_gives_one_attempt_at_least(engine, failed, attempts):
    with pytest.raises(InvalidInput, match=f"{attempts} attempts") as caught:
        control.retry(engine.services, failed.job_id, attempts=attempts)

    assert caught.value.code == "bad-attempts"
    assert engine.states()["run"] == "failed"


def test_the_named_tasks_must_be_all_that_failed(engine, failed):
    with pytest.raises(InvalidInput, match=r"2\.2 failed as well") as caught:
        control.retry(engine.services, failed.job_id, tasks=["2.1"])

    assert caught.value.code == "other-tasks-failed"
    assert engine.states()["run"] == "failed"
    by_label_and_id = ["number 0", engine.task_ids(1)[1][:8]]
    assert control.retry(engine.services, failed.job_id, tasks=by_label_and_id) == ("2.1", "2.2")


def test_a_task_that_has_not_failed_cannot_be_retried(engine, failed):
    with pytest.raises(InvalidInput, match=r"No task '2\.3' has failed in job .*; failed are 2\.1, 2\.2"):
        control.retry(engine.services, failed.job_id, tasks=["2.3"])


def test_a_cancelled_job_is_resumed_and_not_retried(engine):
    submission = engine.start_work_stage()
    control.cancel(engine.services, submission.job_id)

    with pytest.raises(InvalidInput, match="is cancelled; only the tasks of a failed job") as caught:
        control.retry(engine.services, submission.job_id)

    assert "resume" in caught.value.hint


def test_a_failed_callback_can_be_looked_at_and_retried(engine):
    submission = engine.submit()
    engine.run(engine.claim(engine.bells()[0]))
    callback = engine.claim(engine.bells()[0])
    engine.services.ledger.fail(callback, BadData("cannot be planned"), None)
    conn = engine.services.connections()
    assert [task.number for task in views.tasks(conn, submission.run_id)] == ["1.0", "1.1"]

    assert control.retry(engine.services, submission.job_id, tasks=["1.0"]) == ("1.0",)

    engine.work_off()
    assert engine.states()["run"] == "completed"


def test_a_failed_task_shows_every_attempt_with_worker_error_and_traceback(engine):
    submission = engine.start_work_stage()
    engine.bells()
    ledger = engine.services.ledger
    ledger.retry(claim_work(engine, 0, "host-1:11"), TransientError("away", code="storage-away"), 0.0)
    claim = claim_work(engine, 0, "host-2:22")
    try:
        raise KeyError("nodata")  # noqa: TRY301
    except KeyError as exc:
        ledger.fail(claim, exc, None)

    found = find_task(engine.services.connections(), submission.run_id, "2.1")

    assert (found.stage, found.input["index"], found.task.queue) == ("work", 0, "standard")
    told = [(each.no, each.worker, each.outcome, each.error and each.error["code"]) for each in found.attempts]
    assert told == [
        (1, "host-1:11", "task retried", "storage-away"),
        (2, "host-2:22", "task failed", "unexpected-error"),
    ]
    assert all(each.started_at <= each.ended_at for each in found.attempts)
    assert found.task.error["type"] == "KeyError"
    assert 'raise KeyError("nodata")' in found.task.error["traceback"]


def test_an_error_raised_on_purpose_keeps_its_traceback_too(engine):
    submission = engine.start_work_stage()
    try:
        raise BadData("broken") from OSError("disk")  # noqa: TRY301
    except BadData as exc:
        engine.services.ledger.fail(claim_work(engine), exc, None)

    found = find_task(engine.services.connections(), submission.run_id, "number 0")

    assert "OSError: disk" in found.task.error["traceback"]


def test_a_task_is_found_by_id_and_an_unknown_or_ambiguous_word_is_told(engine):
    submission = engine.start_work_stage()
    conn = engine.services.connections()
    task_id = engine.task_ids(1)[2]

    assert find_task(conn, submission.run_id, task_id[:13]).number == "2.3"
    with pytest.raises(NotFound, match=r"no task '7\.1'"):
        find_task(conn, submission.run_id, "7.1")
    engine.sql("UPDATE geoetl.task SET label = 'same' WHERE stage_no = 1")
    with pytest.raises(NotFound, match="more than one task 'same'"):
        find_task(conn, submission.run_id, "same")
