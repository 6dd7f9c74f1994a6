"""Submitting, the path of a job, running it again."""

from ast import literal_eval
from uuid import UUID

import pytest

from geoetl.backend.dispatch import MessagesRefused
from geoetl.chains.noop import Noop
from geoetl.engine import control, views
from geoetl.engine.messages import TaskMessages
from geoetl.engine.preview import preview
from geoetl.errors import InvalidInput, NotFound, UnknownVersion
from geoetl.models.states import JOB_TRANSITIONS, STAGE_TRANSITIONS, TASK_TRANSITIONS, JobState, TaskState
from geoetl.worker.client import Job


def test_a_submit_writes_job_run_stage_tasks_and_one_bell_a_task(engine):
    submission = engine.submit(Noop(tasks=5))

    assert submission.outcome == "accepted"
    assert submission.run_no == 1
    assert engine.states() == {"run": "queued", "stages": [("running", 1)], "tasks": ["ready", "ready"]}
    assert engine.bells() == engine.task_ids()


def test_tasks_and_their_preview_name_the_queues_of_the_settings(make_engine):
    engine = make_engine(standard="light", gdal="heavy")

    engine.submit(Noop(tasks=5))

    assert engine.sql("SELECT DISTINCT queue FROM geoetl.task") == [("light",)]
    assert {row[0]["queue"] for row in engine.sql("SELECT envelope FROM geoetl.template")} == {"light"}
    previewed = preview(engine.services, Noop(tasks=5)).stages
    assert {task.queue for stage in previewed for task in stage.tasks or ()} == {"light"}


def test_a_job_goes_through_its_stages_and_fans_out_by_a_result(engine):
    submission = engine.submit(Noop(tasks=4))

    engine.work_off()

    status = views.job_status(engine.services.connections(), submission.job_id)
    assert status.summary.state is JobState.COMPLETED
    assert status.result == {"sum_of_squares": 0 + 1 + 4 + 9}
    assert [(stage.name, stage.state, stage.size) for stage in status.stages] == [
        ("count", "completed", 1),
        ("work", "completed", 4),
    ]


def test_a_stage_without_tasks_completes_by_its_callback_alone(engine):
    engine.submit(Noop(tasks=0))

    engine.work_off()

    assert engine.states()["run"] == "completed"
    assert engine.states()["stages"] == [("completed", 0), ("completed", 0)]


def test_the_same_job_is_found_again_while_it_runs(engine):
    first = engine.submit(Noop(tasks=2))
    second = engine.submit(Noop(tasks=2))

    assert (second.outcome, second.job_id, second.run_id) == ("already running", first.job_id, first.run_id)
    assert engine.sql("SELECT count(*) FROM geoetl.run") == [(1,)]


def test_another_parameter_is_another_job(engine):
    assert engine.submit(Noop(tasks=2)).job_id != engine.submit(Noop(tasks=3)).job_id


def test_a_job_that_is_done_is_not_run_again(engine):
    first = engine.submit(Noop(tasks=1))
    engine.work_off()

    again = engine.submit(Noop(tasks=1))

    assert (again.outcome, again.run_id) == ("already done", first.run_id)
    assert engine.bells() == []


def test_force_runs_a_done_job_again_and_keeps_the_first_run(engine):
    first = engine.submit(Noop(tasks=1))
    engine.work_off()

    again = engine.submit(Noop(tasks=1), force=True)
    engine.work_off()

    assert (again.outcome, again.run_no) == ("accepted", 2)
    assert again.run_id != first.run_id
    assert engine.sql("SELECT no, state FROM geoetl.run ORDER BY no") == [(1, "completed"), (2, "completed")]


def test_force_is_refused_while_the_job_runs(engine):
    engine.submit(Noop(tasks=1))

    with pytest.raises(InvalidInput, match="a new run would race") as caught:
        engine.submit(Noop(tasks=1), force=True)

    assert caught.value.code == "job-running"


def test_a_cancelled_job_is_not_started_again_by_the_same_submit(engine):
    first = engine.submit(Noop(tasks=1))
    assert control.cancel(engine.services, first.job_id)

    again = engine.submit(Noop(tasks=1))

    assert again.outcome == "ended before"
    assert "resume" in again.hint


def test_a_prefix_finds_a_job_and_an_unknown_one_is_told(engine):
    submission = engine.submit(Noop(tasks=1))
    conn = engine.services.connections()

    assert views.find_job(conn, submission.job_id[:8]) == submission.job_id
    with pytest.raises(NotFound, match="no job whose id begins with 'ffff0000'"):
        views.find_job(conn, "ffff0000")


def test_events_tell_the_story_of_a_job_in_order(engine):
    submission = engine.submit(Noop(tasks=1))
    engine.work_off()

    told = [event.what for event in views.events(engine.services.connections(), submission.run_id)]

    assert told == [
        "job submitted", "stage started", "task started", "task succeeded", "task started", "task succeeded",
        "stage completed", "stage started", "task started", "task succeeded", "task started", "task succeeded",
        "stage completed", "job completed",
    ]  # fmt: skip


def test_ten_thousand_tasks_are_written_in_one_transaction(engine):
    submission = engine.start_work_stage(tasks=10_000)

    assert len(engine.bells()) == 10_000
    assert engine.sql("SELECT count(*) FROM geoetl.template WHERE run_id = %s", submission.run_id) == [(4,)]


@pytest.mark.parametrize(
    ("kind", "table"), [("run", JOB_TRANSITIONS), ("stage", STAGE_TRANSITIONS), ("task", TASK_TRANSITIONS)]
)
def test_the_database_and_the_models_agree_on_legal_transitions(engine, kind, table):
    (legal,) = engine.sql("SELECT geoetl.legal_transitions(%s)", kind)[0]

    assert set(legal) == {f"{before}>{after}" for before, afters in table.items() for after in afters}


def test_a_message_says_what_its_task_works_on(engine):
    submission = engine.start_work_stage()
    first = UUID(engine.task_ids(1)[0])

    headers = TaskMessages().messages(engine.services.connections(), [first])[first].headers

    assert headers["argsrepr"] == "number 0"
    assert literal_eval(headers["kwargsrepr"]) == {"stage": "work", "job": submission.job_id[:12]}


def test_tasks_are_read_by_state_and_without_results_where_nobody_looks_at_them(engine):
    submission = engine.start_work_stage()
    claims = [engine.claim(task_id) for task_id in engine.task_ids(1)[:2]]
    assert engine.run(claims[0])
    job = Job(submission.job_id, engine.services)

    notable = job.tasks(states=(TaskState.RUNNING, TaskState.FAILED), results=False)
    assert [(task.id, task.state) for task in notable] == [(claims[1].task_id, TaskState.RUNNING)]

    finished = {task.id: task for task in job.tasks(states=[TaskState.SUCCEEDED])}
    assert finished[claims[0].task_id].result == {"square": 0}
    listed = {task.id: task for task in job.tasks(states=[TaskState.SUCCEEDED], results=False)}
    assert listed.keys() == finished.keys()
    assert {task.result for task in listed.values()} == {None}
    assert len(job.tasks()) == 4


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (MessagesRefused({"standard": "it is disabled"}), "'standard' refuses messages: it is disabled."),
        (OSError("no route"), "broker cannot be reached"),
    ],
)
def test_a_submit_whose_messages_stay_behind_is_accepted_and_says_why(engine, problem, said):
    def drain() -> int:
        raise problem

    engine.services.relay.drain = drain

    submission = engine.submit(Noop(tasks=1))

    assert submission.outcome == "accepted"
    assert said in submission.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("definition_version = 7", "'noop' .* version 7; this worker plans version 1"),
        ("job_type = 'of-tomorrow'", "'of-tomorrow' .* version 1; this worker does not know"),
    ],
)
def test_a_worker_of_another_release_leaves_a_stage_to_one_that_knows_it(engine, change, said):
    engine.submit(Noop(tasks=1))
    engine.run(engine.claim(engine.bells()[0]))
    engine.sql(f"UPDATE geoetl.job SET {change}")
    ledger = engine.services.ledger
    other = engine.claim(engine.bells()[0], "other:1")

    with pytest.raises(UnknownVersion, match=said) as caught:
        engine.run(other)

    delay_s = ledger.retry_delay(other, caught.value)
    assert delay_s is not None
    assert "geoetl job retry" in caught.value.hint
    ledger.retry(other, caught.value, 0.0)
    engine.sql("UPDATE geoetl.job SET definition_version = 1, job_type = 'noop'")
    engine.work_off()
    assert engine.states()["run"] == "completed"


def test_a_stage_that_no_worker_knows_fails_its_job_at_last_and_names_the_version(engine):
    submission = engine.submit(Noop(tasks=1))
    engine.run(engine.claim(engine.bells()[0]))
    engine.sql("UPDATE geoetl.job SET definition_version = 7")
    engine.sql("UPDATE geoetl.task SET attempt = max_attempts - 1 WHERE idx = -1 AND stage_no = 0")
    last = engine.claim(engine.bells()[0])
    with pytest.raises(UnknownVersion) as caught:
        engine.run(last)

    assert engine.services.ledger.retry_delay(last, caught.value) is None
    engine.services.ledger.fail(last, caught.value, None)

    error = views.job_status(engine.services.connections(), submission.job_id).summary.error
    assert (error["code"], "version 7" in error["message"]) == ("definition-version", True)
