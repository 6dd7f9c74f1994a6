"""Captured messages are committed with the caller's transaction and published once, whatever dies."""

import threading
import time
from uuid import uuid4

import psycopg
import pytest
from kombu.exceptions import OperationalError

from geoetl.backend.app import OutboxCelery
from geoetl.backend.messages import SEND_HEADER, Captured, Message, capture
from geoetl.backend.relay import CHANNEL, SQL, Relay, enqueue, has_rung, notify
from geoetl.transport.errors import InvalidBrokerUrlError
from tests.integration.backend.sending import commit, eventually, queued, running


def test_a_captured_message_reaches_the_broker_only_through_the_relay(app):
    commit(app, app.signature("add", (2, 3)))
    assert queued(app) == []

    assert Relay(app, sources={}).drain() == 1

    ((task_id, args, headers),) = queued(app)
    assert (args, headers["task"], headers["id"]) == ([2, 3], "add", task_id)


def test_a_rolled_back_transaction_publishes_nothing(app):
    conn = app.connections()
    with conn.transaction(force_rollback=True), capture() as captured:
        app.signature("add", (2, 3)).apply_async()
        enqueue(conn, captured)

    assert Relay(app, sources={}).drain() == 0


def test_a_captured_message_is_what_a_direct_publish_sends(app):
    task_id = str(uuid4())
    app.signature("add", (2, 3)).apply_async(task_id=task_id, priority=3, headers={"mine": 1})
    ((_, direct_args, direct),) = queued(app)
    commit(app, app.signature("add", (2, 3), options={"task_id": task_id, "priority": 3, "headers": {"mine": 1}}))
    Relay(app, sources={}).drain()
    ((_, args, headers),) = queued(app)

    assert args == direct_args
    assert headers.pop(SEND_HEADER) != direct.pop(SEND_HEADER)
    assert headers == direct


def test_relays_that_drain_at_once_publish_each_message_once(app):
    commit(app, *(app.signature("add", (n, n)) for n in range(300)))
    relays = [Relay(app, sources={}, limit=20) for _ in range(4)]
    threads = [threading.Thread(target=relay.drain) for relay in relays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(args[0] for _, args, _ in queued(app)) == list(range(300))


def test_a_message_that_cannot_be_published_is_parked_and_blocks_nobody(app):
    bad = Message(
        headers={"id": "x", "task": "add"},
        properties={"compression": "no-such-codec"},
        body=b"[]",
        content_type="application/json",
        content_encoding="utf-8",
        exchange="",
        routing_key="q",
        queue=None,
    )
    conn = app.connections()
    enqueue(conn, Captured([bad]))
    commit(app, app.signature("add", (1, 1)))

    Relay(app, sources={}).drain()

    assert [args for _, args, _ in queued(app)] == [[1, 1]]
    (problem,) = conn.execute("SELECT problem FROM geoetl.outbox WHERE parked_at IS NOT NULL").fetchone()
    assert "no-such-codec" in problem
    assert Relay(app, sources={}).drain() == 0


def test_a_countdown_waits_in_the_outbox(app):
    commit(app, app.signature("add", (1, 1), options={"countdown": 60}))

    assert Relay(app, sources={}).drain() == 0


def test_a_batch_is_no_larger_than_its_limit_whatever_the_server_believes(app):
    conn = app.connections()
    many = "INSERT INTO geoetl.outbox (source, ref) SELECT 'task', gen_random_uuid() FROM generate_series(1, %s)"
    conn.execute(many, (3000,))
    conn.execute("DELETE FROM geoetl.outbox")
    conn.execute("ANALYZE geoetl.outbox")  # as autovacuum does in a quiet moment: it is empty
    conn.execute(many, (1000,))

    assert len(conn.execute(SQL["take_due"], {"limit": 200}).fetchall()) == 200


def test_a_running_relay_is_woken_by_the_commit(app):
    relay = Relay(app, sources={})
    relay.idle_s = 30.0
    with running(relay) as stop:
        eventually(relay.is_leading.is_set)
        time.sleep(0.2)
        committed_at = time.monotonic()
        commit(app, app.signature("add", (1, 1)))
        eventually(lambda: queued(app))
        assert time.monotonic() - committed_at < relay.idle_s / 2
        # Stopping waits for the relay's patience to end, which the next commit does.
        stop.set()
        commit(app, app.signature("add", (2, 2)))


def test_one_relay_leads_and_the_other_takes_over(make_app):
    first, second = Relay(make_app(), sources={}), Relay(make_app(), sources={})
    with running(first) as stop_first:
        eventually(first.is_leading.is_set)
        with running(second):
            time.sleep(0.3)
            assert not second.is_leading.is_set()
            stop_first.set()
            eventually(second.is_leading.is_set, within_s=5.0)


def test_a_leader_that_is_frozen_is_deposed(app, connections):
    frozen = psycopg.connect(connections.target.conninfo(application_name="frozen"), autocommit=True)
    frozen.execute(SQL["try_lead"])
    relay = Relay(app, sources={})
    relay.standby_s, relay.silent_s = 0.1, 0.5
    with running(relay):
        assert not relay.is_leading.wait(0.3)

        eventually(relay.is_leading.is_set)

    with pytest.raises(psycopg.OperationalError, match="terminating connection"):
        frozen.execute("SELECT 1")
    frozen.close()


def test_a_relay_goes_on_after_its_session_was_ended(app, connections):
    relay = Relay(app, sources={})
    with running(relay):
        eventually(relay.is_leading.is_set)
        with psycopg.connect(connections.target.conninfo(application_name="killer"), autocommit=True) as killer:
            killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'backend-test' AND datname = current_database()"
            )
        eventually(relay.is_leading.is_set)
        commit(app, app.signature("add", (1, 1)))
        eventually(lambda: queued(app))


def test_a_plain_result_is_stored_and_read(app):
    task_id = str(uuid4())
    app.backend.store_result(task_id, {"answer": 42}, "SUCCESS")

    result = app.AsyncResult(task_id)

    assert (result.state, result.result) == ("SUCCESS", {"answer": 42})
    result.forget()
    assert app.AsyncResult(task_id).state == "PENDING"


def test_a_late_result_does_not_replace_a_final_one(app):
    task_id = str(uuid4())
    app.backend.store_result(task_id, 1, "SUCCESS")
    app.backend.store_result(task_id, 2, "STARTED")

    assert app.AsyncResult(task_id).result == 1


class Interrupted(Exception):
    """Something nobody expected."""


class FailingSource:
    """A source that fails once, as only a defect would."""

    def __init__(self) -> None:
        self.failures = 1

    def messages(self, conn, refs):
        if self.failures:
            self.failures -= 1
            raise Interrupted
        return {}

    def published(self, conn, refs) -> None:
        pass

    def unpublishable(self, conn, ref, problem) -> None:
        raise AssertionError("nothing is unpublishable here")


def test_a_broker_that_is_away_parks_nothing(app, monkeypatch):
    commit(app, app.signature("add", (1, 1)))
    with monkeypatch.context() as away:

        def publish(*_args, **_kwargs):
            raise OperationalError("cannot reach the broker")

        away.setattr("geoetl.backend.dispatch.Outlet.publish", publish)
        with pytest.raises(OperationalError):
            Relay(app, sources={}).drain()

    assert Relay(app, sources={}).drain() == 1
    assert [args for _, args, _ in queued(app)] == [[1, 1]]


def test_a_wrong_broker_url_parks_nothing(app):
    commit(app, app.signature("add", (1, 1)))
    mistaken = OutboxCelery("mistaken", broker="servicebus://nobody", connections=app.connections, set_as_current=False)

    with pytest.raises(InvalidBrokerUrlError):
        Relay(mistaken, sources={}).drain()

    assert Relay(app, sources={}).drain() == 1
    assert [args for _, args, _ in queued(app)] == [[1, 1]]


def test_a_running_relay_survives_what_nobody_expected(app):
    app.connections().execute("INSERT INTO geoetl.outbox (source, ref) VALUES ('odd', gen_random_uuid())")
    source = FailingSource()
    relay = Relay(app, sources={"odd": source})
    relay.idle_s = 0.1
    with running(relay):
        eventually(lambda: source.failures == 0)
        commit(app, app.signature("add", (1, 1)))
        eventually(lambda: queued(app))


def test_a_bell_that_came_with_the_answer_to_a_query_is_heard(app):
    with app.connections() as listener, psycopg.connect(listener.info.dsn, autocommit=True) as other:
        listener.execute(f"LISTEN {CHANNEL}")
        listener.pgconn.send_query(b"SELECT 1")
        time.sleep(0.1)  # the answer has arrived, nobody has read it
        notify(other)
        time.sleep(0.1)
        while listener.pgconn.get_result() is not None:
            pass

        assert has_rung(listener, within_s=0.2)
        assert not has_rung(listener, within_s=0.01)
