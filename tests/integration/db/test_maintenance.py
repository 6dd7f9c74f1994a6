"""Emptying and rebuilding the app database: only where it is allowed, recorded, and never by half."""

import threading
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from geoetl.config import DatabaseTarget
from geoetl.db.connections import DatabaseUnavailable, connect
from geoetl.db.maintenance import (
    MaintenanceReport,
    MaintenanceRunning,
    NotConfirmed,
    NotNukeable,
    full_rebuild,
    nuke,
    redeploy,
)
from geoetl.db.schema import LOCK_KEY, Migration, SchemaFault, load_migrations
from geoetl.db.status import app_status

ADD_JOB = "INSERT INTO geoetl.job (id, job_type, definition_version, spec, facts) VALUES ('j', 'noop', 1, '{}', '{}')"


def count(target: DatabaseTarget, query: str) -> int:
    with connect(target, application_name="tests") as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


def run(target: DatabaseTarget, statement: str) -> None:
    with connect(target, application_name="tests") as connection:
        connection.execute(statement)


def test_a_nuke_leaves_only_the_marker_and_the_record(app_db: DatabaseTarget):
    run(app_db, ADD_JOB)
    report = nuke(app_db, confirm=app_db.dbname, person="ada")
    assert report.dropped_rows["job"] == 1
    assert count(app_db, "SELECT count(*) FROM pg_namespace WHERE nspname = 'geoetl'") == 0
    status = app_status(app_db)
    assert status.is_nukeable
    assert status.applied == ()
    (record,) = status.maintenance
    assert (record.action, record.person, record.state) == ("nuke", "ada", "done")
    assert record.detail["dropped_rows"]["job"] == 1


def test_a_redeploy_after_a_nuke_makes_everything_anew(app_db: DatabaseTarget):
    nuke(app_db, confirm=app_db.dbname, person="ada")
    report = redeploy(app_db, person="ada")
    assert report.applied == tuple(map(str, load_migrations("app")))
    assert app_status(app_db).is_ready
    run(app_db, ADD_JOB)


@pytest.mark.parametrize("is_nuked", [False, True])
def test_runs_after_a_rebuild_outrank_those_before(app_db: DatabaseTarget, is_nuked: bool):
    # The ledger of artefacts, which stays, refuses what a run of a smaller number publishes.
    add_runs = (
        "WITH added AS (INSERT INTO geoetl.run (id, job_id, no, stage_count) SELECT gen_random_uuid(), 'j', no, 1"
        " FROM generate_series(1, 5) no RETURNING sequence) SELECT {}(sequence) FROM added"
    )
    run(app_db, ADD_JOB)
    before = count(app_db, add_runs.format("max"))

    if is_nuked:
        nuke(app_db, confirm=app_db.dbname, person="ada")
        redeploy(app_db, person="ada")
    else:
        full_rebuild(app_db, confirm=app_db.dbname, person="ada")

    run(app_db, ADD_JOB)
    assert count(app_db, add_runs.format("min")) > before


def test_a_redeploy_keeps_what_is_there(app_db: DatabaseTarget):
    run(app_db, ADD_JOB)
    more = Migration(number=len(load_migrations("app")) + 1, name="more", sql="ALTER TABLE geoetl.job ADD note text;")
    report = redeploy(app_db, person="ada", migrations=[*load_migrations("app"), more])
    assert report.applied == (str(more),)
    assert count(app_db, "SELECT count(*) FROM geoetl.job WHERE note IS NULL") == 1


def test_a_full_rebuild_that_fails_changes_nothing_and_is_recorded(app_db: DatabaseTarget):
    run(app_db, ADD_JOB)
    broken = Migration(number=len(load_migrations("app")) + 1, name="broken", sql="SELECT 1 / 0;")
    with pytest.raises(SchemaFault, match="division by zero"):
        full_rebuild(app_db, confirm=app_db.dbname, person="ada", migrations=[*load_migrations("app"), broken])
    assert count(app_db, "SELECT count(*) FROM geoetl.job") == 1
    assert app_status(app_db).maintenance[0].state == "failed"


def test_a_full_rebuild_is_never_seen_half_done(app_db: DatabaseTarget):
    run(app_db, ADD_JOB)
    stop = threading.Event()
    failed: list[Exception] = []

    def look() -> None:
        with connect(app_db, application_name="tests") as connection:
            while not stop.is_set():
                try:
                    connection.execute("SELECT count(*) FROM geoetl.job")
                except psycopg.Error as exc:
                    failed.append(exc)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(3):
        full_rebuild(app_db, confirm=app_db.dbname, person="ada")
    stop.set()
    thread.join()
    assert failed == []
    assert count(app_db, "SELECT count(*) FROM geoetl.job") == 0


@pytest.mark.parametrize("act", [nuke, full_rebuild])
def test_a_wrong_confirmation_changes_nothing(act: Callable[..., MaintenanceReport], app_db: DatabaseTarget):
    run(app_db, ADD_JOB)
    with pytest.raises(NotConfirmed, match="'yes' was typed"):
        act(app_db, confirm="yes", person="ada")
    assert count(app_db, "SELECT count(*) FROM geoetl.job") == 1


@pytest.mark.parametrize("act", [nuke, full_rebuild])
def test_a_database_without_the_marker_is_refused(act: Callable[..., MaintenanceReport], app_db: DatabaseTarget):
    run(app_db, "DELETE FROM geoetl_meta.nukeable")
    with pytest.raises(NotNukeable, match="does not carry the marker"):
        act(app_db, confirm=app_db.dbname, person="ada")
    run(app_db, "DROP TABLE geoetl_meta.nukeable")
    with pytest.raises(NotNukeable, match="does not carry the marker"):
        act(app_db, confirm=app_db.dbname, person="ada")


def test_the_business_database_is_refused_even_with_a_marker(business_owner_db: DatabaseTarget):
    run(
        business_owner_db,
        "CREATE TABLE geoetl_meta.nukeable AS SELECT true AS is_nukeable;CREATE TABLE geoetl_meta.maintenance (id int)",
    )
    with pytest.raises(NotNukeable, match="holds the catalogue or the ledger"):
        nuke(business_owner_db, confirm=business_owner_db.dbname, person="ada")
    assert count(business_owner_db, "SELECT count(*) FROM geoetl.artefact") == 0


def test_while_another_process_migrates_nothing_is_done(app_db: DatabaseTarget):
    with connect(app_db, application_name="tests") as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        with pytest.raises(MaintenanceRunning):
            nuke(app_db, confirm=app_db.dbname, person="ada")
    nuke(app_db, confirm=app_db.dbname, person="ada")


def test_a_transaction_that_does_not_end_makes_it_give_up(app_db: DatabaseTarget, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("geoetl.db.maintenance._LOCK_TIMEOUT", "20ms")
    run(app_db, ADD_JOB)
    with connect(app_db, application_name="tests", autocommit=False) as other:
        other.execute("SELECT * FROM geoetl.job FOR UPDATE")
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            nuke(app_db, confirm=app_db.dbname, person="ada")
    assert count(app_db, "SELECT count(*) FROM geoetl.job") == 1
    assert app_status(app_db).maintenance[0].state == "failed"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("ALTER TABLE geoetl.job ADD COLUMN extra text", "column job.extra is there, no migration makes it"),
        ("ALTER TABLE geoetl.run DROP COLUMN result", "column run.result is missing"),
        ("DROP INDEX geoetl.task_ready", "index task_ready is missing"),
        (
            "ALTER TABLE geoetl.job ALTER COLUMN job_type DROP NOT NULL",
            "column job.job_type is 'text', the migrations make 'text NOT NULL'",
        ),
        ("DROP TRIGGER legal_transition ON geoetl.task", "trigger task.legal_transition is missing"),
        ("ALTER TABLE geoetl.stage DROP CONSTRAINT stage_remaining_check", "constraint stage.stage_remaining_check"),
        (
            "CREATE OR REPLACE FUNCTION geoetl.legal_transitions(kind text) RETURNS text[] RETURN NULL::text[]",
            "function legal_transitions(kind text) is ",
        ),
    ],
)
def test_drift_is_named(change: str, difference: str, app_db: DatabaseTarget):
    assert app_status(app_db).drift == ()
    run(app_db, change)
    (found, *_) = app_status(app_db).drift or ()
    assert found.startswith(difference)


def test_looking_for_drift_does_not_wait_for_work_nor_hold_it_up(app_db: DatabaseTarget):
    run(app_db, ADD_JOB)
    with connect(app_db, application_name="tests", autocommit=False) as worker:
        worker.execute("SELECT * FROM geoetl.job FOR UPDATE")
        assert app_status(app_db).drift == ()
        worker.execute("UPDATE geoetl.job SET submitted_by = 'x'")
        worker.commit()
    with connect(app_db, application_name="tests") as connection:
        names = connection.execute(sql.SQL("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'geoetl%'")).fetchall()
    assert sorted(name for (name,) in names) == ["geoetl", "geoetl_meta"]
