"""The whole stack on this machine: PostgreSQL, Azurite, the emulator."""

import os
import signal
import socket
import urllib.request
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from geoetl.config import Settings, load_settings
from geoetl.db.catalogue import Catalogue
from geoetl.db.connections import ConnectionSource, connect
from geoetl.local.ports import PortTaken
from geoetl.local.processes import Process
from geoetl.local.stack import Stack
from geoetl.models.catalogue import CollectionDefinition
from tests.stack import require

SERVICES = ["postgres", "azurite", "emulator"]


@pytest.fixture
def stack(tmp_path: Path) -> Generator[Stack]:
    stack = Stack(tmp_path / "home")
    try:
        require(stack.up)
        yield stack
    finally:
        stack.reset()


def states(stack: Stack) -> dict[str, str]:
    return {component.name: component.health.state for component in stack.status()}


def processes(stack: Stack) -> dict[str, Process]:
    found = {name: Process.read(stack.home / "run" / f"{name}.json") for name in SERVICES}
    return {name: process for name, process in found.items() if process is not None}


def settings_of(stack: Stack) -> Settings:
    """What any command sees that is told of nothing but the home."""
    return load_settings({"GEOETL_HOME": str(stack.home)}, stack.home)


def put_blob(settings: Settings, name: str) -> None:
    assert settings.storage.bronze.connection_string is not None
    access = settings.storage.bronze.connection_string.get_secret_value()
    with BlobServiceClient.from_connection_string(access) as service:
        service.get_blob_client("bronze", name).upload_blob(b"kept")


def read_blob(settings: Settings, name: str) -> bytes:
    assert settings.storage.silver.connection_string is not None
    access = settings.storage.silver.connection_string.get_secret_value()
    with BlobServiceClient.from_connection_string(access) as service:
        return service.get_blob_client("bronze", name).download_blob().readall()


def test_every_service_works_and_its_settings_are_found(stack: Stack):
    assert [states(stack)[name] for name in SERVICES] == ["healthy"] * 3
    settings = settings_of(stack)
    with connect(settings.database.app, application_name="tests") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("geoetl_app",)
    business = ConnectionSource(settings.database.business, application_name="tests")
    Catalogue(business).create_collection(CollectionDefinition(id="scenes", description="For tests."))
    business.close()
    put_blob(settings, "a")
    assert settings.broker.connection_string is not None


def test_up_again_leaves_what_runs_alone(stack: Stack):
    before = processes(stack)
    stack.up()
    assert processes(stack) == before


def test_two_ups_at_the_same_time_make_one_stack(tmp_path: Path):
    home = tmp_path / "home"
    said: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(Stack(home).up, said.append) for _ in range(2)]
    stack = Stack(home)
    try:
        for future in futures:
            require(future.result)
        assert "waiting for another command on this stack" in said
        assert [states(stack)[name] for name in SERVICES] == ["healthy"] * 3
    finally:
        stack.reset()


def test_down_leaves_no_process_and_up_brings_the_data_back(stack: Stack):
    put_blob(settings_of(stack), "a")
    with connect(settings_of(stack).database.app, application_name="tests") as connection:
        connection.execute("CREATE TABLE kept ()")
    before, ports = processes(stack), (stack.home / "ports.json").read_text()
    stack.down()
    assert not [name for name, process in before.items() if process.is_running]
    assert set(states(stack).values()) == {"stopped"}
    stack.up()
    assert (stack.home / "ports.json").read_text() == ports
    assert read_blob(settings_of(stack), "a") == b"kept"
    with connect(settings_of(stack).database.app, application_name="tests") as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == ("kept",)


def test_a_killed_service_is_seen_and_started_again(stack: Stack):
    before = processes(stack)
    os.kill(before["azurite"].pid, signal.SIGKILL)
    assert before["azurite"].wait(timeout_s=10)
    assert states(stack)["azurite"] == "stopped"
    stack.up()
    after = processes(stack)
    assert states(stack)["azurite"] == "healthy"
    assert (after["postgres"], after["emulator"]) == (before["postgres"], before["emulator"])


def test_a_frozen_service_is_unhealthy(stack: Stack):
    pid = processes(stack)["azurite"].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        assert states(stack)["azurite"] == "unhealthy"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_port_that_another_program_took_meanwhile_is_named(stack: Stack):
    port = int(states_detail(stack, "azurite").rpartition(":")[2].partition("/")[0])
    stack.down()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortTaken, match=f"Port {port} of azurite"):
        stack.up()
    stack.up()
    assert states(stack)["azurite"] == "healthy"


def test_flower_comes_when_asked_for_at_an_address_that_stays(stack: Stack):
    assert states(stack)["flower"] == "stopped"
    stack.up(flower=True)
    url = states_detail(stack, "flower")
    with urllib.request.urlopen(f"{url}/broker", timeout=60) as answer:
        assert b"servicebus://" in answer.read()
    stack.down()
    assert set(states(stack).values()) == {"stopped"}
    stack.up(flower=True)
    assert states_detail(stack, "flower") == url


def test_reset_leaves_nothing_but_the_lock(stack: Stack):
    stack.reset()
    assert [path.name for path in stack.home.iterdir()] == ["lock"]
    assert set(states(stack).values()) == {"stopped"}


def test_down_and_status_of_a_stack_that_never_was_make_no_folder(tmp_path: Path):
    stack = Stack(tmp_path / "never")
    stack.down()
    assert set(states(stack).values()) == {"stopped"}
    assert not stack.home.exists()


def states_detail(stack: Stack, name: str) -> str:
    return next(component.health.detail for component in stack.status() if component.name == name)
