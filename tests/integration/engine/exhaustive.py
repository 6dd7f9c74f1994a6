"""Every order of events of a small job, each step executed by the shipped code on a real database.

One connection, one transaction; a step is a savepoint, going back is a rollback. Within one transaction ``now()``
stands still, so time passes only where a step moves a lease. Messages are sticky: a task may be claimed at any time, as
often as duplicates could ask for it; that one *is* rung when it must run is checked as an outbox row.
"""

from dataclasses import dataclass, field
from typing import Any

import psycopg

from geoetl.engine.invariants import violations
from tests.integration.engine.small_world import Budget, Found, Rows, SmallWorld, Step, World, name_of


@dataclass
class Report:
    """What was seen."""

    states: int = 0
    steps: int = 0
    problem: str | None = None
    trace: list[str] = field(default_factory=list[str])


class Explorer:
    """Depth first over all steps from a submitted job."""

    def __init__(self, world: SmallWorld) -> None:
        self.small_world = world
        self.conn = world.conn
        self.report = Report()
        self._numbers: dict[Any, int] = {}
        self._edges: list[list[int]] = []
        self._goals: list[int] = []
        self._from: dict[int, tuple[int, str]] = {}

    def explore(self, budget: Budget) -> Report:
        """Everything that can happen to the job."""
        try:
            with self.conn.transaction(force_rollback=True):
                self._visit(self.small_world.read(), World((), budget), None, "submitted")
        except Found as found:
            self.report.problem = str(found)
        else:
            self._check_liveness()
        return self.report

    # ------------------------------------------------------------------ the search
    def _visit(self, rows: Rows, world: World, came_from: int | None, label: str) -> int:
        key = _key(rows, world)
        known = self._numbers.get(key)
        if known is not None:
            return known
        number = self._numbers[key] = len(self._edges)
        self._edges.append([])
        self.report.states += 1
        if came_from is not None:
            self._from[number] = (came_from, label)
        try:
            self._check_rows(rows)
            if _is_goal(rows, world):
                self._goals.append(number)
            for step in list(self.small_world.steps(rows, world)):
                self._take(step, rows, number)
        except Found:
            if not self.report.trace:
                self.report.trace = self._trace(number)
            raise
        return number

    def _take(self, step: Step, before: Rows, number: int) -> None:
        self.report.steps += 1
        try:
            with self.conn.transaction(force_rollback=True):
                world = step.act()
                after = self.small_world.read()
                _check_step(step, before, after)
                target = self._visit(after, world, number, step.label)
        except (Found, psycopg.Error) as exc:
            if not self.report.trace:
                self.report.trace = [*self._trace(number), step.label]
            raise exc if isinstance(exc, Found) else Found(f"{step.label}: {exc}") from exc
        if step.is_progress:
            self._edges[number].append(target)

    def _trace(self, number: int) -> list[str]:
        labels: list[str] = []
        while number in self._from:
            number, label = self._from[number]
            labels.append(label)
        return labels[::-1]

    def _check_liveness(self) -> None:
        """From everywhere the job can still end and all workers come to rest, without further faults or users."""
        into: list[list[int]] = [[] for _ in self._edges]
        for source, targets in enumerate(self._edges):
            for target in targets:
                into[target].append(source)
        fine, todo = set(self._goals), list(self._goals)
        while todo:
            for source in into[todo.pop()]:
                if source not in fine:
                    fine.add(source)
                    todo.append(source)
        stuck = [number for number in range(len(self._edges)) if number not in fine]
        if stuck:
            self.report.problem = f"stuck: the job can never end from {len(stuck)} of {len(self._edges)} states"
            self.report.trace = min((self._trace(number) for number in stuck), key=len)

    # ------------------------------------------------------------------ what must hold
    def _check_rows(self, rows: Rows) -> None:
        if broken := violations(self.conn):
            raise Found(str(broken[0]))
        for (no, idx), task in rows.tasks.items():
            is_due = rows.stages[no][0] == ("completing" if idx == -1 else "running")
            if task.state == "ready" and is_due and not task.rung:
                raise Found(f"nobody rings for the ready task {no}.{idx}")


def _key(rows: Rows, world: World) -> Any:
    """States that differ only in which of two equal tasks is which are one."""
    busy: dict[tuple[int, int], tuple[Any, ...]] = {}
    for execution in world.executions:
        known = busy.get(execution.at, ())
        busy[execution.at] = tuple(sorted((*known, (execution.attempt, execution.newest))))
    doomed = dict(world.doomed)
    described: list[Any] = []
    for at, task in rows.tasks.items():
        is_done = task.state == "succeeded"
        # What is done never changes again: how it came about, or who still rings for it, makes no difference.
        shown = ("succeeded",) if is_done else (task.state, task.attempt, task.max_attempts, task.lease, task.rung)
        described.append((at[0], at[1] == -1, shown, busy.get(at, ()), doomed.get(at, 0)))
    return (rows.run, rows.cur_stage, rows.overdue, rows.stages, tuple(sorted(described)), world.budget, world.late)


def _is_goal(rows: Rows, world: World) -> bool:
    at_rest = all(task.state not in {"ready", "running"} for task in rows.tasks.values())
    return rows.run in {"completed", "failed", "cancelled"} and at_rest and not world.executions


def _check_step(step: Step, before: Rows, after: Rows) -> None:
    final = {"completed", "failed", "cancelled"}
    if before.run in final and after.run != before.run and not step.is_resume:
        raise Found(f"{step.label}: a {before.run} run became {after.run}")
    if step.is_resume and after.overdue:
        raise Found(f"{step.label}: the run went on past its deadline")
    for at, task in before.tasks.items():
        now = after.tasks[at]
        if now.attempt < task.attempt:
            raise Found(f"{step.label}: the attempt of {name_of(at)} went from {task.attempt} to {now.attempt}")
        ended = {"succeeded"} if step.is_resume else {"succeeded", "failed", "cancelled", "skipped"}
        if task.state in ended and now.state != task.state:
            raise Found(f"{step.label}: {name_of(at)} was {task.state} and became {now.state}")
