"""Claims, leases, the barrier, failure, cancel and resume: the rules R1 to R14 on real SQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from celery.app.task import Context

from geoetl.backend.ledger import Claim
from geoetl.db.connections import DatabaseUnavailable
from geoetl.engine import control
from geoetl.engine.completion import complete_stage
from geoetl.engine.heartbeat import Held, beat, look
from geoetl.engine.ledger import StageLedger
from geoetl.engine.reaper import Reaper
from geoetl.errors import BadData, InvalidInput, LeaseLost, TransientError
from geoetl.tasks.attempt import Attempt


def claim_work(engine, index=0, owner="w1:1") -> Claim:
    claim = engine.claim(engine.task_ids(1)[index], owner)
    assert claim is not None
    return claim


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

    assert engine.services.ledger.retry(claim, TransientError("away"), 0.0)

    assert engine.states()["run"] == "failed"


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


def test_a_heartbeat_keeps_only_the_leases_of_the_named_process(engine):
    engine.start_work_stage()
    mine, other = claim_work(engine, 0, "w1:1"), claim_work(engine, 1, "w1:2")
    engine.sql("UPDATE geoetl.task SET lease_until = now() + interval '1 second' WHERE state = 'running'")

    extended = beat(engine.services.connections(), [(mine.task_id, "w1:1"), (other.task_id, "w1:1")], lease_s=30)

    longer = engine.sql("SELECT id FROM geoetl.task WHERE lease_until > now() + interval '10 seconds'")
    assert [str(row[0]) for row in longer] == [mine.task_id]
    assert extended == {(mine.task_id, "w1:1")}


def test_a_process_whose_task_was_taken_over_does_not_hide_the_one_that_has_it_now(engine, expire_leases):
    engine.start_work_stage()
    zombie = claim_work(engine, owner="w1:1")
    expire_leases()
    claim_work(engine, owner="w1:2")
    live = [(zombie.task_id, "w1:2"), (zombie.task_id, "w1:1")]

    assert beat(engine.services.connections(), live, lease_s=30) == {(zombie.task_id, "w1:2")}
    assert [held.live for held in look(engine.services.connections(), live)] == [(zombie.task_id, "w1:2")]


def test_a_look_tells_which_attempts_must_stop(engine):
    submission = engine.start_work_stage()
    claim = claim_work(engine)
    live = [(claim.task_id, "w1:1")]
    assert look(engine.services.connections(), live) == [Held(live[0], 1, must_stop=False)]

    control.cancel(engine.services, submission.job_id)

    assert look(engine.services.connections(), live) == [Held(live[0], 1, must_stop=True)]


def test_a_task_that_is_retried_into_a_failed_stage_is_skipped_by_the_reaper(engine):
    engine.start_work_stage()
    retried, failing = claim_work(engine, 0), claim_work(engine, 1)
    engine.services.ledger.fail(failing, BadData("broken"), None)
    engine.services.ledger.retry(retried, TransientError("away"), 0.0)
    assert engine.states()["tasks"][3] == "ready"

    engine.reaper.reap(engine.services.connections())

    assert engine.states()["tasks"][3] == "skipped"


def test_a_message_that_nobody_claimed_is_sent_again_and_the_wait_doubles(engine):
    engine.start_work_stage(tasks=1)
    (task_id,) = engine.bells()
    conn = engine.services.connections()
    engine.sql("UPDATE geoetl.task SET published_at = now() - interval '61 seconds' WHERE id = %s", task_id)

    assert engine.reaper.resend(conn) == 1
    assert engine.bells() == [task_id]
    engine.sql("UPDATE geoetl.task SET published_at = now() - interval '61 seconds' WHERE id = %s", task_id)
    assert engine.reaper.resend(conn) == 0
    engine.sql("UPDATE geoetl.task SET published_at = now() - interval '121 seconds' WHERE id = %s", task_id)
    assert engine.reaper.resend(conn) == 1


class Broker:
    """A broker that says how many messages it has."""

    def __init__(self, held: int | None) -> None:
        self.held = held

    def messages(self, queue: str) -> int | None:
        return self.held


@pytest.mark.parametrize(
    ("held", "sent"), [(7, 0), (8, 0), (5, 2), (0, 6), (None, 0)], ids=["all", "copies", "two lost", "none", "unknown"]
)
def test_only_what_the_broker_lacks_is_sent_again(engine, held, sent):
    engine.start_work_stage(tasks=7)
    engine.bells()
    claim_work(engine)  # its message stays with the broker until it is done
    engine.sql("UPDATE geoetl.task SET published_at = now() - interval '61 seconds' WHERE state = 'ready'")

    Reaper(every_s=1.0, backlog=Broker(held)).resend(engine.services.connections())

    assert len(engine.bells()) == sent


def test_an_idle_queue_that_holds_enough_is_tried_with_one_message_at_growing_intervals(engine):
    engine.start_work_stage(tasks=7)
    engine.bells()
    engine.sql("UPDATE geoetl.task SET published_at = now() WHERE state = 'ready' AND stage_no = 1 AND idx >= 0")
    reaper = Reaper(every_s=1.0, backlog=Broker(7))
    sent = []
    for _ in range(60):
        engine.sql("UPDATE geoetl.task SET published_at = published_at - interval '61 seconds' WHERE state = 'ready'")
        reaper.resend(engine.services.connections())
        sent.append(len(engine.bells()))

    assert sent[0] == 1
    assert max(sent) == 1
    assert sum(sent) <= 7, "an hour without a worker"


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


def test_a_checkpoint_rides_over_a_database_that_is_away(engine, tmp_path):
    submission = engine.start_work_stage(tasks=1)
    claim = claim_work(engine)
    outages = [DatabaseUnavailable("away")]

    def connections():
        if outages:
            raise outages.pop()
        return engine.services.connections()

    services = replace(engine.services, ledger=StageLedger(connections, lease_s=30))
    attempt = Attempt(services, None, claim, tmp_path, ask_every_s=0)

    attempt.checkpoint()
    assert outages == [], "it asked, and went on"
    attempt.checkpoint()
    control.cancel(engine.services, submission.job_id)
    with pytest.raises(LeaseLost):
        attempt.checkpoint()


def test_a_run_that_was_cancelled_before_it_began_has_begun_when_it_is_resumed(engine):
    submission = engine.submit()
    control.cancel(engine.services, submission.job_id)

    control.resume(engine.services, submission.job_id)

    assert engine.sql("SELECT started_at IS NOT NULL FROM geoetl.run") == [(True,)]


def test_what_the_reaper_ends_in_a_closed_stage_is_told(engine, expire_leases):
    submission = engine.start_work_stage()
    claim = claim_work(engine)
    control.cancel(engine.services, submission.job_id)
    expire_leases()

    assert engine.reaper.reap(engine.services.connections()) == 1

    told = engine.sql("SELECT task_id::text, attempt, worker FROM geoetl.event WHERE what = 'task stopped'")
    assert told == [(claim.task_id, 1, "w1:1")]


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
