"""The Celery task class that claims before it works, and the worker's request that names lost owners."""

import time
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.log import get_task_logger
from celery.worker.request import Request
from celery.worker.state import revoked as revoked_tasks

from geoetl.backend.ledger import Claim, FinishEffect, TaskLedger, owner

log = get_task_logger(__name__)

#: Header that names the ledger of a fenced task. A task without it is a plain Celery task.
LEDGER_HEADER = "ledger"


def seconds_since_revoke(task_id: str) -> float:
    """How long this worker has known that a task is revoked; 0 where it does not know the task."""
    revoked_at: float | None = revoked_tasks.as_dict().get(task_id)
    return 0.0 if revoked_at is None else max(0.0, time.monotonic() - revoked_at)


class StopAttempt(Exception):
    """Raised by code that has learned that its lease is gone: the attempt ends, and nothing of it is stored."""


def ledger_of(app: Any, request: Any) -> TaskLedger | None:
    """The ledger that keeps the state of this request's task, if its message names one."""
    name = request.get(LEDGER_HEADER) if request is not None else None
    return app.ledgers[name] if name else None


class FencedRequest(Request):
    """Main process: tells the backend which process had a task that was lost or ran out of time."""

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """Record the owner, then let Celery classify the failure."""
        self._name_owner()
        return super().on_failure(exc_info, *args, **kwargs)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """Record the owner, then let Celery end the task."""
        self._name_owner()
        return super().on_timeout(soft, timeout)

    def revoked(self) -> bool:
        """Ask the ledger whether the revoke of a task still holds, then let Celery drop the message."""
        app: Any = self.app
        ledger = ledger_of(app, self._context)
        if ledger is not None and self.id in revoked_tasks:
            try:
                is_revoked = ledger.revoked(self.id, age_s=seconds_since_revoke(self.id), owner=None)
            except app.database_errors:
                # Celery drops the message; the ledger publishes another one when the task stays ready.
                log.warning("revoke not recorded task=%s", self.id, exc_info=True)
            else:
                if not is_revoked:
                    revoked_tasks.discard(self.id)
        return super().revoked()

    def _announce_revoked(self, reason: Any, terminated: Any, signum: Any, expired: Any) -> None:
        self._name_owner()
        super()._announce_revoked(reason, terminated, signum, expired)

    def _name_owner(self) -> None:
        if self.worker_pid:
            self._context.lost_owner = owner(self.worker_pid)  # pyright: ignore[reportAttributeAccessIssue] - Celery's open namespace


class FencedTask(Task):
    """Claims its row before it runs, and finishes it only while the claim holds.

    Subclasses may define ``run`` alone: the hooks below carry the fence.
    """

    abstract = True
    Request = "geoetl.backend.task:FencedRequest"
    acks_late = True
    # A lost child's row goes back to its ledger at once (see PostgresBackend), so the message has done its work.
    reject_on_worker_lost = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for hook in ("before_start", "__call__"):
            if hook in cls.__dict__:
                raise TypeError(f"{cls.__qualname__} overrides {hook}, which carries the fence: a duplicate would run")

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """In the child, inside Celery's trace, before ``run``. ``Ignore`` acknowledges the message, stores nothing."""
        ledger = ledger_of(self.app, self.request)
        if ledger is None:
            return
        try:
            claim = ledger.claim(task_id, owner())
        except self.app.database_errors as exc:
            # Nothing was started: the message goes back and finds the database again.
            raise Reject(exc, requeue=True) from exc
        if claim is None:
            raise Ignore("nothing to claim: done, owned by another worker, closed or not yet due")
        self.request.claim = claim
        self.request.effects = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and let the ledger decide what an error means."""
        ledger = None if self.request.called_directly else ledger_of(self.app, self.request)
        if ledger is None:
            return self.run(*args, **kwargs)
        claim = self.claim
        try:
            return self.run(*args, **kwargs)
        except (Ignore, Retry):
            raise
        except StopAttempt as exc:
            log.warning("attempt stopped: lease lost task=%s attempt=%s", claim.task_id, claim.attempt)
            raise Ignore("lease lost") from exc
        except Exception as exc:
            delay_s = ledger.retry_delay(claim, exc)
            if delay_s is None:
                raise
            # Not published: the ledger's row and its outbox row are the retry. Celery shows `task-retried`.
            self.request.retry_delay_s = delay_s
            raise Retry(exc=exc, when=delay_s) from exc

    @property
    def claim(self) -> Claim:
        """The claim of the attempt that runs now."""
        return self.request.claim

    def on_finish(self, effect: FinishEffect) -> None:
        """Have ``effect`` run inside the transaction that accepts this attempt's result."""
        self.request.effects.append(effect)
