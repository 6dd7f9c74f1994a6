"""When locks are renewed, and what is told of lost ones; time is moved by hand."""

import heapq
import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusConnectionError

from geoetl.transport import locks as locks_module
from geoetl.transport.credit import Budget
from geoetl.transport.delivery import Delivery, Outcome
from geoetl.transport.locks import Locks
from geoetl.transport.signals import lock_lost


class FakeReactor:
    """Runs calls at once and timers when `advance` passes them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Any] = []
        self.numbers = itertools.count()

    def call(self, function, *args):
        function(*args)

    def call_later(self, delay_s, function, *args):
        heapq.heappush(self.timers, (self.now + delay_s, next(self.numbers), function, args))

    def advance(self, seconds):
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now, _, function, args = heapq.heappop(self.timers)
            function(*args)
        self.now = end


class FakeControl:
    """Answers renewals at once: with None, or with the error set for a queue."""

    def __init__(self, reactor) -> None:
        self.reactor = reactor
        self.requests: list[tuple[float, str, int]] = []
        self.errors: dict[str, Exception] = {}
        self.is_silent = False
        self.unanswered: list[Any] = []

    def renew(self, entity, deliveries, on_done):
        self.requests.append((self.reactor.now, entity, len(deliveries)))
        if self.is_silent:
            self.unanswered.append(lambda error: on_done(deliveries, error))
        else:
            on_done(deliveries, self.errors.get(entity))

    def submit(self, job):
        job()


@dataclass(eq=False)
class FakeLink:
    entity: str = "q"
    budget: Budget = field(default_factory=Budget)


@dataclass
class FakeMessage:
    delivery_count: int = 0
    application_properties: dict[bytes, bytes] = field(default_factory=lambda: {b"id": b"task-1", b"task": b"add"})


@pytest.fixture
def reactor(monkeypatch):
    reactor = FakeReactor()
    monkeypatch.setattr(locks_module.time, "monotonic", lambda: reactor.now)
    return reactor


@pytest.fixture
def control(reactor):
    return FakeControl(reactor)


@pytest.fixture
def locks(reactor, control):
    return Locks(reactor, control)


@pytest.fixture
def hold(locks, reactor):
    def hold(entity="q", lock_s=60.0):
        delivery = Delivery(
            link=FakeLink(entity), epoch=1, message=FakeMessage(), token=entity, lock_s=lock_s,
            arrived_at=reactor.now, renewed_at=reactor.now,
        )  # fmt: skip
        locks.hold(delivery)
        return delivery

    return hold


@pytest.fixture
def told():
    told: list[dict[str, Any]] = []

    def receive(**facts):
        told.append(facts)

    lock_lost.connect(receive, weak=False)
    yield told
    lock_lost.disconnect(receive)


def longest_gap(control, entity, begin, end):
    times = [begin, *(at for at, name, _ in control.requests if name == entity), end]
    return max(later - earlier for earlier, later in itertools.pairwise(times))


def test_lock_is_renewed_at_the_latest_at_a_third_of_it(hold, reactor, control):
    begin = reactor.now
    hold(lock_s=60)
    reactor.advance(600)
    assert longest_gap(control, "q", begin, reactor.now) <= 20


def test_message_that_comes_between_two_sweeps_is_renewed_in_time(hold, reactor, control):
    hold("other", lock_s=60)
    reactor.advance(9)
    begin = reactor.now
    hold("q", lock_s=60)
    reactor.advance(100)
    assert longest_gap(control, "q", begin, reactor.now) <= 20


def test_short_lock_is_renewed_in_time_beside_a_long_one(hold, reactor, control):
    hold("long", lock_s=300)
    reactor.advance(1)
    begin = reactor.now
    hold("short", lock_s=3)
    reactor.advance(30)
    assert longest_gap(control, "short", begin, reactor.now) <= 1


def test_locks_of_one_queue_are_renewed_in_one_request(hold, reactor, control):
    for _ in range(5):
        hold()
    reactor.advance(11)
    assert [count for _, _, count in control.requests] == [5]


def test_nothing_is_renewed_and_no_timer_runs_when_nothing_is_held(hold, locks, reactor, control):
    locks.let_go(hold())
    reactor.advance(600)
    assert control.requests == []
    assert reactor.timers == []


def test_timers_do_not_pile_up(hold, locks, reactor):
    for _ in range(50):
        hold("long", lock_s=300)
        short = hold("short", lock_s=3)
        reactor.advance(5)
        locks.let_go(short)
        reactor.advance(60)
    assert len(reactor.timers) <= 2


def test_decided_message_is_not_renewed(hold, reactor, control):
    hold().outcome = Outcome.COMPLETE
    reactor.advance(100)
    assert control.requests == []


def test_message_is_not_renewed_twice_at_once(hold, reactor, control):
    control.is_silent = True
    hold()
    reactor.advance(100)
    assert len(control.requests) == 1


def test_failed_renewal_is_tried_again_soon_and_is_no_loss(hold, reactor, control, told):
    control.errors["q"] = ServiceBusConnectionError(message="away")
    hold(lock_s=300)
    reactor.advance(51)
    assert len(control.requests) == 1
    reactor.advance(4)
    assert len(control.requests) >= 2
    assert told == []


def test_lost_lock_is_told_once_and_not_renewed_again(hold, reactor, control, told, caplog):
    control.errors["q"] = MessageLockLostError()
    hold()
    reactor.advance(600)
    (fact,) = told
    assert (fact["queue"], fact["message"], fact["delivery_count"]) == ("q", {"id": "task-1", "task": "add"}, 0)
    assert "task add[task-1]" in caplog.text
    assert len(control.requests) == 1


def test_lock_lost_after_the_decision_is_for_the_settlement_to_tell(hold, reactor, control, told):
    control.is_silent = True
    delivery = hold()
    reactor.advance(11)
    delivery.outcome = Outcome.COMPLETE
    control.unanswered.pop()(MessageLockLostError())
    assert told == []


def test_lock_lost_before_anybody_saw_the_message_is_dropped_in_silence(hold, reactor, control, told):
    control.errors["q"] = MessageLockLostError()
    delivery = hold()
    delivery.link.budget.waiting.append(delivery)
    reactor.advance(20)
    assert told == []
    assert delivery.link.budget.waiting == []
