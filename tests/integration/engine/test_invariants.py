"""The views that say what must hold: silent on a healthy engine, and each breach is seen."""

import pytest

from geoetl.engine import control
from geoetl.engine.invariants import violations
from geoetl.errors import BadData


def kinds(engine):
    return {violation.kind for violation in violations(engine.services.connections())}


def test_a_job_breaks_no_invariant_on_its_way(engine):
    submission = engine.start_work_stage()
    assert kinds(engine) == set()
    claims = [engine.claim(task_id) for task_id in engine.task_ids(1)]
    engine.run(claims[0])
    assert kinds(engine) == set()
    engine.services.ledger.fail(claims[1], BadData("broken"), None)
    assert kinds(engine) == set()
    control.resume(engine.services, submission.job_id)
    assert kinds(engine) == set()
    engine.work_off()
    assert engine.states()["run"] == "completed"
    assert kinds(engine) == set()


BREACHES = {
    "barrier-wrong": "UPDATE geoetl.stage SET remaining = remaining - 1 WHERE no = 1",
    "tasks-missing": "UPDATE geoetl.stage SET size = size + 1",
    "stage-closed-early": "UPDATE geoetl.stage SET state = 'completing' WHERE no = 1",
    "barrier-unnoticed": "UPDATE geoetl.task SET state = 'succeeded' WHERE stage_no = 1 AND idx >= 0",
    "callback-and-stage-differ": "UPDATE geoetl.stage SET state = 'failed' WHERE no = 0",
    "task-abandoned": "UPDATE geoetl.task SET state = 'skipped' WHERE stage_no = 1 AND idx = 1",
    "budget-exceeded": "UPDATE geoetl.task SET attempt = max_attempts + 1 WHERE stage_no = 1",
    "lease-wrong": "UPDATE geoetl.task SET state = 'running' WHERE stage_no = 1 AND idx = 0",
    "stage-out-of-order": "UPDATE geoetl.run SET cur_stage = 0",
    "run-and-stage-differ": "UPDATE geoetl.run SET state = 'failed'",
    "run-completed-early": "UPDATE geoetl.run SET state = 'completed'",
    "two-open-runs": "INSERT INTO geoetl.run (id, job_id, no, stage_count) SELECT gen_random_uuid(), job_id, 2, 1"
    " FROM geoetl.run",
    "accepted-twice": "INSERT INTO geoetl.event (run_id, stage_no, task_id, attempt, what)"
    " SELECT run_id, stage_no, task_id, attempt, what FROM geoetl.event WHERE what = 'task succeeded'",
    "stale-result": "UPDATE geoetl.task SET attempt = 2 WHERE stage_no = 0",
    "attempt-reused": "INSERT INTO geoetl.event (run_id, stage_no, task_id, attempt, what)"
    " SELECT run_id, stage_no, task_id, attempt, what FROM geoetl.event WHERE what = 'task started'",
    "stage-completed-twice": "INSERT INTO geoetl.event (run_id, stage_no, what)"
    " SELECT run_id, stage_no, what FROM geoetl.event WHERE what = 'stage completed'",
}


@pytest.mark.parametrize("kind", BREACHES)
def test_each_breach_is_seen(engine, kind):
    engine.start_work_stage()
    # What the engine never does, the triggers refuse: a breach needs them off.
    engine.sql("ALTER TABLE geoetl.task DISABLE TRIGGER USER; ALTER TABLE geoetl.stage DISABLE TRIGGER USER")
    engine.sql("ALTER TABLE geoetl.run DISABLE TRIGGER USER")

    engine.sql(BREACHES[kind])

    assert kind in kinds(engine)
