"""Random histories of several jobs over the real SQL: duplicates, zombies, failures, resumes, jumps of the clock."""

import contextlib
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from geoetl.backend.ledger import Claim, FinishEffect
from geoetl.chains.noop import Noop
from geoetl.engine import control
from geoetl.engine.completion import complete_stage
from geoetl.engine.heartbeat import beat, look
from geoetl.engine.invariants import violations
from geoetl.errors import BadData, InvalidInput, TransientError
from tests.integration.engine.small_world import result_of

#: Histories, and the steps of each. The defaults take half a minute.
EXAMPLES = int(os.environ.get("GEOETL_HISTORIES", "50"))
STEPS = int(os.environ.get("GEOETL_HISTORY_STEPS", "60"))
TABLES = "geoetl.outbox, geoetl.event, geoetl.task, geoetl.template, geoetl.stage, geoetl.run, geoetl.job"


class Histories(RuleBasedStateMachine):
    """Any number of workers, one reaper, careless users. A claim in hand is a process; it may outlive its lease."""

    engine: Any
    jobs = Bundle("jobs")
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.engine.sql(f"TRUNCATE {TABLES}")
        self.ledger = self.engine.services.ledger
        self.conn = self.engine.services.connections()
        self.messages: list[str] = []
        self.processes = 0
        self.newest: dict[str, int] = {}

    # ------------------------------------------------------------------ users
    @rule(
        target=jobs,
        tasks=st.integers(0, 4),
        name=st.sampled_from("ab"),
        force=st.booleans(),
        deadline_s=st.sampled_from([None, None, 30.0, 300.0]),
    )
    def submit(self, tasks: int, name: str, force: bool, deadline_s: float | None) -> str:
        spec = Noop(tasks=tasks, name=name)
        try:
            return self.engine.submit(spec, force=force, deadline_s=deadline_s).job_id
        except InvalidInput:  # it runs
            return self.engine.submit(spec).job_id

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        control.cancel(self.engine.services, job)

    @rule(job=jobs)
    def resume(self, job: str) -> None:
        before = dict(self.attempts())
        with contextlib.suppress(InvalidInput):  # it runs, or is done
            control.resume(self.engine.services, job)
        assert all(attempt >= before[task] for task, attempt in self.attempts())

    @rule(job=jobs, attempts=st.integers(1, 3))
    def retry(self, job: str, attempts: int) -> None:
        before = dict(self.attempts())
        with contextlib.suppress(InvalidInput):  # it has not failed
            control.retry(self.engine.services, job, attempts=attempts)
        assert all(attempt >= before[task] for task, attempt in self.attempts())

    # ------------------------------------------------------------------ broker and workers
    @rule(is_lost=st.booleans())
    def relay(self, is_lost: bool) -> None:
        published = self.engine.bells()
        if not is_lost:
            self.messages += published

    @rule(target=held, data=st.data(), keep=st.booleans())
    def deliver(self, data: st.DataObject, keep: bool) -> Any:
        """A message is delivered, and perhaps once more later; every process claims under a name of its own."""
        if not self.messages:
            return multiple()
        task_id = data.draw(st.sampled_from(self.messages))
        if not keep:
            self.messages.remove(task_id)
        one = self.claim(task_id)
        return one if one is not None else multiple()

    def claim(self, task_id: str) -> tuple[Claim, Any, str] | None:
        self.processes += 1
        owner = f"w:{self.processes}"
        claim = self.ledger.claim(task_id, owner)
        if claim is None:
            return None
        assert claim.attempt > self.newest.get(task_id, 0), "an attempt was given twice"
        self.newest[task_id] = claim.attempt
        return claim, complete_stage(self.engine.services, claim) if claim.facts.is_callback else None, owner

    @rule(one=consumes(held), again=st.booleans())
    def finish(self, one: Any, again: bool) -> None:
        claim, plan, _ = one
        effects: list[FinishEffect] = [plan[1]] if plan else []
        accepted = self.ledger.finish(claim, plan[0] if plan else result_of(claim), effects)
        assert not accepted or self.newest[claim.task_id] == claim.attempt, "a stale result was accepted"
        if again:
            assert not self.ledger.finish(claim, {}, effects), "one attempt was accepted twice"

    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """Some worker does what there is to do: without it few histories would come to a second stage."""
        for task_id in self.engine.bells()[: data.draw(st.integers(1, 3))]:
            if (one := self.claim(task_id)) is not None:
                self.finish(one, again=False)

    @rule(one=consumes(held), is_final=st.booleans(), delay_s=st.sampled_from([0.0, 60.0]))
    def fail(self, one: Any, is_final: bool, delay_s: float) -> None:
        if is_final:
            self.ledger.fail(one[0], BadData("broken"), None)
        else:
            self.ledger.retry(one[0], TransientError("away"), delay_s)

    @rule(one=held)
    def die(self, one: Any) -> None:
        """Reported by the main process; not consumed, since a dead one may be reported late, and again."""
        claim, _, owner = one
        before = self.row(claim.task_id)
        self.ledger.lost(claim.task_id, owner, ConnectionError("killed"))
        if self.newest[claim.task_id] != claim.attempt:
            assert self.row(claim.task_id) == before, "the loss of a zombie changed the task"

    @rule(one=held)
    def heartbeat(self, one: Any) -> None:
        claim, _, owner = one
        extended = beat(self.conn, [(claim.task_id, owner)], lease_s=30)
        assert not extended or self.newest[claim.task_id] == claim.attempt, "the lease of a zombie was extended"
        if any(each.must_stop for each in look(self.conn, [(claim.task_id, owner)])):
            self.ledger.stop(claim)

    # ------------------------------------------------------------------ time
    @rule(seconds=st.sampled_from([5, 40, 400]))
    def jump(self, seconds: int) -> None:
        """The clock jumps: everything that was stored becomes older."""
        self.engine.sql(
            "UPDATE geoetl.task SET lease_until = lease_until - make_interval(secs => %(s)s),"
            " next_attempt_at = next_attempt_at - make_interval(secs => %(s)s),"
            " published_at = published_at - make_interval(secs => %(s)s)".replace("%(s)s", str(seconds))
        )
        self.engine.sql(f"UPDATE geoetl.run SET deadline = deadline - interval '{seconds} seconds'")
        self.engine.sql(f"UPDATE geoetl.outbox SET not_before = not_before - interval '{seconds} seconds'")

    @rule()
    def reap(self) -> None:
        live, others = self.live_leases(), self.open_runs() - self.open_runs("deadline < now()")
        self.engine.reaper.reap(self.conn)
        assert live <= self.live_leases(), "the reaper ended a live lease"
        assert not self.open_runs("deadline < now()"), "a run went on past its deadline"
        assert others - self.open_runs() <= self.ended_by_a_lease(), "the reaper ended a run before its deadline"

    @rule()
    def resend(self) -> None:
        self.engine.reaper.resend(self.conn)

    def row(self, task_id: str) -> Any:
        return self.engine.sql("SELECT state, attempt, lease_until, worker FROM geoetl.task WHERE id = %s", task_id)

    def attempts(self) -> list[tuple[str, int]]:
        return self.engine.sql("SELECT id::text, attempt FROM geoetl.task")

    def open_runs(self, condition: str = "true") -> set[Any]:
        return set(self.engine.sql(f"SELECT id FROM geoetl.run WHERE state IN ('queued', 'running') AND {condition}"))

    def ended_by_a_lease(self) -> set[Any]:
        return set(self.engine.sql("SELECT id FROM geoetl.run WHERE error->>'code' = 'lease-expired'"))

    def live_leases(self) -> set[Any]:
        return set(
            self.engine.sql(
                "SELECT id FROM geoetl.task WHERE state = 'running' AND lease_until > now() + interval '1s'"
            )
        )

    # ------------------------------------------------------------------ what must hold
    @invariant()
    def nothing_is_broken(self) -> None:
        assert violations(self.conn) == []

    def teardown(self) -> None:
        """Without further faults, and without any message left: every run ends, nothing waits, nothing runs."""
        unsettled = (
            "SELECT t.state, r.state FROM geoetl.task t JOIN geoetl.run r ON r.id = t.run_id"
            " WHERE t.state IN ('ready', 'running') OR r.state IN ('queued', 'running')"
        )
        for _ in range(40):
            if not self.engine.sql(unsettled):
                break
            self.jump(5000)
            self.reap()
            self.resend()
            for task_id in self.engine.bells():
                if (one := self.claim(task_id)) is not None:
                    self.finish(one, again=False)
        assert self.engine.sql(unsettled) == []
        assert violations(self.conn) == []


@pytest.mark.timeout(3600)
def test_random_histories_break_no_invariant_and_every_job_ends(engine):
    class OnThisDatabase(Histories):
        pass

    OnThisDatabase.engine = engine
    run_state_machine_as_test(
        OnThisDatabase,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=EXAMPLES <= 50,
            suppress_health_check=list(HealthCheck),
            # Shrinking a history runs it hundreds of times on a database: only where a person waits for it.
            phases=[Phase.explicit, Phase.generate] + [Phase.shrink] * (EXAMPLES > 50),
        ),
    )
