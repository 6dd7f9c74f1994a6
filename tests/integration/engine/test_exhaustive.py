"""A small job in every order of claims, finishes, crashes, zombies, cancels and resumes, on the shipped SQL."""

import os
import sys
from dataclasses import dataclass

import pytest

from geoetl.backend.queries import load_queries
from geoetl.chains.noop import Noop
from tests.integration.engine.exhaustive import Explorer, Report
from tests.integration.engine.small_world import Budget, SmallWorld

#: Multiplies what may go wrong at most. 1 takes seconds, 2 minutes.
DEPTH = int(os.environ.get("GEOETL_MODEL_DEPTH", "1"))


def explore(engine, *, tasks: int = 1, max_attempts: int | None = None, **budget: int) -> Report:
    submission = engine.submit(Noop(tasks=tasks))
    if max_attempts is not None:
        engine.sql("UPDATE geoetl.task SET max_attempts = %s WHERE idx >= 0", max_attempts)
    limit = sys.getrecursionlimit()
    # A path is a recursion, three frames a step.
    sys.setrecursionlimit(20_000)
    try:
        return Explorer(SmallWorld(engine, submission.job_id)).explore(Budget(**budget))
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.timeout(120 * 20 ** (DEPTH - 1))
@pytest.mark.parametrize(
    ("tasks", "budget"),
    [
        (2, {"crashes": 1, "stalls": 1}),
        (2, {"cancels": 1, "resumes": 1}),
        (1, {"stalls": 1, "cancels": 1, "resumes": 1}),
        (1, {"failures": 1, "stalls": 1, "resumes": 1}),
        (0, {"stalls": 1, "cancels": 1, "resumes": 1}),
        (1, {"stalls": 1, "deadlines": 1, "resumes": 1}),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, dict) else f"{given} tasks",
)
def test_the_protocol_holds(engine, tasks, budget):
    report = explore(engine, tasks=tasks, **{fault: count * DEPTH for fault, count in budget.items()})

    assert report.problem is None, "\n".join([report.problem, *report.trace])
    assert report.states > 100


@pytest.mark.skipif(DEPTH == 1, reason="minutes; GEOETL_MODEL_DEPTH=2 asks for it")
@pytest.mark.timeout(3600)
def test_the_protocol_holds_whatever_happens_together(engine):
    report = explore(engine, tasks=2, crashes=1, stalls=1, failures=1, cancels=1, resumes=1)

    assert report.problem is None, "\n".join([report.problem, *report.trace])


@dataclass(frozen=True)
class Bug:
    """A rule taken out of the shipped SQL."""

    file: str
    block: str
    rule: str
    instead: str
    budget: dict[str, int]
    max_attempts: int | None = None


IS_OPEN = "s.state = CASE WHEN t.idx = -1 THEN 'completing' ELSE 'running' END"
BUGS = {
    "finish without the attempt": Bug(
        "tasks", "finish", "AND attempt = %(attempt)s", "", {"stalls": 1}),
    "finish without the state": Bug(
        "tasks", "finish", "state = 'running' AND attempt", "attempt", {"cancels": 1, "stalls": 1}),
    "R1: a callback finishes in whatever run": Bug(
        "jobs", "lock_run",
        "s.state\nFROM geoetl.run r JOIN geoetl.stage s ON s.run_id = r.id AND s.no = r.cur_stage\n"
        "WHERE r.id = %(run_id)s AND r.state IN ('queued', 'running')",
        "'completing' FROM geoetl.run r WHERE r.id = %(run_id)s", {"cancels": 1}),
    "R2: a callback is claimed in whatever stage": Bug(
        "tasks", "claim", IS_OPEN, "(s.state = 'running' OR t.idx = -1)", {}),
    "R3: a failure closes whatever stage": Bug(
        "tasks", "fail", "AND s.state = CASE WHEN lost.idx = -1 THEN 'completing' ELSE 'running' END", "",
        {"cancels": 1, "failures": 1}),
    "R4: nobody sweeps closed stages": Bug(
        "reaper", "skip_closed", "WHERE t.state = 'ready'", "WHERE false", {"cancels": 1, "failures": 1}),
    "R7: attempts begin anew": Bug(
        "jobs", "resume_tasks", "attempt = t.attempt + 1, max_attempts = t.attempt + 1 + ",
        "attempt = 0, max_attempts = ", {"cancels": 1, "resumes": 1}),
    "R7: the budget is kept": Bug(
        "jobs", "resume_tasks", "max_attempts = t.attempt + 1 + %(budget)s", "max_attempts = t.max_attempts",
        {"failures": 1, "resumes": 1}, max_attempts=1),
    "R7: skipped tasks are forgotten": Bug(
        "jobs", "resume_tasks", "state <> 'succeeded'", "state NOT IN ('succeeded', 'skipped')",
        {"cancels": 1, "resumes": 1}),
    "R7: succeeded tasks run again": Bug(
        "jobs", "resume_tasks", "AND state <> 'succeeded'", "", {"failures": 1, "resumes": 1}),
    "R8: the barrier counts only while the stage runs": Bug(
        "tasks", "finish", "AND s.run_id = done.run_id", "AND s.state = 'running' AND s.run_id = done.run_id",
        {"cancels": 1}),
    "R8: the barrier opens in a closed stage": Bug(
        "tasks", "finish", "s.remaining = 1 AND s.state = 'running'", "s.remaining = 1", {"cancels": 1}),
    "R8: a refused finish lowers the barrier": Bug(
        "tasks", "finish", "FROM done\n    WHERE done.idx >= 0 AND s.run_id = done.run_id AND s.no = done.stage_no",
        "WHERE s.callback_id = (SELECT c.id FROM geoetl.task a JOIN geoetl.task c ON c.run_id = a.run_id"
        " AND c.stage_no = a.stage_no AND c.idx = -1 WHERE a.id = %(id)s AND a.idx >= 0)",
        {"stalls": 1}),
    "R9: resume rings for the tasks only": Bug(
        "jobs", "resume_ring", "(idx >= 0) = (%(remaining)s::int > 0)", "idx >= 0", {"failures": 1, "resumes": 1}),
    "R9: resume always runs the stage": Bug(
        "jobs", "resume_stage", "CASE WHEN remaining = 0 THEN 'completing' ELSE 'running' END", "'running'",
        {"failures": 1, "resumes": 1}),
    "R10: cancel closes only running stages": Bug(
        "jobs", "cancel", "s.state IN ('running', 'completing')", "s.state = 'running'", {"cancels": 1}),
    "R9: a resumed run keeps its old deadline": Bug(
        "jobs", "resume_run", "deadline = now() + make_interval(secs => deadline_s)", "deadline = deadline",
        {"deadlines": 1, "resumes": 1}),
    "R11: the reaper does not look at the deadline twice": Bug(
        "jobs", "cancel", "AND (NOT %(overdue)s OR deadline < now())", "",
        {"deadlines": 1, "cancels": 1, "resumes": 1}),
    "nobody looks for overdue runs": Bug(
        "reaper", "overdue", "AND deadline < now()", "AND false", {"deadlines": 1, "crashes": 1}),
    "R11: the reaper does not look twice": Bug(
        "tasks", "fail", "AND (NOT %(expired)s OR lease_until < now())", "", {"stalls": 1}, max_attempts=1),
    "R11: the reaper knows only failed stages": Bug(
        "reaper", "stop_expired", "s.state NOT IN ('running', 'completing')", "s.state = 'failed'",
        {"cancels": 1, "crashes": 1}),
    "R12: a loss is reported by the task alone": Bug(
        "tasks", "owned_attempt", "AND t.worker = %(worker)s", "", {"crashes": 1, "stalls": 1}),
    "a claim under a live lease": Bug(
        "tasks", "claim", "(t.state = 'running' AND t.lease_until < now())", "t.state = 'running'", {}),
    "a claim beyond the budget": Bug(
        "tasks", "claim", "AND t.attempt < t.max_attempts", "", {"stalls": 1}, max_attempts=1),
    "a lease that is returned rings nobody": Bug(
        "reaper", "return_expired", "FROM back RETURNING", "FROM back WHERE false RETURNING", {"crashes": 1}),
    "a retry rings nobody": Bug(
        "tasks", "retry", "FROM back\n    RETURNING", "FROM back WHERE false\n    RETURNING", {"failures": 1}),
    "the last finish rings nobody": Bug(
        "tasks", "finish", "remaining = 0 AND state = 'completing'", "remaining < 0", {}),
    "used-up attempts are never failed": Bug(
        "reaper", "exhausted", "WHERE state = 'running'", "WHERE false AND state = 'running'", {"crashes": 1},
        max_attempts=1),
}  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(engine, monkeypatch, name):
    bug = BUGS[name]
    statements = load_queries("geoetl.engine.sql", f"{bug.file}.sql")
    shipped = statements[bug.block].decode()
    assert shipped.count(bug.rule) == 1, "the rule has other words now: plant the bug anew"
    monkeypatch.setitem(statements, bug.block, shipped.replace(bug.rule, bug.instead).encode())

    report = explore(engine, max_attempts=bug.max_attempts, **bug.budget)

    assert report.problem is not None, f"{report.steps} steps found nothing"
