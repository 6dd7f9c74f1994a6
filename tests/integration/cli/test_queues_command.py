"""`geoetl queues` against the emulator."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusReceiver
from typer.testing import CliRunner, Result

from geoetl.cli import queues
from geoetl.emulator import EmulatorServer, RunningServer
from geoetl.errors import InvalidInput, NotFound, SystemFault, TransientError


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with EmulatorServer.in_thread() as server:
        yield server


@pytest.fixture
def run(server: RunningServer, tmp_path, monkeypatch) -> Callable[..., Result]:
    """Run `geoetl queues ...` on a namespace whose declared queues are `standard` and `gdal`."""
    monkeypatch.chdir(tmp_path)
    variables = {
        "GEOETL_BROKER__CONNECTION_STRING": server.connection_string,
        "GEOETL_BROKER__STANDARD__LOCK_DURATION_S": "30",
        "GEOETL_STORAGE__BRONZE__CONNECTION_STRING": "AccountName=none;AccountKey=none",
        "GEOETL_STORAGE__SILVER__CONNECTION_STRING": "AccountName=none;AccountKey=none",
        **{
            f"GEOETL_DATABASE__{database}__{name}": value
            for database in ("APP", "BUSINESS")
            for name, value in (("HOST", "localhost"), ("DBNAME", database.lower()), ("USER", "nobody"))
        },
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def invoke(*words: str) -> Result:
        result = CliRunner().invoke(queues.app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def client(server: RunningServer) -> Iterator[ServiceBusClient]:
    with ServiceBusClient.from_connection_string(server.connection_string) as client:
        yield client


def document(result: Result) -> Any:
    return json.loads(result.stdout)


def send(client: ServiceBusClient, *ids: str, **kwargs: Any) -> None:
    with client.get_queue_sender("standard", keep_alive=0) as sender:
        for each in ids:
            properties = {"task": "work", "id": each, "kombu": "{}"}
            message = ServiceBusMessage(each, subject="work", message_id=uuid.uuid4().hex,
                                        application_properties=properties, **kwargs)  # fmt: skip
            sender.send_messages(message)


def take(receiver: ServiceBusReceiver, count: int) -> list[Any]:
    taken: list[Any] = []
    while len(taken) < count and (messages := receiver.receive_messages(count, max_wait_time=60)):
        taken += messages
    assert len(taken) == count
    return taken


def dead_letter(client: ServiceBusClient, *ids: str) -> None:
    send(client, *ids)
    with client.get_queue_receiver("standard", keep_alive=0) as receiver:
        for message in take(receiver, len(ids)):
            receiver.dead_letter_message(message, reason="TooHard", error_description="nobody could do it")


def test_provision_creates_what_is_missing_and_says_so(run):
    assert document(run("provision", "--json")) == {"created": ["standard", "gdal"], "changed": [], "differences": []}
    assert document(run("provision", "--json"))["created"] == []


def test_check_passes_after_provision(run):
    run("provision")

    result = run("check", "--json")

    assert (result.exit_code, document(result)) == (0, {"differences": []})


def test_check_names_missing_queues_and_fails(run):
    result = run("check", "--json")

    assert result.exit_code == 1
    assert [(each["queue"], each["live"]) for each in document(result)["differences"]] == [
        ("standard", "missing"), ("gdal", "missing"),
    ]  # fmt: skip


def test_check_shows_declared_and_live_settings(run, server):
    run("provision")
    properties = {"LockDuration": "PT45S", "MaxDeliveryCount": "7", "DefaultMessageTimeToLive": "PT1H"}
    server.call(lambda it: it.namespace.delete("standard"))
    server.call(lambda it: it.namespace.create("standard", properties))

    differences = document(run("check", "--json"))["differences"]

    assert [(each["setting"], each["declared"], each["live"]) for each in differences] == [
        ("lock_duration_s", "30", "45"),
        ("max_delivery_count", "10", "7"),
        ("dead_letter_on_expiry", "true", "false"),
        ("time_to_live_s", "never", "3600"),
    ]


def test_provision_changes_existing_queues_only_when_told(run, server):
    server.call(lambda it: it.namespace.create("standard", {"LockDuration": "PT45S"}))

    assert document(run("provision", "--json"))["differences"]
    assert document(run("provision", "--update", "--json"))["changed"] == ["standard"]
    assert run("check").exit_code == 0


def test_list_counts_messages_of_every_queue(run, client, server):
    run("provision")
    dead_letter(client, "a")
    send(client, "b", "c")
    server.call(lambda it: it.namespace.create("other", {}))

    states = {each["name"]: each for each in document(run("list", "--json"))}

    assert states["standard"] == {
        "name": "standard", "active": 2, "scheduled": 0, "dead_lettered": 1, "status": "active", "declared": True,
        "size_bytes": states["standard"]["size_bytes"],
    }  # fmt: skip
    assert states["other"]["declared"] is False


def test_peek_shows_tasks_and_takes_none(run, client):
    run("provision")
    send(client, "a", "b", "c")

    for _ in range(2):
        messages = document(run("peek", "standard", "--limit", "2", "--json"))
        assert [(each["task"], each["id"], each["delivery_count"]) for each in messages] == [
            ("work", "a", 0), ("work", "b", 0),
        ]  # fmt: skip
    assert document(run("list", "--json"))[1]["active"] == 3


def test_dead_letters_tell_why(run, client):
    run("provision")
    dead_letter(client, "a")

    (message,) = document(run("dead-letters", "standard", "--json"))

    assert (message["id"], message["reason"], message["description"]) == ("a", "TooHard", "nobody could do it")
    assert "TooHard" in run("dead-letters", "standard").stdout


def test_requeued_message_is_the_same_task_without_its_past(run, client):
    run("provision")
    dead_letter(client, "a", "b")

    assert document(run("requeue", "standard", "--all", "--json")) == {"sent": 2, "left": 0}

    with client.get_queue_receiver("standard", keep_alive=0) as receiver:
        messages = take(receiver, 2)
    assert [b"".join(each.body) for each in messages] == [b"a", b"b"]
    assert messages[0].application_properties == {b"task": b"work", b"id": b"a", b"kombu": b"{}"}
    assert (messages[0].subject, messages[0].delivery_count) == ("work", 0)
    assert document(run("dead-letters", "standard", "--json")) == []


def test_requeue_takes_only_the_tasks_named(run, client):
    run("provision")
    dead_letter(client, "a", "b", "c")

    result = run("requeue", "standard", "--id", "b", "--id", "unknown", "--json")

    assert document(result) == {"sent": 1, "left": 2}
    assert "1 of the tasks asked for" in result.stderr
    assert [each["id"] for each in document(run("dead-letters", "standard", "--json"))] == ["a", "c"]


def test_requeue_stops_at_its_limit(run, client):
    run("provision")
    dead_letter(client, "a", "b", "c")

    assert document(run("requeue", "standard", "--all", "--limit", "2", "--json"))["sent"] == 2
    assert [each["id"] for each in document(run("dead-letters", "standard", "--json"))] == ["c"]


def test_requeue_without_saying_which_is_refused(run):
    with pytest.raises(InvalidInput, match="which dead letters"):
        run("requeue", "standard")


def test_missing_queue_is_named(run):
    run("provision")
    with pytest.raises(NotFound, match="no such queue"):
        run("peek", "nowhere")


def test_wrong_key_is_told_with_the_right_that_is_needed(run, server, monkeypatch):
    wrong = server.connection_string.replace("SharedAccessKey=SAS", "SharedAccessKey=XYZ")
    monkeypatch.setenv("GEOETL_BROKER__CONNECTION_STRING", wrong)

    for words in (["list"], ["peek", "standard"]):
        with pytest.raises(SystemFault, match="Manage right"):
            run(*words)


def test_namespace_that_is_away_is_temporary(run, server, monkeypatch, unused_port):
    away = server.connection_string.replace(f":{server.port};", f":{unused_port};")
    monkeypatch.setenv("GEOETL_BROKER__CONNECTION_STRING", away)

    with pytest.raises(TransientError, match="Cannot reach"):
        run("peek", "standard")


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]
