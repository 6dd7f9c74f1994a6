"""Who keeps the state of fenced tasks: the seam between Celery's life of a task and the rows of an application."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import psycopg

type Connection = psycopg.Connection[tuple[Any, ...]]

#: Runs inside the transaction that finishes a task, after the finish was accepted.
type FinishEffect = Callable[[Connection], None]

_BOOT_VARIABLE = "GEOETL_WORKER_BOOT"


def new_boot() -> None:
    """Name this worker process tree anew. Called in the main process before the pool starts."""
    # With the host's name, so that whoever reads of an owner finds its log.
    os.environ[_BOOT_VARIABLE] = f"{socket.gethostname()[:40]}-{uuid4().hex[:8]}"


def owner(pid: int | None = None) -> str:
    """The owner of claims made by process ``pid`` (this one by default) of this worker: ``boot:pid``.

    The boot part tells two workers apart whose pids collide, on two hosts or after a restart.
    """
    return f"{os.environ.get(_BOOT_VARIABLE, 'client')}:{pid or os.getpid()}"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a task: ``attempt`` is the fencing token, every later statement repeats it."""

    task_id: str
    attempt: int
    facts: Any
    """Whatever the ledger knows of the task; the backend only carries it."""


class TaskLedger(Protocol):
    """Keeps the state of the tasks whose messages name it."""

    def claim(self, task_id: str, owner: str) -> Claim | None:
        """Become the owner of a task that is ready; None where there is nothing to do (duplicate, closed, not due)."""
        ...

    def finish(self, claim: Claim, result: Any, effects: list[FinishEffect]) -> bool:
        """Record the result and run the effects in one transaction; False where the lease was lost."""
        ...

    def retry_delay(self, claim: Claim, error: BaseException) -> float | None:
        """Seconds until another attempt, or None to fail the task."""
        ...

    def retry(self, claim: Claim, error: BaseException, delay_s: float) -> bool:
        """Give the task back for another attempt; False where the lease was lost."""
        ...

    def fail(self, claim: Claim, error: BaseException, traceback: str | None) -> bool:
        """End the task as failed; False where the lease was lost."""
        ...

    def lost(self, task_id: str, owner: str, error: BaseException) -> None:
        """The main process saw that ``owner`` died or was ended while it worked on the task."""
        ...

    def revoked(self, task_id: str, *, age_s: float, owner: str | None) -> bool:
        """The task was revoked in Celery ``age_s`` ago: end it, and what cannot go on without it.

        Args:
            task_id: What was revoked.
            age_s: In seconds. Workers remember a revoked id, and ask again when a message of it arrives.
            owner: Of the process that was ended for it; None where none was.

        Returns:
            Whether that still holds; False to run the task after all, because it was started anew since.
        """
        ...
