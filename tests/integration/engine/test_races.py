"""Two transactions at once: what one statement decides from rows that another transaction is about to change."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from geoetl.backend.queries import load_queries
from geoetl.chains.noop import Noop
from geoetl.engine import control
from geoetl.engine.cancel import cancel_overdue_run
from geoetl.engine.completion import complete_stage
from geoetl.engine.invariants import violations
from geoetl.engine.reaper import SQL as REAPER
from geoetl.engine.revoke import revoke
from geoetl.errors import BadData, InvalidInput, TransientError
from geoetl.models.states import JobState


def while_open(
    engine, first: Callable[[], Any], second: Callable[[], Any], *, then: Callable[[], Any] = lambda: None
) -> Any:
    """Do ``first``; once ``second`` waits in another session, ``then``, and commit; what the second came to."""
    conn = engine.services.connections()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as pool:
        with conn.transaction():
            first()
            running = pool.submit(second)
            until = time.monotonic() + 5
            while not conn.execute(waiting).fetchone()[0] and not running.done():
                conn.execute("SELECT pg_stat_clear_snapshot()")
                assert time.monotonic() < until, "the second transaction never waited"
            then()
        return running.result(10)


@pytest.fixture
def plant(monkeypatch) -> Callable[[str, str, str, str], None]:
    def plant(file: str, block: str, rule: str, instead: str) -> None:
        statements = load_queries("geoetl.engine.sql", f"{file}.sql")
        shipped = statements[block].decode()
        assert shipped.count(rule) == 1
        monkeypatch.setitem(statements, block, shipped.replace(rule, instead).encode())

    return plant


def skip_while_resuming(engine) -> list[str]:
    """The sweep of closed stages reads a task before a resume, and writes after it."""
    submission = engine.start_work_stage()
    engine.bells()
    failing, retrying = (engine.claim(task_id) for task_id in engine.task_ids(1)[:2])
    engine.services.ledger.fail(failing, BadData("broken"), None)
    engine.services.ledger.retry(retrying, TransientError("away"), 0.0)
    while_open(
        engine,
        lambda: control.resume(engine.services, submission.job_id),
        lambda: engine.services.connections().execute(REAPER["skip_closed"]),
    )
    return [violation.kind for violation in violations(engine.services.connections())]


def test_the_sweep_of_closed_stages_leaves_a_resumed_task_alone(engine):
    assert skip_while_resuming(engine) == []


def test_the_sweep_of_closed_stages_takes_its_rows_in_the_order_of_a_resume(engine):
    """R14: where it waits for the first, it holds none of the others, so that neither waits for the other."""
    engine.start_work_stage(tasks=20)
    engine.sql("UPDATE geoetl.stage SET state = 'failed' WHERE no = 1")
    first, *others = sorted(engine.task_ids(1))
    lock = "SELECT FROM geoetl.task WHERE id = ANY(%s::uuid[]) FOR NO KEY UPDATE"

    def sweep() -> None:
        # As the server may plan it for a large table: an index happens to have the right order.
        engine.sql("SET enable_indexscan = off")
        engine.sql("SET enable_bitmapscan = off")
        engine.services.connections().execute(REAPER["skip_closed"])

    while_open(
        engine,
        lambda: engine.sql(lock, [first]),
        sweep,
        then=lambda: engine.sql(f"{lock} NOWAIT", others),
    )

    assert set(engine.states()["tasks"][3:]) == {"skipped"}


@pytest.mark.parametrize(
    ("file", "block", "rule", "instead"),
    [
        ("reaper", "skip_closed", "AND t.attempt = c.attempt", ""),
        ("jobs", "resume_tasks", "attempt = t.attempt + 1,", "attempt = t.attempt,"),
    ],
    ids=["R5: the sweep without the attempt", "R7: a resume that raises no attempt"],
)
def test_either_half_of_the_fence_taken_away_is_found(engine, plant, file, block, rule, instead):
    plant(file, block, rule, instead)

    assert "task-abandoned" in skip_while_resuming(engine)


def finish_while_cancelling(engine) -> tuple[bool, list[str]]:
    """A callback begins to finish while a cancel is about to commit."""
    submission = engine.submit()
    (task_id,) = engine.bells()
    engine.run(engine.claim(task_id))
    (callback_id,) = engine.bells()
    callback = engine.claim(callback_id)
    result, effect = complete_stage(engine.services, callback)
    accepted = while_open(
        engine,
        lambda: control.cancel(engine.services, submission.job_id),
        lambda: engine.services.ledger.finish(callback, result, [effect]),
    )
    return accepted, [violation.kind for violation in violations(engine.services.connections())]


def test_a_callback_that_waited_for_a_cancel_starts_nothing(engine):
    assert finish_while_cancelling(engine) == (False, [])
    assert engine.states()["tasks"] == ["cancelled", "succeeded"]


def test_a_callback_that_reads_the_run_without_its_lock_is_found(engine, plant):
    plant("jobs", "lock_run", "FOR NO KEY UPDATE OF r", "")

    accepted, broken = finish_while_cancelling(engine)

    assert accepted
    assert "run-and-stage-differ" in broken


def test_of_two_forced_submits_one_makes_a_run_and_one_is_refused(engine):
    submission = engine.submit(Noop(tasks=1))
    engine.work_off()

    def again() -> InvalidInput:
        with pytest.raises(InvalidInput, match="a new run would race") as caught:
            engine.submit(Noop(tasks=1), force=True)
        return caught.value

    refused = while_open(
        engine,
        lambda: engine.sql("SELECT FROM geoetl.job WHERE id = %s FOR NO KEY UPDATE", submission.job_id),
        again,
        then=lambda: engine.submit(Noop(tasks=1), force=True),
    )

    assert refused.code == "job-running"
    assert engine.sql("SELECT count(*) FROM geoetl.run") == [(2,)]


def test_a_submit_that_waited_for_another_finds_its_run(engine):
    made = []

    def first() -> None:
        made.append(engine.submit(Noop(tasks=1)))

    second = while_open(engine, first, lambda: engine.submit(Noop(tasks=1)))

    assert (second.outcome, second.run_id) == ("already running", made[0].run_id)
    assert second.state is JobState.QUEUED


def test_a_cancel_that_waited_for_a_forced_submit_cancels_the_new_run(engine):
    submission = engine.submit(Noop(tasks=1))
    engine.work_off()

    did_cancel = while_open(
        engine,
        lambda: engine.submit(Noop(tasks=1), force=True),
        lambda: control.cancel(engine.services, submission.job_id),
    )

    assert did_cancel
    assert engine.sql("SELECT no, state FROM geoetl.run ORDER BY no") == [(1, "completed"), (2, "cancelled")]


def test_a_revoke_that_waited_for_a_resume_is_spent(engine):
    submission = engine.start_work_stage()
    task_id = engine.task_ids(1)[0]
    control.cancel(engine.services, submission.job_id)

    still_holds = while_open(
        engine,
        lambda: control.resume(engine.services, submission.job_id),
        lambda: revoke(engine.services.connections(), task_id, age_s=60, owner=None),
    )

    assert still_holds is False
    assert engine.states()["run"] == "running"


def test_a_deadline_that_waited_for_a_resume_is_not_enforced(engine):
    submission = engine.submit(Noop(tasks=1), deadline_s=60)
    control.cancel(engine.services, submission.job_id)
    engine.sql("UPDATE geoetl.run SET deadline = now() - interval '1 second'")

    did_cancel = while_open(
        engine,
        lambda: control.resume(engine.services, submission.job_id),
        lambda: cancel_overdue_run(engine.services.connections(), submission.job_id, submission.run_id, deadline_s=60),
    )

    assert did_cancel is False
    assert engine.states()["run"] == "running"
