"""Cancelling and resuming jobs."""

from geoetl.backend.queries import load_queries
from geoetl.engine.cancel import cancel_current_run
from geoetl.engine.services import Services
from geoetl.engine.submit import ring, user
from geoetl.errors import InvalidInput
from geoetl.models.refs import JobId
from geoetl.models.states import JobState

SQL = load_queries("geoetl.engine.sql", "jobs.sql")
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
        conn.execute(SQL["lock_job"], {"job_id": job_id})
        row = conn.execute(SQL["lock_current_run"], {"job_id": job_id}).fetchone()
        state = JobState(row[1]) if row else None
        if row is None or state not in {JobState.FAILED, JobState.CANCELLED}:
            raise InvalidInput(
                f"Job {job_id} is {state}; only a failed or cancelled job can be resumed.", code="not-resumable"
            )
        params = {"run_id": row[0], "no": row[2], "budget": RESUME_BUDGET, "by": user()}
        conn.execute(SQL["resume_run"], params)
        conn.execute(SQL["resume_tasks"], params)
        stage = conn.execute(SQL["resume_stage"], params).fetchone()
        assert stage is not None
        conn.execute(SQL["resume_ring"], {**params, "remaining": stage[0]})
    ring(services)
