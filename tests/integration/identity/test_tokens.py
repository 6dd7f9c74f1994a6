"""Tokens that live ten seconds, used for longer: every service is reached throughout."""

import os
import socket
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import kombu
import pytest
from psycopg import sql

import geoetl.transport  # noqa: F401 - registers `servicebus` with kombu
from geoetl.config import DatabaseTarget
from geoetl.db.connections import Connection, ConnectionSource, DatabaseRefused, DatabaseUnavailable, connect
from geoetl.errors import SystemFault
from geoetl.identity import POSTGRES_SCOPE, IdentityUnavailable, ProcessCredential, postgres_password, token_life_s
from geoetl.local.ports import Ports
from geoetl.local.processes import start, wait_until_ready
from geoetl.models.refs import BlobRef
from geoetl.storage.azure import AzureBlobStore
from geoetl.storage.azure_account import TierAccess
from geoetl.transport.signals import link_lost
from tests.integration.identity.conftest import LIFE_S, IdentityEndpoint
from tests.integration.storage.conftest import TlsAzurite
from tests.stack import TestDatabases

ROLE = "token_role"
#: What the identity endpoint is asked for PostgreSQL's tokens.
POSTGRES = POSTGRES_SCOPE.removesuffix("/.default")


@pytest.fixture
def by_token(databases: TestDatabases, app_db: DatabaseTarget, endpoint: IdentityEndpoint) -> Generator[DatabaseTarget]:
    """A database whose role must give the newest token as its password: PostgreSQL refuses any other."""
    admin = databases.cluster.target()
    with connect(admin, application_name="tests") as connection:
        row = connection.execute("SHOW hba_file").fetchone()
        assert row is not None
        file = Path(row[0])
        before = file.read_text()
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(ROLE)))
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(app_db.dbname), sql.Identifier(ROLE))
        )
        file.write_text(f"local all {ROLE} password\n{before}")
        connection.execute("SELECT pg_reload_conf()")

        def issued(resource: str, token: str) -> None:
            if resource == POSTGRES:
                with connect(admin, application_name="issuer") as issuer:
                    statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
                    issuer.execute(statement.format(sql.Identifier(ROLE), sql.Literal(token)))

        endpoint.on_issue = issued
        yield app_db.model_copy(update={"user": ROLE, "auth": "identity"})
        file.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(
            f"DROP OWNED BY {ROLE}; REVOKE ALL ON DATABASE {app_db.dbname} FROM {ROLE}; DROP ROLE {ROLE}"
        )


def sign_in(target: DatabaseTarget, endpoint: IdentityEndpoint) -> Connection:
    """A session by token. Azure's servers take every token that lives, this one only the newest.

    So who took the older one at the moment of the change tries again, as soon as the process has the newest.
    """
    try:
        return connect(target, application_name="tests")
    except DatabaseRefused:
        until = time.monotonic() + LIFE_S / 2
        while postgres_password() != endpoint.newest[POSTGRES][0] and time.monotonic() < until:
            time.sleep(0.05)
        return connect(target, application_name="tests")


@dataclass(frozen=True)
class Broker:
    url: str


@pytest.fixture
def broker(tmp_path: Path) -> Generator[Broker]:
    """An emulator that takes tokens."""
    port = Ports(tmp_path / "ports.json").of("emulator")
    command = [sys.executable, "-m", "geoetl.emulator", "--port", str(port), "--accept-jwt"]
    process = start(command, log=tmp_path / "emulator.log", record=tmp_path / "emulator.pid")

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until_ready(process, answers, what="the emulator", log=tmp_path / "emulator.log", timeout_s=30)
    yield Broker(f"servicebus://DefaultAzureCredential@127.0.0.1:{port}")
    process.stop()


def test_all_services_are_reached_for_longer_than_a_token_lives(
    identity: ProcessCredential,
    endpoint: IdentityEndpoint,
    by_token: DatabaseTarget,
    tls_azurite: TlsAzurite,
    broker: Broker,
):
    access = TierAccess(account_url=tls_azurite.account_url, credential=identity, ca_file=tls_azurite.ca_file)
    store = AzureBlobStore({"bronze": access, "silver": access}, retries=0)
    store.ensure_container("silver", "tokens")
    rounds = 0
    lost: list[str] = []

    def note(*, queue: str, error: Exception, **_: object) -> None:
        lost.append(f"{queue}: {error}")

    link_lost.connect(note)
    until = time.monotonic() + 60
    with kombu.Connection(broker.url, transport_options={"credential": identity}) as messages:
        queue = messages.SimpleQueue("tokens")
        while time.monotonic() < until:
            rounds += 1
            with sign_in(by_token, endpoint) as connection:
                assert connection.execute("SELECT current_user").fetchone() == (ROLE,)
            ref = BlobRef.of("silver", "tokens", f"{rounds}.txt")
            store.upload(ref, b"x", content_type="text/plain")
            assert store.read_range(ref, offset=0, length=1) == b"x"
            queue.put({"round": rounds})
            message = queue.get(timeout=60)
            assert message.payload == {"round": rounds}
            message.ack()
            time.sleep(0.2)
        queue.close()
    store.close()
    assert rounds > 10
    assert lost == [], "a link has a new token before the old one ends"
    asked = [request["resource"] for request in endpoint.requests]
    assert len(asked) >= 3 * 5, "each of three tokens was replaced at least four times"
    assert len(asked) < rounds, "tokens are kept"
    assert {request["client_id"] for request in endpoint.requests} == {"33333333-user-assigned"}


def test_sessions_outlive_their_token(by_token: DatabaseTarget, endpoint: IdentityEndpoint):
    source = ConnectionSource(by_token, application_name="tests")
    source()
    endpoint.is_down = True
    time.sleep(LIFE_S + 1)
    assert source().execute("SELECT 1").fetchone() == (1,)
    source.close()


def test_an_endpoint_that_is_down_for_a_while_is_noticed_by_nobody(
    by_token: DatabaseTarget, endpoint: IdentityEndpoint
):
    sign_in(by_token, endpoint).close()
    endpoint.is_down = True
    time.sleep(LIFE_S / 2)
    sign_in(by_token, endpoint).close()
    endpoint.is_down = False
    until = time.monotonic() + LIFE_S
    while len(endpoint.requests) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    assert len(endpoint.requests) == 2, "the background refresh has caught up, though nobody asked"
    sign_in(by_token, endpoint).close()


def test_an_endpoint_that_is_down_for_too_long_is_a_transient_error(
    by_token: DatabaseTarget, endpoint: IdentityEndpoint
):
    endpoint.is_down = True
    with pytest.raises(IdentityUnavailable, match="AZURE_CLIENT_ID"):
        postgres_password()
    with pytest.raises(DatabaseUnavailable, match="No token") as refused:
        connect(by_token, application_name="tests")
    assert refused.value.code == "identity-unavailable"


def test_a_token_for_another_audience_is_refused_by_the_store(
    endpoint: IdentityEndpoint,
    identity: ProcessCredential,
    tls_azurite: TlsAzurite,
):
    endpoint.audience = "https://somewhere.example"
    access = TierAccess(account_url=tls_azurite.account_url, credential=identity, ca_file=tls_azurite.ca_file)
    store = AzureBlobStore({"silver": access}, retries=0)
    with pytest.raises(SystemFault) as refused:
        store.properties(BlobRef("silver://tokens/a"))
    store.close()
    assert refused.value.code == "storage-denied"


def test_a_password_that_is_no_token_is_refused_by_postgres(by_token: DatabaseTarget, endpoint: IdentityEndpoint):
    connect(by_token, application_name="tests").close()
    endpoint.on_issue(POSTGRES, "something else")
    with pytest.raises(DatabaseRefused, match="password authentication failed"):
        connect(by_token, application_name="tests")


def test_a_forked_child_has_tokens_of_its_own(identity: ProcessCredential, endpoint: IdentityEndpoint):
    assert token_life_s(identity, POSTGRES_SCOPE) > LIFE_S / 2
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        alive = [token_life_s(identity, POSTGRES_SCOPE) > 1]
        time.sleep(LIFE_S)
        alive.append(token_life_s(identity, POSTGRES_SCOPE) > 1)
        os.write(write, repr(alive).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"[True, True]"
    os.close(read)
    os.close(write)
    # One of the parent and at least two of the child, one of them fetched by its own background thread.
    assert len(endpoint.requests) >= 3
