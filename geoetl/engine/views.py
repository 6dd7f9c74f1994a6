"""Reading jobs: status, lists, tasks and events."""

from collections.abc import Collection, Iterator, Sequence

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries
from geoetl.engine.rows import Event, JobStatus, JobSummary, StageProgress, TaskStatus
from geoetl.errors import NotFound
from geoetl.models.refs import JobId, RunId
from geoetl.models.states import JobState, StageState, TaskState

SQL = load_queries("geoetl.engine.sql", "views.sql")
_COUNTED = (
    TaskState.READY,
    TaskState.RUNNING,
    TaskState.SUCCEEDED,
    TaskState.FAILED,
    TaskState.CANCELLED,
    TaskState.SKIPPED,
)
_PAGE = 500


def find_job(conn: Connection, prefix: str) -> JobId:
    """The id that begins with ``prefix``.

    Raises:
        NotFound: There is none, or more than one.
    """
    clean = prefix.strip().lower()
    rows = conn.execute(SQL["find_jobs"], {"prefix": clean}).fetchall() if clean.isalnum() else []
    if len(rows) != 1:
        found = "more than one job" if rows else "no job"
        raise NotFound(
            f"There is {found} whose id begins with {prefix!r}.",
            code="ambiguous-job" if rows else "job-missing",
            hint="`geoetl job list` shows ids.",
        )
    return JobId(rows[0][0])


def list_jobs(
    conn: Connection, *, state: JobState | None = None, job_type: str | None = None, limit: int = 20
) -> list[JobSummary]:
    """The newest jobs first."""
    rows = conn.execute(SQL["list_jobs"], {"state": state, "job_type": job_type, "limit": limit})
    return [_summary(row) for row in rows]


def job_status(conn: Connection, job_id: JobId) -> JobStatus:
    """A job, its current run and that run's stages.

    Raises:
        NotFound: There is no such job.
    """
    row = conn.execute(SQL["job"], {"id": job_id}).fetchone()
    if row is None:
        raise NotFound(f"There is no job {job_id}.", code="job-missing", hint="`geoetl job list` shows ids.")
    summary = _summary(row)
    stages = tuple(
        StageProgress(
            no=no,
            name=name,
            state=StageState(state),
            size=size,
            remaining=remaining,
            created_at=created_at,
            finished_at=finished_at,
            counts=dict(zip(_COUNTED, counts, strict=True)),
            underway=underway,
        )
        for no, name, state, size, remaining, created_at, finished_at, *counts, underway in conn.execute(
            SQL["stages"], {"run_id": summary.run_id}
        )
    )
    return JobStatus(summary, spec=row[12], result=row[11], deadline=row[13], pruned_at=row[14], stages=stages)


def tasks(
    conn: Connection, run_id: RunId, *, states: Collection[TaskState] | None = None, results: bool = True
) -> list[TaskStatus]:
    """Tasks of a run by stage and index; callbacks are left out unless they failed.

    Args:
        conn: To the app database.
        run_id: The run.
        states: Only tasks in one of these; None: all.
        results: Read what they returned, which may be most of what there is to read.
    """
    params = {"run_id": run_id, "states": None if states is None else list(states), "results": results}
    return [TaskStatus.of(row) for row in conn.execute(SQL["tasks"], params)]


def events(conn: Connection, run_id: RunId, *, after: int = 0) -> Iterator[Event]:
    """Events of a run in order, those after an event's id."""
    while page := events_page(conn, run_id, after=after):
        yield from page
        after = page[-1].id


def events_page(conn: Connection, run_id: RunId, *, after: int, told: Sequence[int] = ()) -> list[Event]:
    """The next events of a run after an event's id, as many as one statement gives; none: there are no more now.

    Those with the ids ``told`` are left out.
    """
    params = {"run_id": run_id, "after": after, "told": list(told), "limit": _PAGE}
    rows = conn.execute(SQL["events"], params).fetchall()
    return [
        Event(event_id, at, what, stage_no, stage, str(task_id) if task_id else None, *rest)
        for event_id, at, what, stage_no, stage, task_id, *rest in rows
    ]


def _summary(row: Sequence[object]) -> JobSummary:
    job_id, job_type, run_id, run_no, state, *rest = row[:11]
    return JobSummary(JobId(str(job_id)), str(job_type), RunId(str(run_id)), run_no, JobState(str(state)), *rest)  # pyright: ignore[reportArgumentType] - a database row
