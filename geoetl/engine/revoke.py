"""What Celery's revoke means here: the job of the task is cancelled.

A stage needs every one of its tasks, so a job that lost one could only wait for ever. Whoever revokes a task, in Flower
or with ``celery control revoke``, therefore ends its job as ``geoetl cancel`` does, and may resume it.
"""

from celery.utils.log import get_logger

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries
from geoetl.engine.cancel import cancel_current_run
from geoetl.models.refs import JobId, RunId

log = get_logger(__name__)
TASKS = load_queries("geoetl.engine.sql", "tasks.sql")
JOBS = load_queries("geoetl.engine.sql", "jobs.sql")

#: Who cancelled the job, as its event says.
BY = "revoke in Celery"


def revoke(conn: Connection, task_id: str, *, age_s: float, owner: str | None) -> bool:
    """Cancel the job of a task, and give up the attempt whose process was killed for it.

    Args:
        conn: To the app database.
        task_id: The revoked task.
        age_s: Seconds since it was revoked. Workers remember a revoked id for hours, so it may come up again.
        owner: Of the killed process (``boot:pid``); None where the task had not begun.

    Returns:
        False where the job has been resumed since: the revoke is spent, and the task shall run.
    """
    with conn.transaction():
        row = conn.execute(JOBS["run_of_task"], {"id": task_id}).fetchone()
        if row is None:
            return True
        job_id, run_id = row
        # Locked before it is asked: a resume that commits meanwhile would be cancelled by what it has just undone.
        conn.execute(JOBS["lock_job"], {"job_id": job_id})
        resumed = conn.execute(JOBS["is_resumed"], {"run_id": run_id, "age_s": age_s}).fetchone()
        if resumed is not None and resumed[0]:
            return False
        if cancel_current_run(conn, JobId(job_id), by=BY, only=RunId(str(run_id))):
            log.info("job cancelled: a task of it was revoked job=%s task=%s", job_id, task_id)
    if owner is not None and (
        attempt := conn.execute(TASKS["owned_attempt"], {"id": task_id, "worker": owner}).fetchone()
    ):
        conn.execute(TASKS["cancel_attempt"], {"id": task_id, "attempt": attempt[0]})
    return True
