"""Closing a job's current run: one transaction of the caller."""

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries
from geoetl.models.refs import JobId, RunId
from geoetl.models.states import JobState

SQL = load_queries("geoetl.engine.sql", "jobs.sql")


def cancel_current_run(conn: Connection, job_id: JobId, *, by: str, only: RunId | None = None) -> bool:
    """Cancel the run of a job, its open stage and everything that waits in it; whether there was something to cancel.

    Args:
        conn: Inside a transaction.
        job_id: The job; its row is locked first, then its run (R14).
        by: Who asks, for the event.
        only: Leave any other run of the job alone.
    """
    conn.execute(SQL["lock_job"], {"job_id": job_id})
    row = conn.execute(SQL["lock_current_run"], {"job_id": job_id}).fetchone()
    if row is None or JobState(row[1]).is_final or only not in {None, str(row[0])}:
        return False
    conn.execute(SQL["cancel"], {"run_id": row[0], "by": by})
    return True
