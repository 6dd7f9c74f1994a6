"""Retention removes what ended long ago, and a later submit is still answered rightly."""

from dataclasses import replace

import pytest

from geoetl.chains.inventory import definition as inventory
from geoetl.chains.noop import Noop
from geoetl.chains.noop import definition as noop
from geoetl.chains.registry import DEFINITIONS
from geoetl.engine import control, views
from geoetl.engine.invariants import violations
from geoetl.engine.metrics import exposition
from geoetl.engine.prune import Pruned, prune
from geoetl.errors import BadData, NotFound
from tests.integration.engine.test_races import while_open

DAY_S = 86400
TABLES = ("job", "run", "stage", "task", "template", "event", "outbox")


@pytest.fixture
def age(engine):
    def age(days: float) -> None:
        """Everything that was done so far was done so much earlier."""
        engine.sql("UPDATE geoetl.run SET finished_at = finished_at - make_interval(secs => %s)", days * DAY_S)

    return age


@pytest.fixture
def pruning(engine):
    return lambda **options: prune(engine.services, **{"age_s": 90 * DAY_S, **options})


class Everything:
    """A ledger in which all that any run published is still in place, until told otherwise."""

    still = True

    def is_published(self, run_id):
        return self.still


@pytest.fixture
def publishing(engine, monkeypatch):
    """`noop` as a job type that publishes; the ledger that answers for it."""
    monkeypatch.setitem(DEFINITIONS, "noop", replace(noop, is_published=True))
    engine.services = replace(engine.services, published=Everything())
    return engine.services.published


def rows(engine):
    return {table: engine.sql(f"SELECT count(*) FROM geoetl.{table}")[0][0] for table in TABLES}


def test_an_old_job_goes_with_everything_it_had(engine, age, pruning):
    submission = engine.submit(Noop(tasks=2))
    engine.work_off()
    age(91)

    done = pruning()

    assert done == Pruned(jobs=1, runs=1, tasks=5, events=16)
    assert set(rows(engine).values()) == {0}
    with pytest.raises(NotFound):
        views.job_status(engine.services.connections(), submission.job_id)
    assert engine.submit(Noop(tasks=2)).outcome == "accepted", "nothing remembers it, so it runs again"


@pytest.mark.parametrize("counted", ["before", "after", "half"])
def test_counts_of_events_never_fall(engine, age, pruning, counted):
    """Whether what is pruned has been counted for good by then, or not."""
    engine.submit(Noop(tasks=2))
    engine.work_off()
    before = exposition(engine.services.connections)
    if counted == "half":
        engine.sql(
            "UPDATE geoetl.event SET at = now() - interval '1 day' WHERE id <= (SELECT max(id) - 5 FROM geoetl.event)"
        )
    elif counted == "before":
        engine.sql("UPDATE geoetl.event SET at = now() - interval '1 day'")
    if counted != "after":
        assert exposition(engine.services.connections) == before
    age(91)

    pruning()

    told = [line for line in before.splitlines() if line.startswith("geoetl_events_total")]
    assert told
    assert set(told) <= set(exposition(engine.services.connections).splitlines())
    assert set(told) <= set(exposition(engine.services.connections).splitlines())


def test_young_jobs_and_running_ones_stay(engine, age, pruning):
    engine.submit(Noop(tasks=1))
    engine.work_off()
    age(89)
    engine.submit(Noop(tasks=2))
    engine.sql("UPDATE geoetl.run SET created_at = now() - interval '400 days'")
    before = rows(engine)

    assert pruning() == Pruned()

    assert rows(engine) == before


def test_a_dry_run_counts_the_same_and_removes_nothing(engine, age, pruning):
    engine.submit(Noop(tasks=2))
    engine.work_off()
    failing = engine.submit(Noop(tasks=1))
    engine.services.ledger.fail(engine.claim(engine.bells()[0]), BadData("broken"), None)
    assert views.job_status(engine.services.connections(), failing.job_id).summary.state == "failed"
    age(91)
    before = rows(engine)

    would = pruning(dry_run=True)

    assert rows(engine) == before
    assert pruning() == would


def test_a_published_job_is_still_answered_already_done(engine, age, pruning, publishing):
    first = engine.submit(Noop(tasks=2))
    engine.work_off()
    age(91)
    assert pruning(dry_run=True).stripped_runs == 1

    assert pruning() == Pruned(stripped_runs=1, tasks=5, events=16)

    left = rows(engine)
    assert (left["job"], left["run"], left["stage"], left["task"], left["event"]) == (1, 1, 0, 0, 0)
    again = engine.submit(Noop(tasks=2))
    assert (again.outcome, again.run_id) == ("already done", first.run_id)
    status = views.job_status(engine.services.connections(), first.job_id)
    assert status.pruned_at is not None
    assert status.result == {"sum_of_squares": 1}
    assert violations(engine.services.connections()) == []
    assert pruning() == Pruned(), "there is nothing left to strip"


def test_a_stripped_job_goes_when_its_products_were_replaced(engine, age, pruning, publishing):
    engine.submit(Noop(tasks=1))
    engine.work_off()
    age(91)
    pruning()

    publishing.still = False

    assert pruning() == Pruned(jobs=1, runs=1)
    assert engine.submit(Noop(tasks=1)).outcome == "accepted"


def test_old_runs_of_a_job_go_and_its_current_one_stays(engine, age, pruning, publishing):
    engine.submit(Noop(tasks=1))
    engine.work_off()
    age(91)
    second = engine.submit(Noop(tasks=1), force=True)
    engine.work_off()

    done = pruning()

    assert (done.jobs, done.runs, done.stripped_runs) == (0, 1, 0)
    assert engine.submit(Noop(tasks=1)).run_id == second.run_id
    assert engine.submit(Noop(tasks=1), force=True).run_no == 3, "numbers are not given twice"


def test_a_run_that_is_resumed_meanwhile_is_left_alone(engine, age, pruning):
    submission = engine.submit(Noop(tasks=1))
    control.cancel(engine.services, submission.job_id)
    age(91)

    done = while_open(engine, lambda: control.resume(engine.services, submission.job_id), pruning)

    assert done == Pruned()
    engine.work_off()
    assert engine.states()["run"] == "completed"


def test_a_submit_that_waits_for_a_prune_starts_anew(engine, age, pruning):
    engine.submit(Noop(tasks=1))
    engine.work_off()
    age(91)

    again = while_open(engine, pruning, lambda: engine.submit(Noop(tasks=1)))

    assert (again.outcome, again.run_no) == ("accepted", 1)
    engine.work_off()
    assert engine.states()["run"] == "completed"


def test_parked_messages_go_with_time(engine, pruning):
    engine.sql(
        "INSERT INTO geoetl.outbox (envelope, body, parked_at) VALUES"
        " ('{}', '', now() - interval '91 days'), ('{}', '', now())"
    )

    assert pruning(dry_run=True).parked_messages == 1
    assert pruning().parked_messages == 1
    assert rows(engine)["outbox"] == 1


def test_job_types_that_publish_nothing_are_remembered_only_here():
    assert not noop.is_published
    assert not inventory.is_published
