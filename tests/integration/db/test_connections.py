import os
import threading

import pytest

from geoetl.config import DatabaseTarget
from geoetl.db.connections import (
    ConnectionSource,
    DatabaseRefused,
    DatabaseUnavailable,
    SharedConnection,
    connect,
    database_errors,
)
from tests.stack import TestDatabases


@pytest.fixture
def source(app_db: DatabaseTarget):
    source = ConnectionSource(app_db, application_name="tests")
    yield source
    source.close()


def _backend(connection) -> int:
    return connection.execute("SELECT pg_backend_pid()").fetchone()[0]


def test_a_thread_keeps_its_connection(source: ConnectionSource):
    assert source() is source()


def test_threads_do_not_share_a_connection(source: ConnectionSource):
    backends: list[int] = []
    threads = [threading.Thread(target=lambda: backends.append(_backend(source()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A thread that starts after another has ended may be given its number, and then inherits its connection.
    assert _backend(source()) not in backends


def test_a_session_ended_by_the_server_is_replaced(source: ConnectionSource, databases: TestDatabases):
    backend = _backend(source())
    with connect(databases.cluster.target(), application_name="tests") as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
    assert _backend(source()) != backend


def test_asking_inside_a_transaction_stays_inside_it(source: ConnectionSource):
    with source().transaction(force_rollback=True):
        source().execute("CREATE TABLE inner_work ()")
    assert source().execute("SELECT to_regclass('inner_work')").fetchone() == (None,)


def test_a_forked_child_opens_its_own_and_leaves_the_parents_alone(source: ConnectionSource):
    backend = _backend(source())
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Only os._exit below: the child must not run pytest's own end.
        try:
            os.write(write, str(_backend(source())).encode())
            source.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    childs = int(os.read(read, 100))
    os.close(read)
    assert childs != backend
    assert _backend(source()) == backend


@pytest.fixture
def shared(app_db: DatabaseTarget):
    shared = SharedConnection(app_db, application_name="tests")
    yield shared
    shared.close()


def test_threads_take_turns_at_a_shared_connection(shared: SharedConnection):
    backends: set[int] = set()

    def ask_often() -> None:
        for _ in range(100):
            backends.add(shared().execute("SELECT pg_backend_pid(), pg_sleep(0.001)").fetchone()[0])

    threads = [threading.Thread(target=ask_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(backends) == 1


def test_a_shared_connection_that_was_lost_is_replaced(shared: SharedConnection, databases: TestDatabases):
    backend = _backend(shared())
    with connect(databases.cluster.target(), application_name="tests") as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
    assert _backend(shared()) != backend
    shared.close()
    assert _backend(shared()) != backend


def test_closing_and_asking_again_opens_anew(source: ConnectionSource):
    backend = _backend(source())
    source.close()
    assert _backend(source()) != backend


def test_a_server_that_is_away_is_unavailable(app_db: DatabaseTarget):
    away = app_db.model_copy(update={"port": 1})
    with pytest.raises(DatabaseUnavailable, match=r"Connecting to database .* failed") as caught:
        connect(away, application_name="tests")
    assert caught.value.retryable


def test_a_database_that_does_not_exist_is_refused_for_good(app_db: DatabaseTarget):
    with pytest.raises(DatabaseRefused, match="does not exist") as caught:
        connect(app_db.model_copy(update={"dbname": "no_such"}), application_name="tests")
    assert not caught.value.retryable


def test_losing_the_connection_in_a_query_is_unavailable(source: ConnectionSource):
    connection = source()
    with (
        pytest.raises(DatabaseUnavailable, match="Could not read the jobs"),
        database_errors("read the jobs"),
    ):
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
