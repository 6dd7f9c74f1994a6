"""Who runs what the reactor calls, and when it wakes."""

import threading

import pytest

from geoetl.transport.reactor import Reactor


@pytest.fixture
def reactor():
    reactor = Reactor()
    reactor.start()
    yield reactor
    reactor.stop(timeout_s=5)


def test_call_runs_on_the_reactors_thread(reactor):
    ran_on: list[threading.Thread] = []
    assert reactor.call_and_wait(lambda: ran_on.append(threading.current_thread()), timeout_s=5)
    assert ran_on[0] is not threading.current_thread()


def test_call_now_waits_its_turn_behind_what_runs(reactor):
    began, may_end, order = threading.Event(), threading.Event(), list[str]()

    def long() -> None:
        began.set()
        may_end.wait(5)
        order.append("long")

    reactor.call(long)
    began.wait(5)
    reactor.call_now(order.append, "now")
    assert order == []
    may_end.set()
    assert reactor.call_and_wait(lambda: None, timeout_s=5)
    assert order == ["long", "now"]


def test_timer_set_from_outside_wakes_a_sleeping_reactor(reactor):
    fired = threading.Event()
    reactor.call_and_wait(reactor.call_later, 60, lambda: None, timeout_s=5)
    reactor.call_now(reactor.call_later, 0.01, fired.set)
    assert fired.wait(5)


def test_only_one_thread_at_a_time_runs_calls(reactor):
    inside, most = [0], [0]

    def step() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        inside[0] -= 1

    def many() -> None:
        for _ in range(2000):
            reactor.call_now(step)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reactor.call_and_wait(lambda: None, timeout_s=5)
    assert (inside[0], most[0]) == (0, 1)


def test_error_in_a_call_does_not_end_the_reactor(reactor, caplog):
    reactor.call_now(lambda: 1 / 0)
    assert reactor.call_and_wait(lambda: None, timeout_s=5)
    assert "error in the Service Bus reactor" in caplog.text
