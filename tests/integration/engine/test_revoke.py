"""What Celery's revoke does to a job."""

from geoetl.chains.noop import Noop
from geoetl.engine import control
from geoetl.engine.revoke import revoke


def test_revoking_a_task_cancels_its_job_and_names_who_did_it(engine):
    engine.start_work_stage()

    assert revoke(engine.services.connections(), engine.task_ids(1)[0], age_s=0, owner=None)

    assert engine.states()["run"] == "cancelled"
    assert engine.sql("SELECT data->>'by' FROM geoetl.event WHERE what = 'job cancelled'") == [("revoke in Celery",)]


def test_the_attempt_of_the_killed_process_is_given_up(engine):
    engine.start_work_stage()
    claim = engine.claim(engine.task_ids(1)[0], "w1:7")

    revoke(engine.services.connections(), claim.task_id, age_s=0, owner="w1:7")

    assert engine.states()["tasks"][3] == "cancelled"
    assert engine.run(claim) is False


def test_a_revoke_that_is_older_than_a_resume_is_spent(engine):
    submission = engine.start_work_stage()
    task_id = engine.task_ids(1)[0]
    control.cancel(engine.services, submission.job_id)
    control.resume(engine.services, submission.job_id)

    assert revoke(engine.services.connections(), task_id, age_s=60, owner=None) is False
    assert engine.states()["run"] == "running"


def test_a_revoked_task_of_an_old_run_leaves_the_new_one_alone(engine):
    engine.submit(Noop(tasks=1))
    engine.work_off()
    old = engine.task_ids(1)[0]
    engine.submit(Noop(tasks=1), force=True)

    assert revoke(engine.services.connections(), old, age_s=0, owner=None)

    assert engine.states()["run"] == "queued"
