"""Claims, leases, the barrier, failure, cancel and resume: the rules R1 to R14 on real SQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog
from celery.app.task import Context
from psycopg import OperationalError

from geoetl.engine import control
from geoetl.engine.failures import SPARED_ATTEMPTS
from geoetl.errors import BadData, TransientError
from geoetl.telemetry import log_no_attempt
from tests.integration.engine.conftest import claim_work


def test_a_duplicate_finds_nothing_to_claim(engine):
    engine.start_work_stage()
    task_id = engine.task_ids(1)[0]

    assert engine.claim(task_id) is not None
    assert engine.claim(task_id, "w2:1") is None


def test_many_claimants_get_one_attempt(engine):
    engine.start_work_stage()
    task_id = engine.task_ids(1)[0]

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: engine.claim(task_id, f"w{n}:1"), range(16)))

    assert len([claim for claim in claims if claim]) == 1


def test_a_result_that_comes_after_the_lease_was_taken_over_is_refused(engine, expire_leases):
    engine.start_work_stage()
    zombie = claim_work(engine)
    expire_leases()
    second = claim_work(engine, owner="w2:1")

    assert second.attempt == 2
    assert engine.run(zombie) is False
    assert engine.run(second) is True


def test_the_last_of_many_concurrent_finishes_rings_once(engine):
    engine.start_work_stage(tasks=40)
    engine.bells()
    claims = [claim_work(engine, index) for index in range(40)]

    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(engine.run, claims))
        repeated = list(pool.map(engine.run, claims))

    assert all(accepted)
    assert not any(repeated)
    assert engine.bells() == [engine.callback_id(1)]
    assert engine.states()["stages"][1] == ("completing", 0)


def test_a_callback_cannot_be_claimed_while_its_stage_runs(engine):
    engine.start_work_stage()

    assert engine.claim(engine.callback_id(1)) is None


def test_a_failure_closes_stage_and_run_and_skips_what_waits(engine):
    engine.start_work_stage()
    failing, running = claim_work(engine, 0), claim_work(engine, 1)

    assert engine.services.ledger.fail(failing, BadData("broken", code="corrupt-block"), None)

    states = engine.states()
    assert states["run"] == "failed"
    assert states["stages"][1] == ("failed", 3)
    assert states["tasks"][2:] == ["skipped", "failed", "running", "skipped"]
    assert engine.services.ledger.must_stop(running)
    assert engine.sql("SELECT error->>'code' FROM geoetl.run") == [("corrupt-block",)]


def test_concurrent_failures_close_the_stage_once(engine):
    engine.start_work_stage(tasks=12)
    claims = [claim_work(engine, index) for index in range(12)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda claim: engine.services.ledger.fail(claim, BadData("broken"), None), claims))

    assert engine.sql("SELECT count(*) FROM geoetl.event WHERE what = 'stage failed'") == [(1,)]
    assert engine.sql("SELECT count(*) FROM geoetl.event WHERE what = 'job failed'") == [(1,)]


def test_a_finish_in_a_failed_stage_lowers_the_barrier_and_rings_nobody(engine):
    engine.start_work_stage()
    engine.bells()
    first, second = claim_work(engine, 0), claim_work(engine, 1)
    engine.services.ledger.fail(first, BadData("broken"), None)

    assert engine.run(second) is True

    assert engine.states()["stages"][1] == ("failed", 2)
    assert engine.bells() == []


def test_a_retry_waits_in_the_outbox_until_it_is_due(engine):
    engine.start_work_stage()
    engine.bells()
    claim = claim_work(engine)

    assert engine.services.ledger.retry(claim, TransientError("away"), 60.0)

    assert engine.bells() == []
    assert engine.claim(claim.task_id) is None
    engine.sql("UPDATE geoetl.task SET next_attempt_at = now(); UPDATE geoetl.outbox SET not_before = now()")
    assert engine.bells() == [claim.task_id]
    assert engine.claim(claim.task_id).attempt == 2


def test_attempts_that_are_used_up_fail_the_task(engine):
    engine.start_work_stage()
    claim = claim_work(engine)
    engine.sql("UPDATE geoetl.task SET max_attempts = 1 WHERE id = %s", claim.task_id)

    assert engine.services.ledger.retry(claim, ValueError("a defect"), 0.0)

    assert engine.states()["run"] == "failed"


def attempts_left(engine, task_id):
    ((left,),) = engine.sql("SELECT max_attempts - attempt FROM geoetl.task WHERE id = %s", task_id)
    return left


def try_again(engine, error):
    """One attempt that fails with ``error``; whether there is another."""
    ledger = engine.services.ledger
    claim = claim_work(engine)
    is_final = ledger.retry_delay(claim, error) is None
    if is_final:
        ledger.fail(claim, error, None)
    else:
        ledger.retry(claim, error, 0.0)
    return not is_final


def test_an_outage_takes_none_of_the_attempts_but_does_not_last_for_ever(engine):
    engine.start_work_stage()
    task_id = engine.task_ids(1)[0]
    before = attempts_left(engine, task_id)

    for _ in range(SPARED_ATTEMPTS):
        assert try_again(engine, TransientError("away"))
    assert attempts_left(engine, task_id) == before

    assert [try_again(engine, TransientError("away")) for _ in range(before)] == [*[True] * (before - 1), False]
    assert engine.states()["run"] == "failed"


def test_an_outage_that_is_over_is_forgotten(engine):
    engine.start_work_stage()
    task_id = engine.task_ids(1)[0]
    before = attempts_left(engine, task_id)

    for error in [TransientError("away")] * SPARED_ATTEMPTS + [ValueError("a defect")]:
        assert try_again(engine, error)
    assert try_again(engine, TransientError("away again"))

    assert attempts_left(engine, task_id) == before - 1
    assert engine.sql("SELECT error -> 'spared' FROM geoetl.task WHERE id = %s", task_id) == [(1,)]


def test_only_what_may_pass_is_tried_again(engine):
    engine.start_work_stage()
    claim = claim_work(engine)

    assert engine.services.ledger.retry_delay(claim, BadData("broken")) is None
    assert 0 <= engine.services.ledger.retry_delay(claim, TransientError("away")) <= 2
    assert engine.services.ledger.retry_delay(claim, ValueError("a defect")) is not None


def test_a_lost_process_gives_its_task_back_at_once(engine):
    engine.start_work_stage()
    claim = claim_work(engine, owner="w1:7")

    engine.services.ledger.lost(claim.task_id, "w1:8", ConnectionError("another process"))
    assert engine.states()["tasks"][3] == "running"
    engine.services.ledger.lost(claim.task_id, "w1:7", ConnectionError("killed"))
    assert engine.states()["tasks"][3] == "ready"


def test_a_report_that_fails_leaves_no_attempt_in_the_log_of_its_process(engine, monkeypatch):
    engine.start_work_stage()
    claim = claim_work(engine, owner="w1:7")
    log_no_attempt()

    def fail(*_args, **_kwargs):
        raise OperationalError("the database went away")

    monkeypatch.setattr("geoetl.engine.ledger.fail_attempt", fail)
    with pytest.raises(OperationalError):
        engine.services.ledger.lost(claim.task_id, "w1:7", BadData("broken"))
    assert structlog.contextvars.get_contextvars() == {}


def test_an_expired_lease_is_returned_and_rings(engine, expire_leases):
    engine.start_work_stage()
    engine.bells()
    claim = claim_work(engine)
    expire_leases()

    assert engine.reaper.reap(engine.services.connections()) == 1

    assert engine.bells() == [claim.task_id]
    assert engine.run(claim) is False


def test_an_expired_last_attempt_fails_the_job(engine, expire_leases):
    engine.start_work_stage()
    claim = claim_work(engine)
    engine.sql("UPDATE geoetl.task SET max_attempts = 1 WHERE id = %s", claim.task_id)
    expire_leases()

    engine.reaper.reap(engine.services.connections())

    assert engine.states()["run"] == "failed"
    assert engine.sql("SELECT error->>'code' FROM geoetl.run") == [("lease-expired",)]


def test_a_task_that_is_retried_into_a_failed_stage_is_skipped_by_the_reaper(engine):
    engine.start_work_stage()
    retried, failing = claim_work(engine, 0), claim_work(engine, 1)
    engine.services.ledger.fail(failing, BadData("broken"), None)
    engine.services.ledger.retry(retried, TransientError("away"), 0.0)
    assert engine.states()["tasks"][3] == "ready"

    engine.reaper.reap(engine.services.connections())

    assert engine.states()["tasks"][3] == "skipped"


def test_a_finish_whose_session_was_ended_is_repeated_and_accepted(engine):
    engine.start_work_stage(tasks=1)
    claim = claim_work(engine)
    ends = []

    def end_the_first(conn) -> None:
        if not ends:
            ends.append(conn)
            conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    request = Context(ledger="stage", claim=claim, effects=[end_the_first])
    engine.services.app.backend.mark_as_done(claim.task_id, {"square": 0}, request)

    assert len(ends) == 1
    assert engine.states()["stages"][1] == ("completing", 0)
    assert engine.sql("SELECT attempt, state FROM geoetl.task WHERE id = %s", claim.task_id) == [(1, "succeeded")]


def test_what_the_reaper_ends_in_a_closed_stage_is_told(engine, expire_leases):
    submission = engine.start_work_stage()
    claim = claim_work(engine)
    control.cancel(engine.services, submission.job_id)
    expire_leases()

    assert engine.reaper.reap(engine.services.connections()) == 1

    told = engine.sql("SELECT task_id::text, attempt, worker FROM geoetl.event WHERE what = 'task stopped'")
    assert told == [(claim.task_id, 1, "w1:1")]
