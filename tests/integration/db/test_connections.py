import os
import select
import socket
import threading
from collections.abc import Generator

import pytest

from geoetl.backend.connections import UrlConnections
from geoetl.config import DatabaseTarget
from geoetl.config.worker import WorkerSettings
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


def _resolution_fails(code: int):
    """A system that cannot tell the address of any host."""

    def getaddrinfo(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(code, "so says the system")

    return getaddrinfo


def test_a_host_that_nobody_knows_is_refused_for_good(app_db: DatabaseTarget, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "getaddrinfo", _resolution_fails(socket.EAI_NONAME))
    with pytest.raises(DatabaseRefused, match="resolve host 'misspelt'") as caught:
        connect(app_db.model_copy(update={"host": "misspelt"}), application_name="tests")
    assert not caught.value.retryable


@pytest.mark.parametrize("code", [socket.EAI_AGAIN, socket.EAI_NODATA, socket.EAI_FAIL])
def test_names_that_cannot_be_looked_up_now_may_be_later(
    code: int, app_db: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(socket, "getaddrinfo", _resolution_fails(code))
    with pytest.raises(DatabaseUnavailable):
        connect(app_db.model_copy(update={"host": "away"}), application_name="tests")


def test_losing_the_connection_in_a_query_is_unavailable(source: ConnectionSource):
    connection = source()
    with (
        pytest.raises(DatabaseUnavailable, match="Could not read the jobs"),
        database_errors("read the jobs"),
    ):
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
def over_tcp(app_db: DatabaseTarget) -> Generator[DatabaseTarget]:
    """The database of ``app_db`` behind a port of this machine, for one session."""

    def pass_on() -> None:
        client, _ = server.accept()
        with client, socket.socket(socket.AF_UNIX) as behind:
            behind.connect(f"{app_db.host}/.s.PGSQL.{app_db.port}")
            while True:
                for source in select.select([client, behind], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (behind if source is client else client).sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=pass_on)
        thread.start()
        port = server.getsockname()[1]
        yield app_db.model_copy(update={"host": "127.0.0.1", "port": port, "sslmode": "disable"})
        thread.join(30)


@pytest.mark.parametrize("of_a_url", [False, True], ids=["settings", "url"])
def test_a_network_that_goes_silent_is_noticed_within_a_lease(over_tcp: DatabaseTarget, of_a_url: bool):
    """The kernel keeps the promise, and a proxy's kernel answers for the proxy: what it was told is looked at."""
    url = f"postgresql://{over_tcp.user}@127.0.0.1:{over_tcp.port}/{over_tcp.dbname}?sslmode=disable"
    source = UrlConnections(url) if of_a_url else ConnectionSource(over_tcp, application_name="tests")
    with socket.socket(fileno=os.dup(source().fileno())) as session:
        told = {
            name: session.getsockopt(level, getattr(socket, name))
            for level, name in (
                (socket.SOL_SOCKET, "SO_KEEPALIVE"),
                (socket.IPPROTO_TCP, "TCP_KEEPIDLE"),
                (socket.IPPROTO_TCP, "TCP_KEEPINTVL"),
                (socket.IPPROTO_TCP, "TCP_KEEPCNT"),
                (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT"),
            )
        }
    source.close()
    lease_s = WorkerSettings().lease_s
    assert told["SO_KEEPALIVE"] == 1
    # An answer is waited for; a statement was sent and not even received.
    assert told["TCP_KEEPIDLE"] + told["TCP_KEEPINTVL"] * told["TCP_KEEPCNT"] <= lease_s
    assert 0 < told["TCP_USER_TIMEOUT"] < lease_s * 1000
