"""A follower of a run tells every event once, in whatever order transactions commit."""

from geoetl.db.connections import connect
from geoetl.engine.following import EventFollower
from geoetl.models.refs import RunId


def add_event(conn, run_id: RunId, what: str, *, seconds_ago: float = 0.0) -> int:
    query = (
        "INSERT INTO geoetl.event (run_id, what, at) VALUES (%s, %s, clock_timestamp() - make_interval(secs => %s))"
        " RETURNING id"
    )
    return conn.execute(query, (run_id, what, seconds_ago)).fetchone()[0]


def test_an_event_is_told_though_one_with_a_larger_id_committed_before_it(engine, app_db):
    submission = engine.submit()
    follower = EventFollower(submission.run_id)
    reader = engine.services.connections()
    follower.next_page(reader)
    with connect(app_db, application_name="slow") as slow:
        with slow.transaction():
            late = add_event(slow, submission.run_id, "late")
            early = add_event(reader, submission.run_id, "early")
            assert late < early
            assert [event.what for event in follower.next_page(reader)] == ["early"]
        assert [event.what for event in follower.next_page(reader)] == ["late"]
    assert follower.next_page(reader) == []


def test_what_is_old_is_not_read_again(engine):
    submission = engine.submit()
    conn = engine.services.connections()
    begin = max(event.id for event in EventFollower(submission.run_id).next_page(conn))
    follower = EventFollower(submission.run_id, after=begin)
    old = add_event(conn, submission.run_id, "old", seconds_ago=60)
    add_event(conn, submission.run_id, "young")
    assert len(follower.next_page(conn)) == 2

    conn.execute("UPDATE geoetl.event SET what = 'never read again' WHERE id = %s", (old,))
    conn.execute("DELETE FROM geoetl.event WHERE what = 'young'")
    add_event(conn, submission.run_id, "new")
    assert [event.what for event in follower.next_page(conn)] == ["new"]


def test_pages_follow_one_another_through_thousands_of_events(engine):
    submission = engine.submit()
    conn = engine.services.connections()
    conn.execute(
        "INSERT INTO geoetl.event (run_id, what) SELECT %s, 'burst' FROM generate_series(1, 1200)",
        (submission.run_id,),
    )
    follower = EventFollower(submission.run_id)
    told: list[int] = []
    while page := follower.next_page(conn):
        told += [event.id for event in page if event.what == "burst"]
    assert len(told) == len(set(told)) == 1200
