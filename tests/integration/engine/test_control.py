"""Cancel and resume on real SQL."""

import threading

import pytest

from geoetl.engine import control
from geoetl.engine.completion import complete_stage
from geoetl.engine.heartbeat import beat
from geoetl.errors import BadData, InvalidInput, TransientError
from tests.integration.engine.conftest import claim_work


def test_a_callback_of_a_cancelled_job_starts_nothing(engine):
    submission = engine.submit()
    (task_id,) = engine.bells()
    engine.run(engine.claim(task_id))
    (callback_id,) = engine.bells()
    callback = engine.claim(callback_id)
    result, effect = complete_stage(engine.services, callback)
    assert control.cancel(engine.services, submission.job_id)

    assert engine.services.ledger.finish(callback, result, [effect]) is False

    assert engine.states() == {"run": "cancelled", "stages": [("cancelled", 0)], "tasks": ["cancelled", "succeeded"]}
    assert engine.bells() == []


def test_resume_runs_what_is_unfinished_and_keeps_what_succeeded(engine):
    submission = engine.start_work_stage()
    engine.bells()
    done, failing, zombie = (claim_work(engine, index) for index in range(3))
    engine.run(done)
    engine.services.ledger.fail(failing, BadData("broken"), None)

    control.resume(engine.services, submission.job_id)

    assert engine.run(zombie) is False
    assert set(engine.bells()) == {failing.task_id, zombie.task_id}
    for task_id in (failing.task_id, zombie.task_id):
        claim = engine.claim(task_id)
        assert claim.attempt == 3
        assert engine.run(claim)
    engine.work_off()
    assert engine.states()["run"] == "completed"


def test_resume_rings_only_the_callback_when_the_barrier_was_reached(engine):
    submission = engine.submit()
    (task_id,) = engine.bells()
    engine.run(engine.claim(task_id))
    (callback_id,) = engine.bells()
    callback = engine.claim(callback_id)
    engine.services.ledger.fail(callback, BadData("cannot be planned"), None)
    assert engine.states()["run"] == "failed"

    control.resume(engine.services, submission.job_id)

    assert engine.bells() == [callback_id]
    assert engine.run(engine.claim(callback_id))
    engine.work_off()
    assert engine.states()["run"] == "completed"


def test_a_running_job_cannot_be_resumed(engine):
    submission = engine.submit()

    with pytest.raises(InvalidInput, match="only a failed or cancelled job"):
        control.resume(engine.services, submission.job_id)


def test_a_run_that_was_cancelled_before_it_began_has_begun_when_it_is_resumed(engine):
    submission = engine.submit()
    control.cancel(engine.services, submission.job_id)

    control.resume(engine.services, submission.job_id)

    assert engine.sql("SELECT started_at IS NOT NULL FROM geoetl.run") == [(True,)]


def test_finish_fail_cancel_and_resume_never_deadlock(engine):
    submission = engine.start_work_stage(tasks=60)
    claims = [claim_work(engine, index) for index in range(60)]
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def guarded(work):
        try:
            start.wait()
            work()
        except BaseException as exc:
            errors.append(exc)

    def control_loop():
        for _ in range(10):
            control.cancel(engine.services, submission.job_id)
            control.resume(engine.services, submission.job_id)

    works = [
        lambda: [engine.run(claim) for claim in claims[:30]],
        lambda: [engine.services.ledger.retry(claim, TransientError("away"), 0.0) for claim in claims[30:]],
        lambda: [
            beat(engine.services.connections(), [(c.task_id, "w1:1") for c in claims], lease_s=30) for _ in range(20)
        ],
        control_loop,
    ]
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert errors == []
    engine.work_off()
    assert engine.states()["run"] == "completed"
