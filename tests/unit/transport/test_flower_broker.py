"""Queue lengths for Flower: asked for rarely, and only of what Flower asks for."""

import asyncio

import pytest
from flower.utils.broker import Broker

from geoetl.transport import flower
from geoetl.transport.flower import MAX_AGE_S, QueueLengths, ServiceBusBroker, register

URL = "servicebus://RootManageSharedAccessKey:a2V5@localhost:5672"


class Service:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False

    def __call__(self) -> dict[str, int]:
        self.asked += 1
        if self.is_away:
            raise ConnectionError("away")
        return {"standard": self.asked, "other": 0, "stage-gdal": 7}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def lengths(service, clock) -> QueueLengths:
    return QueueLengths(service, clock=clock)


def test_a_count_is_kept_for_a_while(lengths, service, clock):
    assert [lengths.read()["standard"] for _ in range(3)] == [1, 1, 1]
    clock.now += MAX_AGE_S
    assert lengths.read()["standard"] == 2
    assert service.asked == 2


def test_a_service_that_is_away_is_not_asked_more_often(lengths, service, clock):
    lengths.read()
    clock.now += MAX_AGE_S
    service.is_away = True
    with pytest.raises(ConnectionError):
        lengths.read()
    assert lengths.read() == {}
    assert service.asked == 2


def test_flower_gets_the_queues_it_asks_for_by_their_own_names(lengths, monkeypatch):
    monkeypatch.setattr(flower, "_lengths_of", lambda *_: lengths)
    broker = ServiceBusBroker(URL, http_api=None, broker_options={"queue_name_prefix": "stage-"}, broker_use_ssl=None)
    assert asyncio.run(broker.queues(["gdal", "missing"])) == [{"name": "gdal", "messages": 7}]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"connection_string": "Endpoint=sb://localhost:5672;SharedAccessKeyName=a;SharedAccessKey=b"},
        {"credential": object()},
    ],
)
def test_flower_finds_our_scheme_and_refuses_others_as_before(options, monkeypatch):
    monkeypatch.setattr(Broker, "__new__", Broker.__new__)  # put back at the end
    register()
    url = "servicebus://SomeCredential@name.servicebus.windows.net" if "credential" in options else URL
    assert isinstance(Broker(url, http_api=None, broker_options=options), ServiceBusBroker)
    with pytest.raises(NotImplementedError):
        Broker("sqs://", http_api=None)
