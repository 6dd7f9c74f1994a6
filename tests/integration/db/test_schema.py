from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from geoetl.config import DatabaseTarget
from geoetl.db.connections import Connection, connect
from geoetl.db.schema import Migration, SchemaFault, load_migrations, migrate, schema_status
from tests.stack import TestDatabases

FIRST = Migration(number=1, name="table", sql="CREATE TABLE thing (id int); INSERT INTO thing VALUES (1);")
SECOND = Migration(number=2, name="column", sql="ALTER TABLE thing ADD COLUMN name text DEFAULT 'a';")


@pytest.fixture
def empty_db(databases: TestDatabases) -> Generator[DatabaseTarget]:
    target = databases.new_empty("geoetl_app")
    yield target
    databases.drop(target)


@pytest.fixture
def connection(empty_db: DatabaseTarget) -> Generator[Connection]:
    with connect(empty_db, application_name="tests") as connection:
        yield connection


def things(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT * FROM thing").fetchall()


def test_pending_migrations_are_applied_in_order_and_once(connection: Connection):
    assert migrate(connection, [FIRST]) == (FIRST,)
    assert migrate(connection, [FIRST, SECOND]) == (SECOND,)
    assert migrate(connection, [FIRST, SECOND]) == ()
    assert things(connection) == [(1, "a")]


def test_the_status_of_an_empty_database_is_read_without_changing_it(connection: Connection):
    status = schema_status(connection, [FIRST])
    assert (status.applied, status.pending) == ((), (FIRST,))
    assert connection.execute("SELECT to_regnamespace('geoetl_meta')").fetchone() == (None,)


def test_a_failing_migration_is_rolled_back_and_those_before_it_stay(connection: Connection):
    broken = Migration(number=2, name="broken", sql="INSERT INTO thing VALUES (2); SELECT 1 / 0;")
    with pytest.raises(SchemaFault, match="0002_broken failed and was rolled back: division by zero"):
        migrate(connection, [FIRST, broken])
    assert things(connection) == [(1,)]
    assert schema_status(connection, [FIRST, SECOND]).pending == (SECOND,)
    assert migrate(connection, [FIRST, SECOND]) == (SECOND,)


def test_an_applied_migration_that_was_edited_is_refused(connection: Connection):
    migrate(connection, [FIRST])
    edited = Migration(number=1, name="table", sql=FIRST.sql + " -- a word")
    with pytest.raises(SchemaFault, match="0001_table was edited after it had been applied"):
        migrate(connection, [edited, SECOND])
    assert things(connection) == [(1,)]


def test_a_database_from_a_later_version_is_refused(connection: Connection):
    migrate(connection, [FIRST, SECOND])
    with pytest.raises(SchemaFault, match="has migration 0002_column, which this version of geoetl does not know"):
        migrate(connection, [FIRST])


def test_a_number_that_is_missing_is_refused(connection: Connection):
    with pytest.raises(SchemaFault, match="0002_column comes where number 0001 is expected"):
        migrate(connection, [SECOND])


def test_processes_that_migrate_at_the_same_time_apply_each_step_once(empty_db: DatabaseTarget):
    slow = Migration(number=1, name="slow", sql="CREATE TABLE thing (id int); SELECT pg_sleep(0.2);")

    def run(_: int) -> int:
        with connect(empty_db, application_name="tests") as connection:
            return len(migrate(connection, [slow, SECOND]))

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(run, range(4))) == [0, 0, 0, 2]


@pytest.mark.parametrize("database", ["app", "business"])
def test_the_shipped_migrations_are_numbered_without_gaps(database: str):
    numbers = [migration.number for migration in load_migrations("app" if database == "app" else "business")]
    assert numbers == list(range(1, len(numbers) + 1))
