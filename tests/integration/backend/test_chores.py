"""What the leading relay does besides publishing, whatever becomes of its messages."""

import threading

from kombu.exceptions import OperationalError

from geoetl.backend.chores import Chore
from geoetl.backend.relay import Relay
from tests.integration.backend.sending import commit, eventually, queued, running


def test_the_leader_does_its_chores(app):
    done = threading.Event()

    def chore(conn) -> int:
        done.set()
        return 0

    with running(Relay(app, sources={}, chores=[Chore("test", 0.1, chore)])):
        assert done.wait(60)


def test_no_message_waits_for_a_slow_chore(app):
    began, may_end = threading.Event(), threading.Event()

    def chore(conn) -> int:
        began.set()
        may_end.wait(60)
        return conn.execute("SELECT 1").rowcount

    with running(Relay(app, sources={}, chores=[Chore("slow", 60.0, chore, is_slow=True)])):
        assert began.wait(60)
        commit(app, app.signature("add", (1, 1)))
        eventually(lambda: queued(app))
        may_end.set()


def test_a_chore_that_fails_does_not_keep_messages_from_being_sent(app):
    def chore(conn) -> int:
        return conn.execute("SELECT 1 / 0").rowcount

    commit(app, app.signature("add", (1, 1)))

    with running(Relay(app, sources={}, chores=[Chore("broken", 0.1, chore)])):
        eventually(lambda: queued(app))


def test_chores_are_done_while_the_broker_is_away(app, monkeypatch):
    """Deadlines end, and lost tasks are found, whether or not anything can be sent."""
    commit(app, app.signature("add", (1, 1)))
    done = threading.Event()

    def publish(*_args, **_kwargs):
        raise OperationalError("cannot reach the broker")

    def chore(conn) -> int:
        done.set()
        return 0

    monkeypatch.setattr("geoetl.backend.relay.Outlet.publish", publish)
    with running(Relay(app, sources={}, chores=[Chore("test", 0.1, chore)])):
        assert done.wait(10)
