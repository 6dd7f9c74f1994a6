"""Results of plain tasks as Celery's API shows them."""

import threading
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from celery import states
from celery.app.task import Context
from celery.exceptions import ImproperlyConfigured
from celery.exceptions import TimeoutError as WaitedTooLong
from celery.result import GroupResult


def finished(app, *values) -> list:
    ids = [str(uuid4()) for _ in values]
    for task_id, value in zip(ids, values, strict=True):
        app.backend.store_result(task_id, value, states.SUCCESS)
    return [app.AsyncResult(task_id) for task_id in ids]


def later(app, task_id: str, value: int, after_s: float) -> threading.Timer:
    timer = threading.Timer(after_s, app.backend.store_result, (task_id, value, states.SUCCESS))
    timer.start()
    return timer


def test_a_result_is_seen_soon_after_it_is_stored(app):
    task_id = str(uuid4())
    timer = later(app, task_id, 42, 0.3)
    began = time.monotonic()

    assert app.AsyncResult(task_id).get(timeout=5) == 42
    assert time.monotonic() - began < 0.3 + 0.4
    timer.join()


def test_waiting_ends_when_the_time_is_up(app):
    with pytest.raises(WaitedTooLong):
        app.AsyncResult("never").get(timeout=0.05)
    with pytest.raises(WaitedTooLong):
        GroupResult("g", [app.AsyncResult("never")], app=app).get(timeout=0.05)


def test_a_group_is_joined_in_order_by_few_statements(app):
    results = finished(app, *range(50))

    assert GroupResult("g", list(reversed(results)), app=app).get(timeout=60) == list(reversed(range(50)))


def test_a_group_is_saved_restored_and_deleted(app):
    group = GroupResult(str(uuid4()), finished(app, 1, 2), app=app)
    group.save()

    assert GroupResult.restore(group.id, app=app).get(timeout=60) == [1, 2]
    group.delete()
    assert GroupResult.restore(group.id, app=app) is None


def test_a_failure_is_raised_as_it_was(app):
    task_id = str(uuid4())
    app.backend.store_result(task_id, KeyError("k"), states.FAILURE, traceback="the traceback")

    result = app.AsyncResult(task_id)

    with pytest.raises(KeyError):
        result.get(timeout=60)
    assert result.traceback == "the traceback"


def test_compressed_results_are_read_with_and_without_the_setting(make_app):
    app = make_app()
    app.conf.result_compression = "zlib"
    (result,) = finished(app, "x" * 10_000)
    reader = make_app()

    assert reader.AsyncResult(result.id).get(timeout=60) == "x" * 10_000
    (size,) = app.connections().execute("SELECT length(meta) FROM geoetl.result").fetchone()
    assert size < 1000


def test_expired_results_groups_and_chords_are_removed(app):
    app.conf.result_expires = timedelta(hours=1)
    old, new = finished(app, 1, 2)
    GroupResult("old", [old], app=app).save()
    conn = app.connections()
    conn.execute("INSERT INTO geoetl.chord (group_id, fired_at) VALUES ('old', now()), ('open', NULL)")
    conn.execute("INSERT INTO geoetl.chord_part VALUES ('old', 't', 0, 'SUCCESS', '')")
    conn.execute("UPDATE geoetl.result SET done_at = now() - interval '2 hours' WHERE task_id = %s", [old.id])
    conn.execute("UPDATE geoetl.task_group SET made_at = now() - interval '2 hours'")
    conn.execute(
        "UPDATE geoetl.chord SET made_at = now() - interval '2 hours', fired_at = fired_at - interval '2 hours'"
    )

    app.backend.cleanup()

    assert [app.AsyncResult(result.id).state for result in (old, new)] == ["PENDING", "SUCCESS"]
    assert GroupResult.restore("old", app=app) is None
    assert conn.execute("SELECT group_id FROM geoetl.chord").fetchall() == [("open",)]
    assert conn.execute("SELECT count(*) FROM geoetl.chord_part").fetchone() == (0,)


def test_a_running_task_does_not_expire(app):
    app.conf.result_expires = 1
    app.backend.claims.claim("a", 0, owner="w:1", meta=None)
    app.connections().execute("UPDATE geoetl.result SET done_at = now() - interval '1 day'")

    app.backend.cleanup()

    assert app.backend.claims.is_running("a", 0)


def test_a_forgotten_result_is_gone_and_its_duplicates_find_nothing_to_do(app):
    claims = app.backend.claims
    owned = claims.claim("a", 0, owner="w:1", meta=None)
    app.backend.mark_as_done("a", 42, Context(id="a", plain_claim=owned, delivery_info={}))
    result = app.AsyncResult("a")
    assert result.get(timeout=60) == 42

    result.forget()

    assert app.AsyncResult("a").state == "PENDING"
    assert claims.claim("a", 0, owner="w:2", meta=None) is None


def test_a_late_owner_changes_neither_state_nor_result(app):
    claims = app.backend.claims
    late = claims.claim("a", 0, owner="w:1", meta=None)
    app.connections().execute("UPDATE geoetl.result SET lease_until = now() - interval '1 second'")
    owner = claims.claim("a", 0, owner="w:2", meta=None)
    request = Context(id="a", plain_claim=late, delivery_info={})

    app.backend.store_result("a", {"done": 1}, "PROGRESS", request=request)
    app.backend.mark_as_done("a", "late", request)
    assert app.AsyncResult("a").state == "PENDING"
    app.backend.mark_as_done("a", "owner", Context(id="a", plain_claim=owner, delivery_info={}))

    assert app.AsyncResult("a").get(timeout=60) == "owner"


def test_a_task_cannot_join_a_chord_that_has_fired(app):
    app.connections().execute("INSERT INTO geoetl.chord (group_id, size, fired_at) VALUES ('g', 1, now())")

    with pytest.raises(ImproperlyConfigured, match="its body has been sent"):
        app.backend.add_to_chord("g", app.AsyncResult("late"))


def test_an_error_of_the_database_ends_a_task_at_the_second_try(app, connections):
    """The first transaction loses its connection after the claim was given up; nothing of it may stay."""
    backend = app.backend
    owned = backend.claims.claim("a", 0, owner="w:1", meta=None)
    request = Context(id="a", plain_claim=owned, delivery_info={}, chord={"task": "add"}, group="g", group_index=0)
    lost: list[str] = []

    def lose_the_connection(*args, **kwargs):
        if not lost:
            lost.append("once")
            pid = connections().info.backend_pid
            with connections.__class__(connections.target, application_name="killer")() as killer:
                killer.execute("SELECT pg_terminate_backend(%s, 1000)", [pid])
        return type(backend).on_chord_part_return(backend, *args, **kwargs)

    backend.on_chord_part_return = lose_the_connection

    backend.mark_as_done("a", 42, request)

    assert lost == ["once"]
    assert app.AsyncResult("a").get(timeout=60) == 42
    assert connections().execute("SELECT task_id FROM geoetl.chord_part").fetchall() == [("a",)]
