"""The doctor on a healthy installation, and on broken ones: it names the component and the cause."""

import re
from collections.abc import Generator

import pytest

from geoetl.config import DatabaseTarget
from geoetl.config.settings import load_settings
from geoetl.db.connections import connect
from geoetl.health.diagnosis import Diagnosis, diagnose
from geoetl.health.installation import installation_checks
from geoetl.worker.app import create_app
from tests.acceptance.conftest import Installation, document


def answers(installation: Installation, **changes: str) -> dict[str, Diagnosis]:
    settings = load_settings({**installation.environ, **changes}, cwd=installation.home)
    services = create_app(settings).services
    try:
        return {each.component: each for each in diagnose(installation_checks(services), limit_s=60)}
    finally:
        services.close()


def wrong(found: dict[str, Diagnosis]) -> dict[str, str]:
    assert all(each.hint for each in found.values() if each.cause)
    return {name: each.cause for name, each in found.items() if each.state == "unhealthy"}


@pytest.fixture
def storage(installation: Installation) -> str:
    connection = installation.services.settings.storage.silver.connection_string
    assert connection is not None
    return connection.get_secret_value()


@pytest.fixture
def broker(installation: Installation) -> str:
    connection = installation.services.settings.broker.connection_string
    assert connection is not None
    return connection.get_secret_value()


@pytest.fixture
def admin(installation: Installation) -> DatabaseTarget:
    admin = installation.services.settings.database.admin
    assert admin is not None
    return admin


@pytest.fixture
def empty_database(admin: DatabaseTarget) -> Generator[str]:
    with connect(admin, application_name="tests") as connection:
        connection.execute("CREATE DATABASE empty OWNER geoetl_app")
        yield "empty"
        connection.execute("DROP DATABASE empty WITH (FORCE)")


def test_a_working_installation_is_healthy_and_nothing_is_left_behind(installation: Installation):
    done = installation.run_here("doctor", "--json")
    found = document(done)
    assert [each for each in found if each["state"] == "unhealthy"] == []
    assert done.returncode == 0
    assert {each["component"] for each in found} >= {
        "database app", "database business", "schema app", "schema business", "catalogue", "storage bronze",
        "invariants", "storage silver", "broker", "queue standard", "queue gdal", "gdal", "scratch", "memory",
        "clock of database app",
        "clock of storage silver",
    }  # fmt: skip
    left = [ref for tier in ("bronze", "silver") for ref in installation.services.store.list(tier, tier, "geoetl-")]
    assert left == []
    with installation.services.app.connection_for_write() as connection:
        admin = connection.default_channel.namespace.clients.admin()
        assert [queue.name for queue in admin.list_queues() if "doctor" in queue.name] == []
        admin.close()
    assert "healthy" in installation.run_here("doctor").stdout


def test_a_wrong_storage_key_is_named(installation: Installation, storage: str):
    key = re.sub(r"AccountKey=[^;]+", "AccountKey=d3Jvbmcga2V5", storage)
    found = answers(installation, GEOETL_STORAGE__SILVER__CONNECTION_STRING=key)
    assert wrong(found) == {"storage silver": "storage-denied"}
    assert "d3Jvbmcga2V5" not in str(found)


def test_a_missing_container_is_named(installation: Installation):
    found = answers(installation, GEOETL_STORAGE__BRONZE__CONTAINER="no-such-container")
    assert wrong(found) == {"storage bronze": "container-missing"}


def test_a_wrong_key_of_the_namespace_is_named(installation: Installation, broker: str):
    key = re.sub(r"SharedAccessKey=[^;]+", "SharedAccessKey=wrong-key", broker)
    found = answers(installation, GEOETL_BROKER__CONNECTION_STRING=key)
    assert wrong(found) == {"broker": "broker-denied"}
    assert "wrong-key" not in str(found)


def test_a_namespace_that_is_away_is_named(installation: Installation, broker: str):
    away = re.sub(r"(Endpoint=sb://[^:;]+):\d+", r"\1:9", broker)
    assert wrong(answers(installation, GEOETL_BROKER__CONNECTION_STRING=away)) == {"broker": "broker-unavailable"}


def test_a_database_server_that_is_away_is_named(installation: Installation):
    found = answers(installation, GEOETL_DATABASE__APP__HOST="/nowhere")
    assert wrong(found) == {"database app": "database-unavailable", "schema app": "schema-unreadable"}


def test_a_role_that_does_not_exist_is_named(installation: Installation):
    found = answers(installation, GEOETL_DATABASE__BUSINESS__USER="nobody")
    assert wrong(found) == {
        "database business": "database-refused",
        "schema business": "schema-unreadable",
        "catalogue": "database-refused",
    }


def test_an_app_database_without_tables_is_named(installation: Installation, empty_database: str):
    found = answers(installation, GEOETL_DATABASE__APP__DBNAME=empty_database)
    assert wrong(found)["schema app"] == "schema-missing"
    assert "geoetl db migrate" in found["schema app"].hint


def test_a_queue_that_locks_too_briefly_and_dead_letters_are_named(installation: Installation):
    with installation.services.app.connection_for_write() as connection:
        namespace = connection.default_channel.namespace
        with namespace.clients.admin() as admin:
            admin.create_queue("brief", lock_duration="PT5S")
        try:
            found = answers(installation, GEOETL_BROKER__GDAL__NAME="brief")
            assert (found["queue brief"].state, found["queue brief"].cause) == ("degraded", "queue-misconfigured")
            assert "5 s instead of 300 s" in found["queue brief"].detail
        finally:
            with namespace.clients.admin() as admin:
                admin.delete_queue("brief")


def test_a_queue_that_takes_no_messages_is_named(installation: Installation):
    with installation.services.app.connection_for_write() as connection:
        namespace = connection.default_channel.namespace
        with namespace.clients.admin() as admin:
            made = admin.create_queue("closed", lock_duration="PT5M")
            made.status = "SendDisabled"
            admin.update_queue(made)
        try:
            found = answers(installation, GEOETL_BROKER__GDAL__NAME="closed")
            assert wrong(found) == {"queue closed": "queue-disabled"}
            assert "SendDisabled" in found["queue closed"].detail
        finally:
            with namespace.clients.admin() as admin:
                admin.delete_queue("closed")


def test_a_worker_of_too_little_memory_is_told(installation: Installation):
    found = answers(installation, GEOETL_WORKER__MEMORY_LIMIT_BYTES=str(2**30), GEOETL_WORKER__CONCURRENCY="4")

    assert (found["memory"].state, found["memory"].cause) == ("degraded", "memory-small")
    assert found["memory"].detail.startswith("0.8 GiB for tasks, of the ")


def test_a_missing_queue_and_a_missing_scratch_folder_are_named(installation: Installation):
    found = answers(
        installation, GEOETL_BROKER__GDAL__NAME="not-made-yet", GEOETL_RASTER__SCRATCH_DIR="/no/such/folder"
    )
    assert found["queue not-made-yet"].cause == "queue-missing"
    assert wrong(found) == {"scratch": "scratch-missing"}


def test_no_identity_where_one_is_needed_is_named(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    found = answers(installation, GEOETL_DATABASE__APP__AUTH="identity")
    assert wrong(found) == {
        "database app": "identity-unavailable",
        "schema app": "schema-unreadable",
        "identity": "identity-unavailable",
    }
