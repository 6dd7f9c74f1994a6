"""Names of subscriptions, remote control's expiry header, and publishing in the background."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.servicebus.exceptions import ServiceBusConnectionError

from geoetl.transport import broadcast
from geoetl.transport import publisher as publishing
from geoetl.transport.exchanges import MAX_SUBSCRIPTION_NAME, subscription_name
from geoetl.transport.messages import to_service_bus
from geoetl.transport.publisher import Publisher


def test_names_of_subscriptions_are_legal_and_differ():
    queues = ["a@b.celery.pidbox", "a_b.celery.pidbox", "x" * 200, "x" * 201, "é", "celeryev.1"]
    names = [subscription_name(queue) for queue in queues]
    assert len(set(names)) == len(names)
    assert all(len(name) <= MAX_SUBSCRIPTION_NAME for name in names)
    assert names[0].startswith("a_b.celery.pidbox-")


def test_seconds_in_an_expires_header_become_a_time_to_live():
    now = datetime(2030, 1, 1, tzinfo=UTC)

    def time_to_live(expires: float) -> timedelta | None:
        payload = {"body": "", "headers": {"expires": expires}, "properties": {"delivery_tag": "t"}}
        return to_service_bus(payload, now=now, expires_grace_s=0).time_to_live

    assert time_to_live(now.timestamp() + 5) == timedelta(seconds=5)
    assert time_to_live(0) is None


class Service:
    """Takes messages when it is open, and says what it took."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.taken: list[tuple[str, list[str]]] = []
        self.failures: list[Exception] = []

    def send(self, topic: str, messages: list[str]) -> None:
        self.is_open.wait(5)
        if self.failures:
            raise self.failures.pop()
        self.taken.append((topic, messages))


def test_what_is_submitted_while_the_service_is_slow_is_sent_in_batches_and_in_order():
    service = Service()
    publisher = Publisher(service.send)
    for topic, number in [("a", 0), ("a", 1), ("b", 2), ("a", 3)]:
        publisher.submit(topic, str(number))
    assert not publisher.flush(timeout_s=0.01)
    service.is_open.set()
    assert publisher.flush()
    assert [number for _, numbers in service.taken for number in numbers] == ["0", "1", "2", "3"]
    publisher.stop()


def test_messages_survive_a_broken_connection(monkeypatch):
    monkeypatch.setattr(publishing, "RETRY_PAUSE_S", 0.0)
    service = Service()
    service.is_open.set()
    service.failures = [ServiceBusConnectionError(message="away")]
    publisher = Publisher(service.send)
    publisher.submit("a", "x")
    assert publisher.flush()
    assert service.taken == [("a", ["x"])]
    publisher.stop()


def test_the_oldest_are_dropped_when_too_many_wait_and_it_is_said(monkeypatch, caplog):
    monkeypatch.setattr(publishing, "MAX_WAITING", 3)
    service = Service()
    publisher = Publisher(service.send)
    publisher.submit("a", "first")
    while publisher._waiting:  # the thread has it
        pass
    for number in range(5):
        publisher.submit("a", str(number))
    service.is_open.set()
    assert publisher.flush()
    assert [number for _, numbers in service.taken for number in numbers] == ["first", "2", "3", "4"]
    assert "lost 2 events or replies" in caplog.text
    publisher.stop()


def test_a_refused_message_is_dropped_and_the_next_is_sent(caplog):
    service = Service()
    service.is_open.set()
    service.failures = [ValueError("too large")]
    publisher = Publisher(service.send)
    publisher.submit("a", "bad")
    assert publisher.flush()
    publisher.submit("a", "good")
    assert publisher.flush()
    assert service.taken == [("a", ["good"])]
    assert "too large" in caplog.text
    publisher.stop()


def events(*names: str, key: str = "task.multi", host: str = "a@b") -> dict[str, Any]:
    body = json.dumps([{"type": name} for name in names])
    return {
        "body": body, "content-type": "application/json", "headers": {"hostname": host},
        "properties": {"delivery_tag": names[0], "delivery_info": {"routing_key": key}},
    }  # fmt: skip


def names_in(payload: dict[str, Any]) -> list[str]:
    return [event["type"] for event in json.loads(payload["body"])]


def test_neighbouring_lists_of_events_become_one_message():
    result = broadcast.merged([events("1"), events("2", "3"), events("4", host="c@d"), events("5", key="task.sent")])
    assert [names_in(payload) for payload in result] == [["1", "2", "3"], ["4"], ["5"]]


def test_a_merged_message_stays_below_its_limit(monkeypatch):
    monkeypatch.setattr(broadcast, "MAX_LIST_CHARS", len(events("1")["body"]) * 2)
    result = broadcast.merged([events("1"), events("2"), events("3")])
    assert [names_in(payload) for payload in result] == [["1", "2"], ["3"]]


def test_a_list_that_is_too_long_is_cut_into_messages_of_their_own(monkeypatch):
    monkeypatch.setattr(broadcast, "MAX_LIST_CHARS", len(events("1", "2")["body"]))
    result = broadcast.merged([events("1", "2", "3", "4", "5")])
    assert [names_in(payload) for payload in result] == [["1", "2"], ["3", "4"], ["5"]]
    assert len({payload["properties"]["delivery_tag"] for payload in result}) == 3


def test_a_routing_key_is_the_subject_of_a_message():
    assert broadcast.to_topic_message(events("1")).subject == "task.multi"
