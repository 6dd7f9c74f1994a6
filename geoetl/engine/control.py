"""Cancelling, resuming and retrying jobs."""

from collections.abc import Sequence

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries
from geoetl.engine.cancel import cancel_current_run
from geoetl.engine.rows import task_number
from geoetl.engine.services import Services
from geoetl.engine.submit import ring, user
from geoetl.errors import InvalidInput
from geoetl.models.refs import JobId
from geoetl.models.states import JobState

SQL = load_queries("geoetl.engine.sql", "jobs.sql")
#: So many characters of a task's id may stand for it.
_ID_CHARS = 8
#: Attempts that every unfinished task gets at a resume.
RESUME_BUDGET = 3


def cancel(services: Services, job_id: JobId) -> bool:
    """Close a job's run and everything that waits in it; running tasks are told by their heartbeat.

    Returns:
        Whether there was something to cancel.
    """
    conn = services.connections()
    with conn.transaction():
        return cancel_current_run(conn, job_id, by=user())


def resume(services: Services, job_id: JobId) -> None:
    """Go on with a failed or cancelled job at the stage where it ended; what succeeded is kept.

    Raises:
        InvalidInput: The job is not failed or cancelled.
    """
    conn = services.connections()
    with conn.transaction():
        run_id, state, stage_no = _lock(conn, job_id)
        if state not in {JobState.FAILED, JobState.CANCELLED}:
            raise InvalidInput(
                f"Job {job_id} is {state}; only a failed or cancelled job can be resumed.", code="not-resumable"
            )
        _reopen(conn, run_id, stage_no, what="job resumed", budget=RESUME_BUDGET)
    ring(services)


def retry(
    services: Services, job_id: JobId, *, tasks: Sequence[str] = (), attempts: int = RESUME_BUDGET
) -> tuple[str, ...]:
    """Give the failed tasks of a failed job new attempts; the job goes on with them and what was skipped for them.

    A stage needs all of its tasks. So where tasks are named, they must be all that failed: whoever names them says
    "these I have looked at", and learns of those that were overlooked.

    Args:
        services: The process's parts.
        job_id: A failed job.
        tasks: Numbers (``2.1``), ids or labels of failed tasks; none: whichever failed.
        attempts: How many each gets, at least one.

    Returns:
        Numbers of the tasks that had failed.

    Raises:
        InvalidInput: The job has not failed, a named task has not, or one that has is not named; no attempt is given.
    """
    if attempts < 1:
        raise InvalidInput(
            f"A retry with {attempts} attempts would start nothing, and the job would never end.",
            code="bad-attempts",
            hint="Give 1 or more.",
        )
    conn = services.connections()
    with conn.transaction():
        run_id, state, stage_no = _lock(conn, job_id)
        if state is not JobState.FAILED:
            raise InvalidInput(
                f"Job {job_id} is {state}; only the tasks of a failed job can be retried.",
                code="not-retryable",
                hint="`geoetl job resume` goes on with a cancelled job." if state is JobState.CANCELLED else "",
            )
        rows = conn.execute(SQL["failed_tasks"], {"run_id": run_id, "no": stage_no}).fetchall()
        failed = {task_number(no, idx): (task_id, label) for task_id, no, idx, label in rows}
        if tasks:
            _require_all_named(failed, tasks, job_id)
        _reopen(conn, run_id, stage_no, what="job retried", budget=attempts)
    ring(services)
    return tuple(failed)


def _lock(conn: Connection, job_id: JobId) -> tuple[object, JobState | None, int]:
    """The current run, locked after its job (R14): id, state and stage."""
    conn.execute(SQL["lock_job"], {"job_id": job_id})
    row = conn.execute(SQL["lock_current_run"], {"job_id": job_id}).fetchone()
    return (None, None, 0) if row is None else (row[0], JobState(row[1]), row[2])


def _require_all_named(failed: dict[str, tuple[str, str]], named: Sequence[str], job_id: JobId) -> None:
    meant: set[str] = set()
    for word in named:
        found = {
            number
            for number, (task_id, label) in failed.items()
            if word in {number, label} or (len(word) >= _ID_CHARS and task_id.startswith(word))
        }
        if not found:
            raise InvalidInput(
                f"No task {word!r} has failed in job {job_id}; failed are {', '.join(failed)}.",
                code="task-not-failed",
                hint="`geoetl job tasks --failed` lists them; a task is named by its number, its id or its label.",
            )
        meant |= found
    if left := sorted(failed.keys() - meant):
        raise InvalidInput(
            f"Nothing was retried: {', '.join(left)} failed as well, and the stage needs all its tasks.",
            code="other-tasks-failed",
            hint="Look at them with `geoetl job show-task`, then name them too, or leave --task out.",
        )


def _reopen(conn: Connection, run_id: object, stage_no: int, *, what: str, budget: int) -> None:
    """Every unfinished task of the stage to ready (R7), the stage and the run open (R9), bells for what is due."""
    params = {"run_id": run_id, "no": stage_no, "budget": budget, "by": user(), "what": what}
    conn.execute(SQL["resume_run"], params)
    conn.execute(SQL["resume_tasks"], params)
    stage = conn.execute(SQL["resume_stage"], params).fetchone()
    assert stage is not None
    conn.execute(SQL["resume_ring"], {**params, "remaining": stage[0]})
