"""Chores of the leading relay: deadlines, lost leases, closed stages, lost messages."""

from dataclasses import dataclass, field
from typing import Protocol

from geoetl.backend.chores import Chore
from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries
from geoetl.engine.cancel import cancel_overdue_run
from geoetl.engine.ledger import fail_attempt
from geoetl.models.refs import JobId, RunId

SQL = load_queries("geoetl.engine.sql", "reaper.sql")
LEASE_EXPIRED = {
    "code": "lease-expired",
    "message": "The worker stopped reporting while it held the task's last attempt.",
    "hint": "See the worker's log; `geoetl job resume` starts the unfinished tasks again.",
    "blame": "us",
    "type": "LeaseExpired",
}


class Backlog(Protocol):
    """What the broker holds."""

    def messages(self, queue: str) -> int | None:
        """Messages of a queue, waiting or with a worker; None where the broker does not say now."""
        ...


class UnknownBacklog:
    """For a broker that cannot be asked: no silence is ever explained, only the doubled waits limit what is sent."""

    def messages(self, queue: str) -> int | None:
        return 0


@dataclass(frozen=True, slots=True)
class _Silence:
    """A queue with tasks that nobody has claimed for too long."""

    expected: int
    """Messages that the broker should hold."""
    is_idle: bool
    """Nobody works or did lately, and no task that was sent again is still to be waited for."""


@dataclass(frozen=True, slots=True)
class Reaper:
    """Returns what dead workers held, and sends again what was never heard."""

    every_s: float
    backlog: Backlog = field(default_factory=UnknownBacklog)
    resend_s: float = 60.0
    """First wait before a message that nobody claimed is sent again; doubles per task."""
    resend_cap_s: float = 3600.0

    def reap(self, conn: Connection) -> int:
        """Cancel what is overdue, return expired leases, fail the exhausted, close what is of closed stages.

        Returns:
            How many rows were changed.
        """
        changed = self.expire(conn)
        changed += conn.execute(SQL["return_expired"]).rowcount
        for task_id, attempt in conn.execute(SQL["exhausted"]).fetchall():
            changed += fail_attempt(conn, task_id, attempt, LEASE_EXPIRED, expired=True)
        changed += conn.execute(SQL["stop_expired"]).rowcount
        changed += conn.execute(SQL["skip_closed"]).rowcount
        return changed

    def expire(self, conn: Connection) -> int:
        """Cancel the runs that are past their deadline; how many."""
        rows = conn.execute(SQL["overdue"]).fetchall()
        return sum(
            cancel_overdue_run(conn, JobId(job_id), RunId(str(run_id)), deadline_s=deadline_s)
            for job_id, run_id, deadline_s in rows
        )

    def resend(self, conn: Connection) -> int:
        """Put forgotten tasks back into the outbox; how many.

        A task that waits behind thousands of others is not forgotten. So a queue is sent only as many messages as the
        broker holds too few; which ones were lost nobody knows, and whoever claims makes the next shortage visible.

        Where the broker holds enough and still nobody works, there is no worker, or a frozen one has the messages until
        their locks run out. Then one task at a time is sent again, which costs an idle queue a few messages a day.
        """
        sent = 0
        for queue, before in self._silent_queues(conn).items():
            held = self.backlog.messages(queue)
            # Asked again: what was done while the broker counted is not missing.
            after = self._silent_queues(conn).get(queue)
            if held is None or after is None:
                continue
            missing = min(before.expected, after.expected) - held
            if missing <= 0 and before.is_idle and after.is_idle:
                missing = 1
            if missing > 0:
                sent += conn.execute(SQL["resend"], {**self._waits, "queue": queue, "missing": missing}).rowcount
        return sent

    def _silent_queues(self, conn: Connection) -> dict[str, _Silence]:
        return {
            queue: _Silence(expected, is_idle=not is_worked_on and not is_trying)
            for queue, expected, is_worked_on, is_trying in conn.execute(SQL["backlog"], self._waits)
        }

    @property
    def _waits(self) -> dict[str, float]:
        return {"resend_s": self.resend_s, "resend_cap_s": self.resend_cap_s}

    def chores(self) -> tuple[Chore, ...]:
        """For the relay."""
        return (
            Chore("reap", self.every_s, self.reap),
            Chore("resend", min(max(self.every_s, 5.0), self.resend_s), self.resend),
        )
