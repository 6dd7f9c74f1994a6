"""The backend's own schema and the app database's migrations make the same tables."""

import psycopg
import pytest

from geoetl.backend.__main__ import main
from geoetl.backend.schema import install
from geoetl.db.provision import Layout
from geoetl.db.schema import load_migrations

TABLES = ["chord", "chord_part", "outbox", "result", "task_group"]


@pytest.fixture
def empty_db(databases):
    target = databases.new_empty(Layout().app)
    yield target
    databases.drop(target)


def catalogue(target) -> dict[str, list]:
    """Columns, indexes and constraints of the backend's tables, in an order of their own."""
    queries = {
        "columns": (
            "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity"
            " FROM information_schema.columns WHERE table_schema = 'geoetl' AND table_name = ANY(%s)"
        ),
        "indexes": "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'geoetl' AND tablename = ANY(%s)",
        "constraints": (
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'geoetl'::regnamespace"
            " AND conrelid IN (SELECT ('geoetl.' || name)::regclass FROM unnest(%s::text[]) AS name)"
        ),
    }
    with psycopg.connect(target.conninfo(application_name="test"), autocommit=True) as conn:
        return {what: sorted(conn.execute(query, [TABLES]).fetchall(), key=repr) for what, query in queries.items()}


def connect(target) -> psycopg.Connection:
    return psycopg.connect(target.conninfo(application_name="test"), autocommit=True)


def test_installed_tables_are_those_of_the_migrations(empty_db, app_db):
    with connect(empty_db) as conn:
        install(conn)

    assert catalogue(empty_db) == catalogue(app_db)


def test_installing_again_changes_nothing(empty_db):
    with connect(empty_db) as conn:
        install(conn)
        before = catalogue(empty_db)
        install(conn)

    assert catalogue(empty_db) == before


def test_tables_of_the_first_version_are_brought_up_to_date(empty_db, app_db):
    with connect(empty_db) as conn:
        conn.execute(load_migrations("app")[0].sql)
        conn.execute("INSERT INTO geoetl.result (task_id, state, meta) VALUES ('a', 'SUCCESS', ''), ('b', 'RETRY', '')")
        install(conn)
        phases = conn.execute("SELECT task_id, phase FROM geoetl.result ORDER BY 1").fetchall()

    assert phases == [("a", "ended"), ("b", "open")]
    assert catalogue(empty_db) == catalogue(app_db)


def test_the_command_installs_and_names_the_database(empty_db, capsys):
    url = f"geoetl+postgresql:///{empty_db.dbname}?host={empty_db.host}&port={empty_db.port}&user={empty_db.user}"

    assert main(["install", url]) == 0
    assert capsys.readouterr().out == (
        f"The backend is installed in postgresql://{empty_db.user}@{empty_db.host}:{empty_db.port}/{empty_db.dbname}.\n"
    )


def test_the_command_says_why_it_could_not(empty_db, capsys):
    assert main(["install", f"postgresql:///nowhere?host={empty_db.host}&user={empty_db.user}"]) == 1
    assert "Could not install the backend" in capsys.readouterr().err
