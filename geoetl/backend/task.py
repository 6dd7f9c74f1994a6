"""The Celery task class that claims before it works, and the worker's request that names lost owners."""

import time
from functools import cache
from typing import Any, cast

from billiard.einfo import ExceptionInfo
from celery import Task
from celery.app.task import get_actual_ignore_result
from celery.canvas import Signature
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.log import get_task_logger
from celery.worker.request import Request
from celery.worker.state import revoked as revoked_tasks

from geoetl.backend.app import OutboxCelery
from geoetl.backend.claims import PlainClaims, send_of, version_of
from geoetl.backend.connections import close_mine
from geoetl.backend.ledger import Claim, FinishEffect, TaskLedger, owner
from geoetl.backend.messages import Captured, capture, start_capturing, stop_capturing

log = get_task_logger(__name__)

#: Header that names the ledger of a fenced task. A task without it is a plain Celery task.
LEDGER_HEADER = "ledger"


def seconds_since_revoke(task_id: str) -> float:
    """How long this worker has known that a task is revoked; 0 where it does not know the task."""
    revoked_at: float | None = revoked_tasks.as_dict().get(task_id)
    return 0.0 if revoked_at is None else max(0.0, time.monotonic() - revoked_at)


class StopAttempt(Exception):
    """Raised by code that has learned that its lease is gone: the attempt ends, and nothing of it is stored."""


class _Replaced(Ignore):
    """The task has been replaced, and its claim given up with that."""


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
        if self.id in revoked_tasks and (ledger := ledger_of(self.app, self._context)) is not None:
            app: Any = self.app
            try:
                is_revoked = ledger.revoked(self.id, age_s=seconds_since_revoke(self.id), owner=None)
            except app.database_errors:
                # Celery drops the message; the ledger publishes another one when the task stays ready.
                log.warning("revoke not recorded task=%s", self.id, exc_info=True)
            else:
                if not is_revoked:
                    revoked_tasks.discard(self.id)
            finally:
                close_mine(app.connections)
        return super().revoked()

    def _announce_revoked(self, reason: Any, terminated: Any, signum: Any, expired: Any) -> None:
        self._name_owner()
        super()._announce_revoked(reason, terminated, signum, expired)

    def reject(self, requeue: bool = False) -> Any:
        """Give the message back; its next delivery need not wait for the lease of a process that is gone."""
        claims: PlainClaims | None = getattr(self.task.backend, "claims", None)
        if requeue and claims is not None and self.worker_pid:
            try:
                claims.release(self.id, owner=owner(self.worker_pid))
            except getattr(self.app, "database_errors", ()):
                log.warning("claim not released, its lease decides: task=%s", self.id, exc_info=True)
        return super().reject(requeue=requeue)

    def _name_owner(self) -> None:
        if self.worker_pid:
            self._context.lost_owner = owner(self.worker_pid)  # pyright: ignore[reportAttributeAccessIssue] - Celery's open namespace


class FencedTask(Task):
    """Claims its row before it runs, and finishes it only while the claim holds.

    Subclasses may define ``run`` alone: the hooks below carry the fence. A base class of an application's own is
    made fenced by `fenced`, which keeps its hooks.
    """

    abstract = True
    Request = "geoetl.backend.task:FencedRequest"
    #: True, unless the task or the application's `task_acks_late` says otherwise.
    acks_late = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for hook in ("before_start", "__call__", "retry", "on_replace"):
            if hook in cls.__dict__:
                raise TypeError(f"{cls.__qualname__} overrides {hook}, which carries the fence: a duplicate would run")

    @classmethod
    def bind(cls, app: Any) -> Any:
        """As in Celery; a task that was not asked acknowledges late, so that a worker that dies loses none."""
        if cls.acks_late is None:
            app.conf.task_acks_late  # noqa: B018 - has the configuration loaded
            *said, _celerys_own = app._conf.maps
            cls.acks_late = next((layer["task_acks_late"] for layer in said if "task_acks_late" in layer), True)
        return super().bind(app)

    # ------------------------------------------------------------------ claiming
    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """In the child, inside Celery's trace, before ``run``. ``Ignore`` acknowledges the message, stores nothing."""
        # A task that died while it ended must not leave its messages to the next one.
        stop_capturing()
        ledger = ledger_of(self.app, self.request)
        try:
            if ledger is not None:
                self._claim_in(ledger, task_id)
            elif not self.request.is_eager and (claims := _plain_claims(self)) is not None:
                self._claim_plainly(claims, task_id)
        except self._database_errors() as exc:
            # Nothing was started: the message goes back and finds the database again.
            raise Reject(exc, requeue=True) from exc
        super().before_start(task_id, args, kwargs)

    def _claim_in(self, ledger: TaskLedger, task_id: str) -> None:
        claim = ledger.claim(task_id, owner())
        if claim is None:
            raise Ignore("nothing to claim: done, owned by another worker, closed or not yet due")
        self.request.claim = claim
        self.request.effects = []

    def _claim_plainly(self, claims: PlainClaims, task_id: str) -> None:
        request = self.request
        version = version_of(request)
        mine = owner()
        meta = None
        if self.track_started and not get_actual_ignore_result(self, request):
            started = {"pid": int(mine.rpartition(":")[2]), "hostname": request.hostname}
            meta = self.backend.encoded_meta(started, "STARTED", request=request)
        claim = claims.claim(task_id, version, owner=mine, meta=meta, send=send_of(request))
        if claim is None:
            if claims.is_running(task_id, version):
                # Its owner may be dead, and this its only message: look again when the lease has ended.
                with capture() as copies:
                    cast("Signature", self.signature_from_request(request)).apply_async(add_to_parent=False)
                for copy in copies.messages:
                    claims.put_aside(copy, task_id, version)
            raise Ignore("nothing to claim: ended, or owned by another worker")
        request.plain_claim = claim
        request.unit = Captured()

    def _database_errors(self) -> tuple[type[BaseException], ...]:
        return getattr(self.app, "database_errors", ())

    # ------------------------------------------------------------------ running
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and let the ledger decide what an error means."""
        if self.request.called_directly:
            return self._body(*args, **kwargs)
        ledger = ledger_of(self.app, self.request)
        if ledger is not None:
            return self._run_for(ledger, *args, **kwargs)
        if getattr(self.request, "plain_claim", None) is not None:
            return self._run_plainly(*args, **kwargs)
        return self._body(*args, **kwargs)

    def _body(self, *args: Any, **kwargs: Any) -> Any:
        # `Task.__call__` would push a second request; only an application's own is worth the call.
        inherited = super().__call__
        if getattr(inherited, "__func__", None) is Task.__call__:
            return self.run(*args, **kwargs)
        return inherited(*args, **kwargs)

    def _run_for(self, ledger: TaskLedger, *args: Any, **kwargs: Any) -> Any:
        claim = self.claim
        try:
            return self._body(*args, **kwargs)
        except (Ignore, Retry):
            raise
        except StopAttempt as exc:
            log.warning("attempt stopped: lease lost task=%s attempt=%s", claim.task_id, claim.attempt)
            raise Ignore("lease lost") from exc
        except Exception as exc:
            # The border to the work itself: whatever it raises, the ledger decides what that means.
            delay_s = ledger.retry_delay(claim, exc)
            if delay_s is None:
                raise
            # Not published: the ledger's row and its outbox row are the retry. Celery shows `task-retried`.
            self.request.retry_delay_s = delay_s
            raise Retry(exc=exc, when=delay_s) from exc

    def _run_plainly(self, *args: Any, **kwargs: Any) -> Any:
        """What ``run`` sends is published at once, as always in Celery; what Celery sends after it is captured."""
        request = self.request
        try:
            result = self._body(*args, **kwargs)
        except _Replaced:
            raise
        except Retry as exc:
            store = not get_actual_ignore_result(self, request) or self.store_errors_even_if_ignored
            self.backend.give_back(request, exc.exc, ExceptionInfo().traceback, store_result=store)
            raise
        except Ignore:
            self.backend.ignore(request)
            raise
        except Reject as exc:
            if exc.requeue:
                self.backend.claims.release(request.id, owner=owner())
            raise
        # The other errors end in `mark_as_failure`, which sends in its transaction.
        start_capturing(request.unit)
        return result

    # ------------------------------------------------------------------ versions
    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """As in Celery; the message is sent by the transaction that ends this version of the task."""
        request = self.request
        if getattr(request, "plain_claim", None) is None:
            return super().retry(*args, **kwargs)
        with capture(request.unit):
            announced = super().retry(*args, **kwargs)
        # Only `throw=False` comes here: the task goes on, and whatever it returns, a later version follows.
        request.is_retried = True
        return announced

    def on_replace(self, sig: Signature) -> Any:
        """As in Celery; the replacement is sent by the transaction that ends this version of the task."""
        if getattr(self.request, "plain_claim", None) is None:
            return super().on_replace(sig)
        self.backend.hand_over(self.request, sig.delay)
        raise _Replaced("replaced by a new task")

    # ------------------------------------------------------------------ for tasks with a ledger
    @property
    def claim(self) -> Claim:
        """The claim of the attempt that runs now."""
        return self.request.claim

    def on_finish(self, effect: FinishEffect) -> None:
        """Have ``effect`` run inside the transaction that accepts this attempt's result."""
        self.request.effects.append(effect)


def _plain_claims(task: Task) -> PlainClaims | None:
    """Claims where plain tasks are fenced: messages can be captured, and results are in PostgreSQL."""
    return getattr(task.backend, "claims", None) if isinstance(task.app, OutboxCelery) else None


#: Options that a base class of an application may set against ours.
_OPTIONS = ("acks_late", "Request")


@cache
def fenced(cls: type[Task]) -> type[Task]:
    """``cls`` with the fence in front of its own hooks; itself where it has it."""
    if issubclass(cls, FencedTask):
        return cls
    own: dict[str, Any] = {name: getattr(cls, name) for name in _OPTIONS if getattr(cls, name) != getattr(Task, name)}
    name = cast("str", cls.__name__)  # Celery's stub has a property of that name
    return type(name, (FencedTask, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__, **own})
