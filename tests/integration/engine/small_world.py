"""A small job and what may happen to it next: each step calls what ships, and judges its answer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from billiard.exceptions import WorkerLostError

from geoetl.backend.ledger import Claim, FinishEffect
from geoetl.engine import control
from geoetl.engine.cancel import cancel_overdue_run
from geoetl.engine.completion import complete_stage
from geoetl.engine.heartbeat import beat
from geoetl.engine.ledger import fail_attempt
from geoetl.engine.reaper import LEASE_EXPIRED
from geoetl.engine.reaper import SQL as REAPER
from geoetl.errors import BadData, TransientError

_READ = """
SELECT r.state, r.cur_stage, coalesce(r.deadline < now(), false), s.no, s.state, s.remaining, t.idx, t.id::text,
       t.state, t.attempt, t.max_attempts,
       CASE WHEN t.lease_until IS NULL THEN 'none' WHEN t.lease_until < now() THEN 'expired' ELSE 'live' END,
       EXISTS (SELECT 1 FROM geoetl.outbox o WHERE o.ref = t.id)
FROM geoetl.run r JOIN geoetl.stage s ON s.run_id = r.id JOIN geoetl.task t ON t.run_id = r.id AND t.stage_no = s.no
ORDER BY s.no, t.idx
"""


class Found(Exception):
    """A step broke the protocol."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task's row, without its id."""

    state: str
    attempt: int
    max_attempts: int
    lease: str
    rung: bool


@dataclass(frozen=True, slots=True)
class Execution:
    """A process busy with a task; it outlives the loss of its lease (a zombie)."""

    at: tuple[int, int]
    attempt: int
    newest: bool
    """No later claim has been made."""
    claim: Claim = field(compare=False, hash=False)
    plan: tuple[Any, FinishEffect] | None = field(default=None, compare=False, hash=False)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many faults and user's actions are left."""

    crashes: int = 0
    stalls: int = 0
    failures: int = 0
    cancels: int = 0
    resumes: int = 0
    deadlines: int = 0


@dataclass(frozen=True, slots=True)
class World:
    """What is outside of the database."""

    executions: tuple[Execution, ...]
    budget: Budget
    doomed: tuple[tuple[tuple[int, int], int], ...] = ()
    """What the reaper has read as exhausted, and not yet failed."""
    late: bool = False
    """The reaper has read the run as overdue, and not yet cancelled it."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is in the database."""

    run: str
    cur_stage: int
    overdue: bool
    stages: tuple[tuple[str, int], ...]
    tasks: dict[tuple[int, int], Task]
    ids: dict[tuple[int, int], str] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that may happen next."""

    label: str
    act: Callable[[], World]
    is_progress: bool = True
    """Happens by itself, sooner or later: no fault, no user, no failure."""
    is_resume: bool = False


class SmallWorld:
    """A submitted job, two workers' worth of processes, a reaper and a user."""

    def __init__(self, engine: Any, job_id: str, *, workers: int = 2) -> None:
        self.engine = engine
        self.ledger = engine.services.ledger
        self.conn = engine.services.connections()
        self.job_id = job_id
        self.workers = workers

    def read(self) -> Rows:
        stages: dict[int, tuple[str, int]] = {}
        tasks: dict[tuple[int, int], Task] = {}
        ids: dict[tuple[int, int], str] = {}
        run, cur, overdue = "", 0, False
        for run, cur, overdue, no, stage, remaining, idx, task_id, *of_task in self.conn.execute(_READ):  # noqa: B007
            stages[no] = (stage, remaining)
            tasks[no, idx] = Task(*of_task)
            ids[no, idx] = task_id
        return Rows(run, cur, overdue, tuple(stages.values()), tasks, ids)

    def steps(self, rows: Rows, world: World) -> Iterator[Step]:
        """What can happen next."""
        yield from self._claims(rows, world)
        for execution in world.executions:
            yield from self._of_execution(rows, world, execution)
        yield from self._of_time(rows, world)
        yield from self._of_user(rows, world)

    def _claims(self, rows: Rows, world: World) -> Iterator[Step]:
        if len(world.executions) >= self.workers:
            return
        twins: set[Any] = set()
        for at, task in rows.tasks.items():
            mine = tuple(e for e in world.executions if e.at == at)
            # Tasks of a stage that are alike are interchangeable; terminal ones are tried too: they must refuse.
            twin = (at[0], at[1] == -1, task, mine)
            if twin in twins:
                continue
            twins.add(twin)
            yield Step(f"claim {name_of(at)}", lambda at=at, task=task: self._claim(rows, world, at, task))

    def _claim(self, rows: Rows, world: World, at: tuple[int, int], task: Task) -> World:
        claim = self.ledger.claim(rows.ids[at], _owner(task.attempt + 1))
        if claim is None:
            return world
        if task.lease == "live":
            raise Found(f"{name_of(at)} was claimed under a live lease")
        if rows.stages[at[0]][0] != ("completing" if at[1] == -1 else "running"):
            raise Found(f"{name_of(at)} was claimed in a {rows.stages[at[0]][0]} stage")
        self.conn.execute("DELETE FROM geoetl.outbox WHERE ref = %s", (claim.task_id,))
        plan = complete_stage(self.engine.services, claim) if at[1] == -1 else None
        older = tuple(replace(e, newest=False) if e.at == at else e for e in world.executions)
        return replace(world, executions=(*older, Execution(at, claim.attempt, True, claim, plan)))

    def _of_execution(self, rows: Rows, world: World, mine: Execution) -> Iterator[Step]:
        name, budget = f"{name_of(mine.at)}#{mine.attempt}", world.budget
        rest = list(world.executions)
        rest.remove(mine)
        gone = replace(world, executions=tuple(rest))
        task = rows.tasks[mine.at]
        owns = task.state == "running" and task.attempt == mine.attempt

        def finish() -> World:
            result, effects = (mine.plan[0], [mine.plan[1]]) if mine.plan else (result_of(mine.claim), [])
            accepted = self.ledger.finish(mine.claim, result, effects)
            if accepted and not mine.newest:
                raise Found(f"the result of the stale {name} was accepted")
            if accepted and mine.plan and rows.run not in {"queued", "running"}:
                raise Found(f"a {rows.run} run went on by {name}")
            return gone

        def after(act: Callable[[], Any], left: World = gone) -> Callable[[], World]:
            def do() -> World:
                act()
                return left

            return do

        yield Step(f"{name} finishes", finish)
        if budget.failures:
            less = replace(gone, budget=replace(budget, failures=budget.failures - 1))
            error = TransientError("away")
            yield Step(f"{name} retries", after(lambda: self.ledger.retry(mine.claim, error, 0.0), less), False)
            bad = BadData("broken")
            yield Step(f"{name} fails", after(lambda: self.ledger.fail(mine.claim, bad, None), less), False)
        if budget.crashes:
            less = replace(gone, budget=replace(budget, crashes=budget.crashes - 1))
            yield Step(f"{name} dies with its main process", lambda: less, False)
            yield Step(f"{name} dies", lambda: self._lose(rows, mine, less), False)
        if self.ledger.must_stop(mine.claim):
            yield Step(f"{name} is told to stop", after(lambda: self.ledger.stop(mine.claim)))
        if owns and task.lease == "live" and budget.stalls:
            less = replace(world, budget=replace(budget, stalls=budget.stalls - 1))
            yield Step(f"{name} stalls", after(lambda: self._expire(rows, mine.at), less), False)
        if owns and task.lease == "expired":
            yield Step(f"{name} beats late", after(lambda: self._beat(rows.ids[mine.at]), world), False)

    def _lose(self, rows: Rows, mine: Execution, left: World) -> World:
        """The main process reports a dead child."""
        self.ledger.lost(rows.ids[mine.at], _owner(mine.attempt), WorkerLostError("killed"))
        if not mine.newest and self.read() != rows:
            raise Found(f"the loss of the stale {name_of(mine.at)}#{mine.attempt} changed the task")
        # The backoff of a retry passes.
        self.conn.execute("UPDATE geoetl.task SET next_attempt_at = now() WHERE next_attempt_at > now()")
        return left

    def _beat(self, task_id: str) -> None:
        ((owner,),) = self.conn.execute("SELECT worker FROM geoetl.task WHERE id = %s", (task_id,)).fetchall()
        beat(self.conn, [(task_id, owner)], lease_s=30)

    def _of_time(self, rows: Rows, world: World) -> Iterator[Step]:
        for at, task in rows.tasks.items():
            owned = any(e.at == at and e.attempt == task.attempt for e in world.executions)
            if task.state == "running" and task.lease == "live" and not owned:
                yield Step(f"the lease of {name_of(at)} expires", lambda at=at: self._expire(rows, at, world))
        if any(t.lease == "expired" or t.state == "ready" for t in rows.tasks.values()):
            yield Step("the reaper reads and returns", lambda: self._reap(rows, world))
        for doomed in world.doomed:
            yield Step(
                f"the reaper fails {name_of(doomed[0])}", lambda doomed=doomed: self._fail_doomed(rows, world, doomed)
            )

        yield from self._of_deadline(rows, world)

    def _of_deadline(self, rows: Rows, world: World) -> Iterator[Step]:
        is_open = rows.run in {"queued", "running"}
        if world.budget.deadlines and is_open and not rows.overdue:
            less = replace(world, budget=replace(world.budget, deadlines=world.budget.deadlines - 1))
            yield Step("the deadline passes", lambda: self._pass_deadline(less), False)
        is_seen = self.conn.execute(REAPER["overdue"]).rowcount > 0
        if is_seen != (is_open and rows.overdue):
            raise Found(f"a {rows.run} run is {'' if rows.overdue else 'not '}overdue, the reaper thinks otherwise")
        if is_seen and not world.late:
            yield Step("the reaper reads what is overdue", lambda: replace(world, late=True))
        if world.late:
            yield Step("the reaper cancels what it read", lambda: self._cancel_overdue(rows, world))

    def _pass_deadline(self, left: World) -> World:
        # As if it had been given a minute, a little more than a minute ago.
        self.conn.execute("UPDATE geoetl.run SET deadline_s = 60, deadline = now() - interval '1 second'")
        return left

    def _cancel_overdue(self, rows: Rows, world: World) -> World:
        ((run_id,),) = self.conn.execute("SELECT id::text FROM geoetl.run").fetchall()
        if cancel_overdue_run(self.conn, self.job_id, run_id, deadline_s=60) and not rows.overdue:
            raise Found("a run was cancelled before its deadline")
        return replace(world, late=False)

    def _expire(self, rows: Rows, at: tuple[int, int], world: World | None = None) -> Any:
        query = "UPDATE geoetl.task SET lease_until = now() - interval '1 second' WHERE id = %s"
        self.conn.execute(query, (rows.ids[at],))
        return world

    def _reap(self, rows: Rows, world: World) -> World:
        """``Reaper.reap``, cut between reading the exhausted and failing them: a heartbeat may come in between."""
        self.conn.execute(REAPER["return_expired"])
        places = {task_id: at for at, task_id in rows.ids.items()}
        read = {(places[str(i)], attempt) for i, attempt in self.conn.execute(REAPER["exhausted"]).fetchall()}
        self.conn.execute(REAPER["stop_expired"])
        self.conn.execute(REAPER["skip_closed"])
        return replace(world, doomed=tuple(sorted({*world.doomed, *read})))

    def _fail_doomed(self, rows: Rows, world: World, doomed: tuple[tuple[int, int], int]) -> World:
        at, attempt = doomed
        task = rows.tasks[at]
        if fail_attempt(self.conn, rows.ids[at], attempt, LEASE_EXPIRED, expired=True) and task.lease == "live":
            raise Found(f"the reaper failed {name_of(at)} under a live lease")
        return replace(world, doomed=tuple(other for other in world.doomed if other != doomed))

    def _of_user(self, rows: Rows, world: World) -> Iterator[Step]:
        budget = world.budget
        if budget.cancels and rows.run in {"queued", "running"}:
            less = replace(world, budget=replace(budget, cancels=budget.cancels - 1))
            yield Step("cancel", lambda: (control.cancel(self.engine.services, self.job_id), less)[1], False)
        if budget.resumes and rows.run in {"failed", "cancelled"}:
            less = replace(world, budget=replace(budget, resumes=budget.resumes - 1))
            yield Step(
                "resume", lambda: (control.resume(self.engine.services, self.job_id), less)[1], False, is_resume=True
            )


def _owner(attempt: int) -> str:
    return f"w:{attempt}"


def result_of(claim: Claim) -> dict[str, int]:
    given = claim.facts.input
    return {"tasks": given["tasks"]} if claim.facts.name == "noop.count" else {"square": given["index"] ** 2}


def name_of(at: tuple[int, int]) -> str:
    return f"callback {at[0]}" if at[1] == -1 else f"task {at[0]}.{at[1]}"
