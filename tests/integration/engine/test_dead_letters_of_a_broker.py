"""Dead letters of a real broker find their way to the tasks; those of others stay where they are."""

import socket
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusReceiver, ServiceBusSubQueue

from geoetl.config.broker import BrokerSettings
from geoetl.emulator import EmulatorServer, RunningServer
from geoetl.engine import views
from geoetl.engine.dead_letters import Undertaker
from geoetl.worker.dead_letters import BrokerDeadLetters


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with EmulatorServer.in_thread() as server:
        server.call(lambda it: it.namespace.create("standard", {"MaxDeliveryCount": "2"}))
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[ServiceBusClient]:
    with ServiceBusClient.from_connection_string(server.connection_string) as client:
        yield client


@pytest.fixture
def undertaker(server: RunningServer) -> Undertaker:
    letters = BrokerDeadLetters(BrokerSettings(connection_string=server.connection_string))
    # Nobody has made the second queue.
    return Undertaker(every_s=1.0, queues=("standard", "gdal"), dead_letters=letters, ring_after_s=0.0)


def send(client: ServiceBusClient, *ids: str) -> None:
    with client.get_queue_sender("standard", keep_alive=0) as sender:
        for each in ids:
            properties = {"task": "noop.work", "id": each, "kombu": "{}"}
            sender.send_messages(
                ServiceBusMessage(b"{}", message_id=uuid.uuid4().hex, application_properties=properties)
            )


def exhaust(client: ServiceBusClient, *ids: str) -> None:
    """Take messages as often as the queue allows, and never settle them well."""
    send(client, *ids)
    with client.get_queue_receiver("standard", keep_alive=0) as receiver:
        given_back = 0
        while given_back < 2 * len(ids):
            for message in receiver.receive_messages(len(ids), max_wait_time=60):
                receiver.abandon_message(message)
                given_back += 1


def dead(client: ServiceBusClient) -> list[tuple[str, int]]:
    """Ids of dead letters and how often they were received."""
    receiver: ServiceBusReceiver
    with client.get_queue_receiver("standard", keep_alive=0, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as receiver:
        return [
            (message.application_properties[b"id"].decode(), message.delivery_count)
            for message in receiver.peek_messages(100)
        ]


def test_a_message_that_was_delivered_too_often_is_told_and_rung_again(engine, client, undertaker):
    submission = engine.start_work_stage()
    (task_id, *_) = engine.bells()
    exhaust(client, task_id)

    assert undertaker.work(engine.services.connections()) == 1

    assert dead(client) == []
    assert engine.bells() == [task_id]
    (told,) = [
        event
        for event in views.events(engine.services.connections(), submission.run_id)
        if event.what == "message dead-lettered"
    ]
    assert (told.task_id, told.data["reason"], told.data["queue"]) == (task_id, "MaxDeliveryCountExceeded", "standard")


def test_dead_letters_of_others_are_left_alone(engine, client, undertaker):
    engine.start_work_stage()
    (task_id, *_) = engine.bells()
    exhaust(client, "somebody's", task_id, str(uuid.uuid4()))
    others = [letter for letter in dead(client) if letter[0] != task_id]

    assert undertaker.work(engine.services.connections()) == 1
    assert [each for each, _ in dead(client)] == [each for each, _ in others]
    untouched = dead(client)
    assert undertaker.work(engine.services.connections()) == 0

    assert dead(client) == untouched, "what nobody knows is not even received"


def test_a_dead_letter_stays_until_the_task_knows_of_it(engine, client, undertaker):
    engine.start_work_stage()
    (task_id, *_) = engine.bells()
    exhaust(client, task_id)
    conn = engine.services.connections()
    engine.sql("ALTER TABLE geoetl.event RENAME TO gone")

    with pytest.raises(psycopg.errors.UndefinedTable):
        undertaker.work(conn)

    engine.sql("ALTER TABLE geoetl.gone RENAME TO event")
    assert [each for each, _ in dead(client)] == [task_id]
    assert engine.bells() == []


def test_a_broker_that_is_away_is_no_reason_to_fail(engine):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    away = f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=x;SharedAccessKey=eA==;UseDevelopmentEmulator=true;"
    letters = BrokerDeadLetters(BrokerSettings(connection_string=away))

    assert Undertaker(every_s=1.0, queues=("standard",), dead_letters=letters).work(engine.services.connections()) == 0
