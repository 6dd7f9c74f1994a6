"""How a task ends: by its ledger, or, for a plain task, by one fenced transaction around what Celery itself does."""

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, override

import psycopg
from celery import group, states
from celery.backends.base import Backend
from celery.exceptions import Reject, WorkerLostError
from celery.utils.log import get_logger

from geoetl.backend.claims import PlainClaim, PlainClaims, send_of, version_of
from geoetl.backend.ledger import TaskLedger
from geoetl.backend.messages import Captured, captured, stop_capturing
from geoetl.backend.task import ledger_of, seconds_since_revoke
from geoetl.backend.unit import unit_of_work

log = get_logger(__name__)

#: Seconds before the transaction that ends a task is tried again: a deadlock, or a database that restarts.
_TRY_AGAIN_S = (0.1, 0.5, 2.0)

#: The task whose ending transaction is open in this context.
_ending: ContextVar[str | None] = ContextVar("geoetl_ending", default=None)


def is_ending(task_id: str) -> bool:
    """Whether the transaction that ends this task is open here: what it stores is the last word."""
    return _ending.get() == task_id


class TaskEndings(Backend):
    """The half of the backend that Celery calls when a task ends."""

    connections: Any
    claims: PlainClaims

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: What the factory, or a statement, raises while the database is away.
        self.database_errors: tuple[type[BaseException], ...] = getattr(self.app, "database_errors", (psycopg.Error,))

    # ------------------------------------------------------------------ what Celery calls
    @override
    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = states.SUCCESS
    ) -> None:
        """Finish the task: its result, its part of a chord, and what is to be sent after it."""
        ledger = ledger_of(self.app, request)
        if ledger is not None:
            self._finish(ledger, request, lambda: ledger.finish(request.claim, result, request.effects))
            return
        # After `retry(throw=False)` a later version of the task is on its way, and must find it open.
        phase = "waiting" if getattr(request, "is_retried", False) else "ended"
        mark = super().mark_as_done
        self._end(task_id, request, phase, lambda: mark(task_id, result, request, store_result, state))

    @override
    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Fail the task, or tell its ledger that its owner is lost."""
        ledger = ledger_of(self.app, request)
        if ledger is not None:
            self._fail(ledger, task_id, exc, traceback, request)
            return
        mark = super().mark_as_failure
        if (unit := getattr(request, "unit", None)) is not None:
            # What was to follow a success, which then could not be stored.
            unit.messages.clear()
        self._end(
            task_id, request, "ended",
            lambda: mark(task_id, exc, traceback, request, store_result, call_errbacks, state),
        )  # fmt: skip

    @override
    def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        state: str = states.RETRY,
    ) -> None:
        """Give a fenced task back to its ledger. A plain one has been given back by ``FencedTask`` (`give_back`)."""
        ledger = ledger_of(self.app, request)
        if ledger is not None:
            delay_s = request.retry_delay_s
            self._finish(ledger, request, lambda: ledger.retry(request.claim, exc, delay_s))
        elif getattr(request, "plain_claim", None) is None:
            # The main process, whose child is gone: the same message, or a later one, may run.
            mark = super().mark_as_retry
            self._end(task_id, request, "open", lambda: mark(task_id, exc, traceback, request, store_result, state))

    @override
    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """End a task with a ledger there, and with it what cannot go on without it."""
        ledger = ledger_of(self.app, request)
        if ledger is not None:
            self._revoke(ledger, task_id, request)
            return
        mark = super().mark_as_revoked
        self._end(task_id, request, "ended", lambda: mark(task_id, reason, request, store_result, state))

    def _call_task_errbacks(self, request: Any, exc: BaseException, traceback: Any) -> None:
        """Send immutable errbacks as messages, with the commit.

        Celery runs errbacks of more than one argument in place. Those would run before the failure can be seen, and
        again where the transaction is repeated; only one that wants the request and the error must.
        """
        is_eager = self.app.conf.task_always_eager or (request.delivery_info or {}).get("is_eager", False)
        errbacks = [self.app.signature(errback) for errback in request.errbacks or ()]
        later = [] if is_eager else [errback for errback in errbacks if errback.immutable]
        if not later:
            super()._call_task_errbacks(request, exc, traceback)
            return
        group(later, app=self.app).apply_async(parent_id=request.id, root_id=request.root_id or request.id)
        every, request.errbacks = request.errbacks, [errback for errback in errbacks if not errback.immutable]
        try:
            super()._call_task_errbacks(request, exc, traceback)
        finally:
            request.errbacks = every

    # ------------------------------------------------------------------ plain tasks
    def give_back(self, request: Any, exc: BaseException | None, traceback: str | None, *, store_result: bool) -> bool:
        """End this version of the task in favour of the retry that was captured; False where the claim was lost."""
        mark = super().mark_as_retry

        def store() -> None:
            if store_result:
                mark(request.id, exc, traceback, request=request)

        return self._end(request.id, request, "waiting", store)

    def hand_over(self, request: Any, send: Callable[[], None]) -> bool:
        """End this version of the task in favour of what ``send`` sends; False where the claim was lost."""
        return self._end(request.id, request, "waiting", send)

    def ignore(self, request: Any) -> bool:
        """The task raised ``Ignore``: nothing is stored, but a chord that waits for it hears of it.

        Its value in the header is what the task has stored of itself, else None.
        """

        def count() -> None:
            if request.chord:
                meta: Any = self.get_task_meta(request.id, cache=False)
                state = meta["status"]
                if state in states.READY_STATES:
                    self.on_chord_part_return(request, state, meta["result"])
                else:
                    self.on_chord_part_return(request, states.IGNORED, None)

        return self._end(request.id, request, "waiting", count)

    def _end(self, task_id: str, request: Any, phase: str, act: Callable[[], Any]) -> bool:
        """Give up the claim and ``act``, in one transaction with the messages that were captured for it.

        Raises:
            Reject: The database stays away, and the message goes back to the broker.
        """
        claim: PlainClaim | None = getattr(request, "plain_claim", None)
        unit: Captured = getattr(request, "unit", None) or Captured()
        before = len(unit.messages)
        is_outermost = _ending.get() is None
        token = _ending.set(task_id)
        try:
            for pause_s in (*_TRY_AGAIN_S, None):
                try:
                    return self._end_once(task_id, request, phase, act, unit)
                except self.database_errors as exc:
                    if not is_outermost or not _may_pass(exc):
                        raise
                    del unit.messages[before:]
                    if pause_s is None:
                        log.error("task=%s could not be ended: %r", task_id, exc)  # noqa: TRY400 - no news in the trace
                        if claim is None:
                            return False
                        raise Reject(exc, requeue=True) from exc
                    log.warning("ending task=%s is tried again: %r", task_id, exc)
                    time.sleep(pause_s)  # nothing else can be done in this process: its task is not done yet
            return False
        finally:
            _ending.reset(token)
            if captured() is unit:
                stop_capturing()

    def _end_once(self, task_id: str, request: Any, phase: str, act: Callable[[], Any], unit: Captured) -> bool:
        with unit_of_work(self.connections, unit):
            if not self._may_end(task_id, request, phase):
                unit.messages.clear()
                log.warning("fenced: task=%s had ended, or is owned by another worker", task_id)
                return False
            act()
        return True

    def _may_end(self, task_id: str, request: Any, phase: str) -> bool:
        claim: PlainClaim | None = getattr(request, "plain_claim", None)
        if claim is not None and claim.task_id == task_id:
            return self.claims.end(claim, phase)
        owner = getattr(request, "lost_owner", None)
        return self.claims.end_unclaimed(task_id, version_of(request), phase, owner=owner, send=send_of(request))

    # ------------------------------------------------------------------ tasks with a ledger
    def _fail(self, ledger: TaskLedger, task_id: str, exc: BaseException, traceback: Any, request: Any) -> None:
        claim = getattr(request, "claim", None)
        lost_owner = getattr(request, "lost_owner", None)
        if claim is not None:
            self._finish(ledger, request, lambda: ledger.fail(claim, exc, str(traceback) if traceback else None))
        elif lost_owner is not None:
            try:
                ledger.lost(task_id, lost_owner, exc)
            except self.database_errors:
                log.warning("lost task not reported, its lease decides: task=%s", task_id, exc_info=True)
        elif not isinstance(exc, WorkerLostError):
            log.error("task %s failed outside of an attempt: %r", task_id, exc)

    def _revoke(self, ledger: TaskLedger, task_id: str, request: Any) -> None:
        owner = getattr(request, "lost_owner", None)
        try:
            ledger.revoked(task_id, age_s=seconds_since_revoke(task_id), owner=owner)
        except self.database_errors:
            log.warning("revoke not recorded task=%s", task_id, exc_info=True)

    def _finish(self, ledger: TaskLedger, request: Any, transaction: Callable[[], bool]) -> None:
        """Run the transaction that ends an attempt.

        It must not raise: Celery would answer with ``mark_as_failure``, and a deadlock or a lost connection would
        fail a task that has attempts left. The work is done, so the transaction is repeated once, on a new session
        where the old one has ended; if it was committed and only the answer is lost, the fence refuses the second. An
        error that stays becomes a retry, fenced by the same attempt; with the database away the lease decides.
        """
        claim = request.claim
        try:
            try:
                accepted = transaction()
            except self.database_errors as exc:
                log.warning("finish refused by the database, repeated task=%s: %r", claim.task_id, exc)
                accepted = transaction()
        except self.database_errors as exc:
            log.warning("finish refused by the database task=%s: %r", claim.task_id, exc)
            try:
                ledger.retry(claim, exc, 0.0)
            except self.database_errors:
                log.warning("database away, the lease decides task=%s", claim.task_id)
            return
        if not accepted:
            log.warning("fenced: attempt %s of task %s came too late", claim.attempt, claim.task_id)


def _may_pass(exc: BaseException) -> bool:
    """Whether the same transaction may succeed later. A factory's own errors say that the database is away."""
    return not isinstance(exc, psycopg.Error) or isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError)
