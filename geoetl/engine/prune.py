"""Retention: removes what ended long ago, and nothing that a later submit must still find."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries
from geoetl.chains.registry import DEFINITIONS
from geoetl.engine.services import Services
from geoetl.models.refs import RunId
from geoetl.models.states import JobState

SQL = load_queries("geoetl.engine.sql", "prune.sql")
JOBS = load_queries("geoetl.engine.sql", "jobs.sql")
_PAGE = 500
_DELETES = ("delete_bells", "delete_events", "delete_tasks", "delete_templates", "delete_stages")


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was removed, or would be."""

    jobs: int = 0
    """With all of their runs."""
    runs: int = 0
    stripped_runs: int = 0
    """Of these the row was kept: what they published is still what the catalogue shows."""
    tasks: int = 0
    events: int = 0
    parked_messages: int = 0
    """Messages that could never be published."""

    def __add__(self, other: "Pruned") -> "Pruned":
        return Pruned(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class _Run:
    sequence: int
    id: str
    job_id: str
    job_type: str
    state: str
    is_current: bool


def prune(services: Services, *, age_s: float, dry_run: bool = False) -> Pruned:
    """Remove jobs and runs that ended more than ``age_s`` ago, with stages, tasks, events and messages.

    Each run is a transaction of its own, which locks the job and then the run, and looks again: a run that was resumed
    meanwhile is left alone. A completed run is only stripped while the ledger of artefacts says that what it published
    is what is visible: an equal submit asks exactly that, and must find the run to ask for.

    Args:
        services: The process's parts.
        age_s: Younger ones stay.
        dry_run: Only count.

    Raises:
        TransientError: A database is away; what was removed before stays removed.
    """
    total = Pruned()
    conn = services.connections()
    for run in _ended(conn, age_s):
        is_needed = _is_needed(services, run)
        if dry_run:
            total += _would(conn, run, is_needed=is_needed)
        else:
            total += _prune_run(conn, run, age_s=age_s, is_needed=is_needed)
    row = conn.execute(SQL["count_parked" if dry_run else "delete_parked"], {"age_s": age_s})
    parked = row.fetchone() if dry_run else (row.rowcount,)
    return replace(total, parked_messages=parked[0] if parked else 0)


def _ended(conn: Connection, age_s: float) -> Iterator[_Run]:
    after = 0
    while page := conn.execute(SQL["ended"], {"age_s": age_s, "after": after, "limit": _PAGE}).fetchall():
        for row in page:
            run = _Run(*row)
            after = run.sequence
            yield run


def _is_needed(services: Services, run: _Run) -> bool:
    """Whether a submit of the same job would still be answered "already done" because of this run."""
    definition = DEFINITIONS.get(run.job_type)
    if not run.is_current or run.state != JobState.COMPLETED or definition is None or not definition.is_published:
        return False
    return services.published.is_published(RunId(run.id))


def _prune_run(conn: Connection, run: _Run, *, age_s: float, is_needed: bool) -> Pruned:
    params: dict[str, Any] = {"run_id": run.id, "job_id": run.job_id, "age_s": age_s}
    with conn.transaction():
        conn.execute(JOBS["lock_job"], params)
        row = conn.execute(SQL["lock_ended"], params).fetchone()
        if row is None:
            return Pruned()
        horizon = conn.execute(SQL["hold_horizon"]).fetchone()
        params["horizon"] = horizon[0] if horizon else 0
        deleted = {block: conn.execute(SQL[block], params).rowcount for block in _DELETES}
        made = Pruned(tasks=deleted["delete_tasks"], events=deleted["delete_events"])
        # A newer run that began meanwhile is the one that answers.
        if is_needed and row[0]:
            return replace(made, stripped_runs=conn.execute(SQL["strip_run"], params).rowcount)
        conn.execute(SQL["delete_run"], params)
        return replace(made, runs=1, jobs=conn.execute(SQL["delete_job"], params).rowcount)


def _would(conn: Connection, run: _Run, *, is_needed: bool) -> Pruned:
    """What `_prune_run` would come to."""
    row = conn.execute(SQL["count"], {"run_id": run.id}).fetchone()
    tasks, events = row or (0, 0)
    made = Pruned(tasks=tasks, events=events)
    if is_needed:
        return replace(made, stripped_runs=int(tasks + events > 0))
    # A job goes with its current run: its other runs are older.
    return replace(made, runs=1, jobs=int(run.is_current))
