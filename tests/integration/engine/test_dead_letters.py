"""What becomes of a task whose message the broker gave up on."""

import pytest

from geoetl.engine import control, views
from geoetl.engine.dead_letters import POISON_AFTER, DeadLetter, Undertaker, known_tasks
from geoetl.engine.history import find_task
from geoetl.engine.invariants import violations
from tests.integration.engine.conftest import claim_work


class Nothing:
    """No broker: the tests hand letters over themselves."""

    def settle(self, queue, *, known, handle):
        return 0


@pytest.fixture
def bury(engine):
    undertaker = Undertaker(every_s=1.0, queues=("standard",), dead_letters=Nothing(), ring_after_s=0.0)

    def bury(task_id):
        letter = DeadLetter(task_id, "standard", "MaxDeliveryCountExceeded", "delivered 10 times", deliveries=10)
        undertaker.bury(engine.services.connections(), letter)

    return bury


def test_a_waiting_task_is_rung_again_and_says_what_befell_it(engine, bury):
    submission = engine.start_work_stage()
    task_id = engine.bells()[0]

    bury(task_id)

    assert engine.bells() == [task_id]
    (note,) = find_task(engine.services.connections(), submission.run_id, task_id).notes
    assert (note.what, note.data["reason"], note.data["deliveries"]) == (
        "message dead-lettered", "MaxDeliveryCountExceeded", 10,
    )  # fmt: skip


def test_a_task_whose_message_waits_already_is_not_rung_twice(engine, bury):
    engine.start_work_stage()
    (task_id, *others) = engine.task_ids(1)

    bury(task_id)

    assert sorted(engine.bells()) == sorted([task_id, *others])


def test_a_parked_row_is_not_a_message_that_waits(engine, bury):
    engine.start_work_stage()
    task_id = engine.bells()[0]
    engine.sql("INSERT INTO geoetl.outbox (source, ref, parked_at) VALUES ('task', %s, now())", task_id)

    bury(task_id)

    assert engine.sql("SELECT count(*) FROM geoetl.outbox WHERE parked_at IS NULL") == [(1,)]


def test_a_poison_message_fails_its_task_and_names_the_reason(engine, bury):
    submission = engine.start_work_stage()
    task_id = engine.bells()[0]

    for _ in range(POISON_AFTER):
        bury(task_id)

    status = views.job_status(engine.services.connections(), submission.job_id)
    assert status.summary.state == "failed"
    assert status.summary.error["code"] == "message-dead-lettered"
    assert "given up 4 times" in status.summary.error["message"]
    assert "MaxDeliveryCountExceeded (delivered 10 times)" in status.summary.error["message"]
    (attempt,) = find_task(engine.services.connections(), submission.run_id, task_id).attempts
    assert (attempt.started_at, attempt.outcome) == (None, "task failed")
    assert violations(engine.services.connections()) == []


def test_a_retry_forgives_what_died_before(engine, bury):
    submission = engine.start_work_stage()
    task_id = engine.bells()[0]
    for _ in range(POISON_AFTER):
        bury(task_id)

    control.retry(engine.services, submission.job_id)
    engine.bells()
    bury(task_id)

    assert engine.states()["run"] == "running"
    assert engine.bells() == [task_id]


def test_a_running_task_keeps_its_lease(engine, bury):
    engine.start_work_stage()
    engine.bells()
    claim = claim_work(engine)

    for _ in range(POISON_AFTER + 1):
        bury(claim.task_id)

    assert engine.bells() == []
    assert engine.run(claim)


def test_what_has_ended_stays_as_it_ended(engine, bury):
    submission = engine.start_work_stage()
    engine.bells()
    done = claim_work(engine)
    engine.run(done)
    control.cancel(engine.services, submission.job_id)
    before = engine.states()

    for task_id in engine.task_ids(1):
        bury(task_id)

    assert engine.states() == before
    assert engine.bells() == []


def test_a_task_without_attempts_left_is_failed_and_no_budget_exceeded(engine, bury):
    engine.start_work_stage()
    task_id = engine.bells()[0]
    engine.sql("UPDATE geoetl.task SET attempt = max_attempts WHERE id = %s", task_id)

    bury(task_id)

    assert engine.states()["run"] == "failed"
    assert violations(engine.services.connections()) == []


def test_only_ids_of_stage_tasks_are_known(engine):
    engine.submit()
    (task_id,) = engine.task_ids()
    ids = [task_id, "0f0e0d0c-0b0a-4908-8706-050403020100", "somebody's", "", task_id.upper()]

    assert known_tasks(engine.services.connections(), ids) == {task_id}
