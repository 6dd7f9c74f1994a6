"""A job that takes longer than it may is cancelled, by the database's clock."""

import pytest

from geoetl.chains.noop import Noop
from geoetl.engine import control, views
from geoetl.errors import BadData, InvalidInput
from tests.integration.engine.conftest import claim_work


def let_it_pass(engine):
    engine.sql("UPDATE geoetl.run SET deadline = now() - interval '1 second'")


def status(engine, submission):
    return views.job_status(engine.services.connections(), submission.job_id)


def test_a_job_past_its_deadline_is_cancelled_and_says_why(engine):
    submission = engine.submit(Noop(tasks=3), deadline_s=7200)
    let_it_pass(engine)

    assert engine.reaper.reap(engine.services.connections()) > 0

    found = status(engine, submission)
    assert found.summary.state == "cancelled"
    assert found.summary.error["code"] == "deadline-passed"
    assert "7200 s" in found.summary.error["message"]
    (told,) = [
        each for each in views.events(engine.services.connections(), submission.run_id) if each.what == "job cancelled"
    ]
    assert told.data == {"by": "deadline", "deadline_s": 7200, "skipped": 1}


def test_a_job_within_its_deadline_goes_on(engine):
    submission = engine.submit(Noop(tasks=3), deadline_s=7200)

    engine.reaper.reap(engine.services.connections())
    engine.work_off()

    assert status(engine, submission).summary.state == "completed"


def test_a_running_task_of_an_overdue_job_must_stop(engine):
    engine.start_work_stage()
    engine.sql("UPDATE geoetl.run SET deadline_s = 60, deadline = now() + interval '1 minute'")
    engine.bells()
    claim = claim_work(engine)
    let_it_pass(engine)

    engine.reaper.reap(engine.services.connections())

    assert engine.services.ledger.must_stop(claim)


@pytest.mark.parametrize("how", ["resume", "retry"])
def test_a_deadline_is_counted_anew_when_the_job_goes_on(engine, how):
    submission = engine.submit(Noop(tasks=1), deadline_s=7200)
    (task_id,) = engine.bells()
    engine.services.ledger.fail(engine.claim(task_id), BadData("broken"), None)
    let_it_pass(engine)

    getattr(control, how)(engine.services, submission.job_id)

    ((left_s,),) = engine.sql("SELECT extract(epoch FROM deadline - now()) FROM geoetl.run")
    assert 7100 < left_s <= 7200
    assert engine.reaper.expire(engine.services.connections()) == 0


def test_a_deadline_does_not_make_another_job(engine):
    first = engine.submit(Noop(tasks=1), deadline_s=60)

    again = engine.submit(Noop(tasks=1), deadline_s=7200)

    assert (again.outcome, again.run_id) == ("already running", first.run_id)
    assert again.hint == "It runs already, and keeps the deadline that it has."
    assert engine.sql("SELECT deadline_s FROM geoetl.run") == [(60,)]


def test_a_forced_run_has_a_deadline_of_its_own(engine):
    engine.submit(Noop(tasks=1), deadline_s=60)
    engine.work_off()

    engine.submit(Noop(tasks=1), force=True)

    assert engine.sql("SELECT deadline_s FROM geoetl.run ORDER BY no") == [(60,), (None,)]


@pytest.mark.parametrize("deadline_s", [0, -1, float("inf"), float("nan")])
def test_a_deadline_that_cannot_be_kept_is_refused(engine, deadline_s):
    with pytest.raises(InvalidInput, match="cannot be kept"):
        engine.submit(deadline_s=deadline_s)

    assert engine.sql("SELECT count(*) FROM geoetl.job") == [(0,)]
