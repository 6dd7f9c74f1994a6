"""What commands do where their input, the job or the database is not as it should be."""

from geoetl.errors import BadData
from tests.integration.engine.conftest import claim_work


def test_waiting_for_a_job_that_had_failed_before_fails(engine, geoetl):
    engine.start_work_stage(tasks=1)
    engine.services.ledger.fail(claim_work(engine), BadData("broken", code="corrupt-block"), None)

    said = geoetl("submit", "noop", "-p", "tasks=1", "--wait")

    assert said.status == 1
    assert "ended before" in said.text
    assert "resume" in said.text
    assert geoetl("submit", "noop", "-p", "tasks=1").status == 0, "who does not wait asks only whether it is accepted"


def test_a_text_may_look_like_a_number(engine, geoetl):
    assert geoetl("submit", "noop", "-p", "name=2024", "-p", "tasks=0").status == 0

    assert engine.sql("SELECT spec -> 'name', spec -> 'tasks' FROM geoetl.job") == [("2024", 0)]


def test_a_database_without_tables_is_explained(app_db, engine, geoetl):
    engine.sql("DROP SCHEMA geoetl CASCADE")

    said = geoetl("job", "list")

    assert said.status == 1
    assert "schema-missing" in said.text
    assert "geoetl db migrate" in said.text
    assert "Traceback" not in said.text


def test_a_deadline_beyond_the_calendar_is_refused(engine, geoetl):
    said = geoetl("submit", "noop", "--deadline", "99999999999d")

    assert said.status == 2
    assert "bad-deadline" in said.text
    assert engine.sql("SELECT count(*) FROM geoetl.job") == [(0,)]
