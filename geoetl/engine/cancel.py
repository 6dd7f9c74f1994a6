"""Closing a job's current run: one transaction of the caller."""

from typing import Any

from psycopg.types.json import Jsonb

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries
from geoetl.models.refs import JobId, RunId
from geoetl.models.states import JobState

SQL = load_queries("geoetl.engine.sql", "jobs.sql")

#: Who cancelled a job that was past its deadline, as its event says.
BY_DEADLINE = "deadline"


def cancel_current_run(conn: Connection, job_id: JobId, *, by: str, only: RunId | None = None) -> bool:
    """Cancel the run of a job, its open stage and everything that waits in it; whether there was something to cancel.

    Args:
        conn: Inside a transaction.
        job_id: The job; its row is locked first, then its run (R14).
        by: Who asks, for the event.
        only: Leave any other run of the job alone.
    """
    return _cancel(conn, job_id, only, {"by": by, "error": None, "overdue": False})


def cancel_overdue_run(conn: Connection, job_id: JobId, run_id: RunId, *, deadline_s: float) -> bool:
    """Cancel a run past its deadline, in a transaction of its own; False where it has ended or got more time since."""
    with conn.transaction():
        return _cancel(conn, job_id, run_id, {"by": BY_DEADLINE, "error": Jsonb(_error(deadline_s)), "overdue": True})


def _cancel(conn: Connection, job_id: JobId, only: RunId | None, params: dict[str, Any]) -> bool:
    conn.execute(SQL["lock_job"], {"job_id": job_id})
    row = conn.execute(SQL["lock_current_run"], {"job_id": job_id}).fetchone()
    if row is None or JobState(row[1]).is_final or only not in {None, str(row[0])}:
        return False
    return conn.execute(SQL["cancel"], {"run_id": row[0], **params}).fetchone() is not None


def _error(deadline_s: float) -> dict[str, str]:
    return {
        "code": "deadline-passed",
        "message": f"The job had not ended {deadline_s:g} s after it was started, so it was cancelled.",
        "hint": "`geoetl job resume` goes on from there with as much time again; what succeeded is kept.",
        "blame": "user",
        "type": "DeadlinePassed",
    }
