"""When a worker's main process ends one of its children."""

import pytest

from geoetl.engine.heartbeat import Held, Watch

ONE = ("task-1", "boot:7")
OTHER = ("task-1", "boot:8")


@pytest.fixture
def watch() -> Watch:
    watch = Watch(lease_s=30, grace_s=1)
    watch.keep([ONE], 100)
    return watch


def test_what_runs_for_an_open_stage_is_left_alone(watch):
    assert watch.seen([Held(ONE, 1, must_stop=False)], 500) == []


def test_a_core_that_can_be_asked_has_a_grace_to_stop_by_itself(watch):
    assert watch.seen([Held(ONE, 3, must_stop=True)], 100) == []
    assert watch.seen([Held(ONE, 3, must_stop=True)], 100.9) == []

    (overdue,) = watch.seen([Held(ONE, 3, must_stop=True)], 101)

    assert (overdue.live, overdue.attempt, overdue.reason) == (ONE, 3, "stage closed")


def test_the_grace_begins_anew_after_a_resume(watch):
    watch.seen([Held(ONE, 1, must_stop=True)], 100)
    watch.seen([Held(ONE, 1, must_stop=False)], 100.5)

    assert watch.seen([Held(ONE, 1, must_stop=True)], 101.2) == []


def test_what_has_not_claimed_yet_has_lost_nothing(watch):
    assert watch.seen([], 100) == []
    assert watch.seen([], 500) == []


def test_what_lost_its_task_is_ended_after_a_lease(watch):
    watch.seen([Held(ONE, 1, must_stop=False)], 100)
    assert watch.seen([], 101) == []

    (overdue,) = watch.seen([], 131)

    assert (overdue.live, overdue.attempt, overdue.reason) == (ONE, None, "lease lost")


def test_what_ended_is_forgotten(watch):
    watch.seen([Held(ONE, 1, must_stop=True)], 100)
    watch.keep([OTHER], 100.5)

    assert watch.seen([Held(OTHER, 2, must_stop=True)], 101.2) == []
    assert [overdue.live for overdue in watch.unseen(130.5)] == [OTHER]


def test_cut_off_for_a_lease_since_its_last_heartbeat_it_is_ended(watch):
    watch.confirm([ONE], 110)
    assert watch.unseen(139) == []

    (overdue,) = watch.unseen(140)

    assert (overdue.live, overdue.reason) == (ONE, "cut off from the database")


def test_a_heartbeat_that_extended_nothing_confirms_nothing(watch):
    watch.confirm([], 110)

    assert len(watch.unseen(130)) == 1
