"""Celery's result backend on PostgreSQL: fenced tasks go to their ledger, plain ones to the result table."""

from collections.abc import Callable
from typing import Any, override

import psycopg
from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import WorkerLostError
from celery.result import result_from_tuple
from celery.utils.log import get_logger

from geoetl.backend.ledger import TaskLedger
from geoetl.backend.queries import load_queries
from geoetl.backend.task import ledger_of, seconds_since_revoke

log = get_logger(__name__)
SQL = load_queries("geoetl.backend.sql", "results.sql")


class PostgresBackend(BaseBackend):
    """Results in PostgreSQL. The app must be an ``OutboxCelery``: its connection factory is used."""

    persistent = True
    supports_autoexpire = False

    @override
    def as_uri(self, include_password: bool = False) -> str:
        """A name for logs; the connection factory knows the address."""
        return "postgresql://"

    @override
    def exception_safe_to_retry(self, exc: BaseException) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] - the stub has no argument
        """Whether Celery may repeat the storing."""
        return isinstance(exc, psycopg.OperationalError)

    # ------------------------------------------------------------------ the end of a fenced task
    @override
    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = states.SUCCESS
    ) -> None:
        """Finish a fenced task in its ledger; store a plain task's result."""
        ledger = ledger_of(self.app, request)
        if ledger is None:
            super().mark_as_done(task_id, result, request, store_result, state)
            return
        self._finish(ledger, request, lambda: ledger.finish(request.claim, result, request.effects))

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
        """Fail a fenced task in its ledger, or tell the ledger that its owner is lost."""
        ledger = ledger_of(self.app, request)
        if ledger is None:
            super().mark_as_failure(task_id, exc, traceback, request, store_result, call_errbacks, state)
            return
        claim = getattr(request, "claim", None)
        lost_owner = getattr(request, "lost_owner", None)
        if claim is not None:
            self._finish(ledger, request, lambda: ledger.fail(claim, exc, str(traceback) if traceback else None))
        elif lost_owner is not None:
            try:
                ledger.lost(task_id, lost_owner, exc)
            except self.app.database_errors:
                log.warning("lost task not reported, its lease decides: task=%s", task_id, exc_info=True)
        elif not isinstance(exc, WorkerLostError):
            log.error("task %s failed outside of an attempt: %r", task_id, exc)

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
        """Give a fenced task back to its ledger."""
        ledger = ledger_of(self.app, request)
        if ledger is None:
            super().mark_as_retry(task_id, exc, traceback, request, store_result, state)
            return
        delay_s = request.retry_delay_s
        self._finish(ledger, request, lambda: ledger.retry(request.claim, exc, delay_s))

    @override
    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """End a fenced task in its ledger; store the state of a plain one."""
        ledger = ledger_of(self.app, request)
        if ledger is None:
            super().mark_as_revoked(task_id, reason, request, store_result, state)
            return
        owner = getattr(request, "lost_owner", None)
        try:
            ledger.revoked(task_id, age_s=seconds_since_revoke(task_id), owner=owner)
        except self.app.database_errors:
            log.warning("revoke not recorded task=%s", task_id, exc_info=True)

    def _finish(self, ledger: TaskLedger, request: Any, transaction: Callable[[], bool]) -> None:
        """Run the transaction that ends an attempt.

        It must not raise: Celery would answer with ``mark_as_failure``, and a deadlock or a lost connection would
        fail a task that has attempts left. A transaction error becomes a retry, fenced by the same attempt; with the
        database away the lease decides.
        """
        claim = request.claim
        try:
            accepted = transaction()
        except self.app.database_errors as exc:
            log.warning("finish refused by the database task=%s: %r", claim.task_id, exc)
            try:
                ledger.retry(claim, exc, 0.0)
            except self.app.database_errors:
                log.warning("database away, the lease decides task=%s", claim.task_id)
            return
        if not accepted:
            log.warning("fenced: attempt %s of task %s came too late", claim.attempt, claim.task_id)

    # ------------------------------------------------------------------ results of plain tasks
    def _execute(self, query: str, **params: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        return self.app.connections().execute(SQL[query], params)

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        # Celery stores STARTED before `before_start`: for a fenced task the claim says that it runs.
        if ledger_of(self.app, request) is None:
            meta = _bytes(self.encode(self._get_result_meta(result, state, traceback, request)))
            self._execute("store", task_id=task_id, state=state, meta=meta)
        return result

    def _get_task_meta_for(self, task_id: str) -> Any:
        row = self._execute("load", task_id=task_id).fetchone()
        if row is None:
            return {"status": states.PENDING, "result": None}
        return self.meta_from_decoded(self.decode(bytes(row[0])))

    @override
    def _forget(self, task_id: str) -> None:
        self._execute("forget", task_id=task_id)

    def _save_group(self, group_id: str, result: Any) -> Any:
        meta = _bytes(self.encode({"result": result.as_tuple()}))
        self._execute("store_group", group_id=group_id, meta=meta)
        return result

    def _restore_group(self, group_id: str) -> Any:
        row = self._execute("load_group", group_id=group_id).fetchone()
        if row is None:
            return None
        meta: Any = self.decode(bytes(row[0]))
        meta["result"] = result_from_tuple(meta["result"], self.app)
        return meta

    def _delete_group(self, group_id: str) -> None:
        self._execute("forget_group", group_id=group_id)

    @override
    def cleanup(self) -> None:
        """Remove results older than ``result_expires``."""
        if self.expires:
            self._execute("expire", age_s=self.expires)


def _bytes(encoded: str | bytes) -> bytes:
    return encoded.encode() if isinstance(encoded, str) else encoded
