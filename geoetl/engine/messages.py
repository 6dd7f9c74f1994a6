"""Messages of stage tasks: the template that Celery built, addressed to one task."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from geoetl.backend.ledger import Connection
from geoetl.backend.messages import Message
from geoetl.backend.queries import load_queries
from geoetl.engine.ledger import fail_attempt
from geoetl.telemetry import redact

SQL = load_queries("geoetl.engine.sql", "tasks.sql")

#: Enough of a job's id for `geoetl job status`, and for a column of a table.
SHOWN_ID_CHARS = 12


class TaskMessages:
    """Outbox rows of stage tasks only name the task; this makes their messages."""

    def messages(self, conn: Connection, refs: Sequence[UUID]) -> Mapping[UUID, Message]:
        """Messages of the tasks that are still ready."""
        found: dict[UUID, Message] = {}
        rows = conn.execute(SQL["templates"], {"ids": list(refs)})
        for task_id, envelope, body, label, run_id, idx, stage, job_id in rows:
            template = Message.restore(envelope, bytes(body))
            found[task_id] = template.addressed(
                str(task_id),
                root_id=str(run_id),
                group=str(run_id),
                group_index=idx,
                # What Flower and `celery inspect` show of a task without arguments: its row has them. Flower's search
                # reads the second, `kwargs:stage=convert`.
                argsrepr=label,
                kwargsrepr=repr({"stage": stage, "job": job_id[:SHOWN_ID_CHARS]}),
            )
        return found

    def published(self, conn: Connection, refs: Sequence[UUID]) -> None:
        """Remember when, so that a lost message is noticed."""
        conn.execute(SQL["published"], {"ids": list(refs)})

    def unpublishable(self, conn: Connection, ref: UUID, problem: str) -> None:
        """Fail the task: nobody will ever hear of it."""
        conn.execute(SQL["lock_run_of_task"], {"id": ref})
        row = conn.execute(SQL["seize"], {"id": ref}).fetchone()
        if row is not None:
            error = {
                "code": "unpublishable",
                "message": f"The task's message cannot be sent: {redact(problem)}",
                "blame": "us",
                "type": "SystemFault",
            }
            fail_attempt(conn, ref, row[0], error, expired=False)
