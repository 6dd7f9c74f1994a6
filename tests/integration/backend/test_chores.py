"""What the leading relay does besides publishing, whatever becomes of its messages."""

import threading
import time

import pytest
from kombu.exceptions import OperationalError

from geoetl.backend.chores import Chore
from geoetl.backend.relay import Relay
from tests.integration.backend.sending import commit, eventually, queued, running


@pytest.fixture
def broker_is_away(monkeypatch):
    """Nothing can be published, so no relay leads for longer than a moment."""

    def publish(*_args, **_kwargs):
        raise OperationalError("cannot reach the broker")

    monkeypatch.setattr("geoetl.backend.dispatch.Outlet.publish", publish)


def test_the_leader_does_its_chores(app):
    done = threading.Event()

    def chore(conn) -> int:
        done.set()
        return 0

    with running(Relay(app, sources={}, chores=[Chore("test", 0.1, chore)])):
        assert done.wait(60)


@pytest.mark.parametrize("is_slow", [True, False])
def test_no_message_waits_for_a_chore(app, is_slow):
    began, may_end = threading.Event(), threading.Event()

    def chore(conn) -> int:
        began.set()
        may_end.wait(60)
        return conn.execute("SELECT 1").rowcount

    with running(Relay(app, sources={}, chores=[Chore("long", 60.0, chore, is_slow=is_slow)])):
        assert began.wait(60)
        commit(app, app.signature("add", (1, 1)))
        eventually(lambda: queued(app), within_s=10)
        may_end.set()


def test_no_chore_waits_for_a_slow_one(app):
    may_end, done = threading.Event(), threading.Event()

    def slow(conn) -> int:
        may_end.wait(60)
        return 0

    def quick(conn) -> int:
        done.set()
        return 0

    chores = [Chore("slow", 60.0, slow, is_slow=True), Chore("quick", 60.0, quick)]
    with running(Relay(app, sources={}, chores=chores)):
        assert done.wait(10)
        may_end.set()


def test_chores_keep_their_times_while_leaders_come_and_go(app, broker_is_away):
    commit(app, app.signature("add", (1, 1)))
    times = []

    relay = Relay(app, sources={}, chores=[Chore("rare", 60.0, lambda _: len(times.append(1) or ()))])
    relay.idle_s = 0.05
    with running(relay):
        eventually(lambda: times)
        time.sleep(0.5)  # some leaderships
    assert len(times) == 1


def test_a_chore_that_fails_does_not_keep_messages_from_being_sent(app):
    def chore(conn) -> int:
        return conn.execute("SELECT 1 / 0").rowcount

    commit(app, app.signature("add", (1, 1)))

    with running(Relay(app, sources={}, chores=[Chore("broken", 0.1, chore)])):
        eventually(lambda: queued(app))


def test_chores_are_done_while_the_broker_is_away(app, broker_is_away):
    """Deadlines end, and lost tasks are found, whether or not anything can be sent."""
    commit(app, app.signature("add", (1, 1)))
    done = threading.Event()

    def chore(conn) -> int:
        done.set()
        return 0

    with running(Relay(app, sources={}, chores=[Chore("test", 0.1, chore)])):
        assert done.wait(10)
