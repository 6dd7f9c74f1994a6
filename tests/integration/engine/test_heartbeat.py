"""Leases are kept, and attempts learn that they must stop."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from geoetl.db.connections import DatabaseUnavailable
from geoetl.engine import control
from geoetl.engine.heartbeat import Held, beat, look
from geoetl.engine.ledger import StageLedger
from geoetl.errors import LeaseLost
from geoetl.tasks.attempt import Attempt
from tests.integration.engine.conftest import claim_work


def test_a_heartbeat_keeps_only_the_leases_of_the_named_process(engine):
    engine.start_work_stage()
    mine, other = claim_work(engine, 0, "w1:1"), claim_work(engine, 1, "w1:2")
    engine.sql("UPDATE geoetl.task SET lease_until = now() + interval '1 second' WHERE state = 'running'")

    extended = beat(engine.services.connections(), [(mine.task_id, "w1:1"), (other.task_id, "w1:1")], lease_s=30)

    longer = engine.sql("SELECT id FROM geoetl.task WHERE lease_until > now() + interval '10 seconds'")
    assert [str(row[0]) for row in longer] == [mine.task_id]
    assert extended == {(mine.task_id, "w1:1")}


def test_a_process_whose_task_was_taken_over_does_not_hide_the_one_that_has_it_now(engine, expire_leases):
    engine.start_work_stage()
    zombie = claim_work(engine, owner="w1:1")
    expire_leases()
    claim_work(engine, owner="w1:2")
    live = [(zombie.task_id, "w1:2"), (zombie.task_id, "w1:1")]

    assert beat(engine.services.connections(), live, lease_s=30) == {(zombie.task_id, "w1:2")}
    assert [held.live for held in look(engine.services.connections(), live)] == [(zombie.task_id, "w1:2")]


def test_a_look_tells_which_attempts_must_stop(engine):
    submission = engine.start_work_stage()
    claim = claim_work(engine)
    live = [(claim.task_id, "w1:1")]
    assert look(engine.services.connections(), live) == [Held(live[0], 1, must_stop=False)]

    control.cancel(engine.services, submission.job_id)

    assert look(engine.services.connections(), live) == [Held(live[0], 1, must_stop=True)]


def test_a_checkpoint_rides_over_a_database_that_is_away(engine):
    submission = engine.start_work_stage(tasks=1)
    claim = claim_work(engine)
    outages = [DatabaseUnavailable("away")]

    def connections():
        if outages:
            raise outages.pop()
        return engine.services.connections()

    services = replace(engine.services, ledger=StageLedger(connections, lease_s=30))
    attempt = Attempt(services, None, claim, ExitStack(), ask_every_s=0)

    attempt.checkpoint()
    assert outages == [], "it asked, and went on"
    attempt.checkpoint()
    control.cancel(engine.services, submission.job_id)
    with pytest.raises(LeaseLost):
        attempt.checkpoint()


def test_between_two_questions_scratch_is_not_walked(engine, monkeypatch):
    engine.start_work_stage(tasks=1)
    claim = claim_work(engine)
    walks = []
    monkeypatch.setattr("geoetl.tasks.attempt.used_bytes", lambda folder: walks.append(folder) or 0)
    with ExitStack() as held:
        attempt = Attempt(engine.services, None, claim, held, ask_every_s=3600)
        assert attempt.scratch.is_dir()

        for _ in range(100):
            attempt.checkpoint()

    assert walks == []
