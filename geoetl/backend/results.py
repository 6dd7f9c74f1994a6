"""Celery's result backend on PostgreSQL: storing and reading of results and groups, and waiting for them."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, override

import psycopg
from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import ImproperlyConfigured
from celery.exceptions import TimeoutError as WaitedTooLong
from celery.result import result_from_tuple

from geoetl.backend.app import ConnectionFactory, OutboxCelery
from geoetl.backend.chords import NativeChords
from geoetl.backend.claims import PlainClaims
from geoetl.backend.connections import shared_connections
from geoetl.backend.ending import TaskEndings, is_ending
from geoetl.backend.queries import load_queries
from geoetl.backend.task import ledger_of
from geoetl.backend.unit import open_unit

SQL = load_queries("geoetl.backend.sql", "results.sql")

#: Seconds between the first two looks of a caller that waits for a result; they grow to Celery's ``interval``.
_FIRST_LOOK_S = 0.005
_LOOK_GROWTH = 1.5
_LEASE_S = 30.0


class PostgresBackend(TaskEndings, NativeChords, BaseBackend):
    """Results, groups and chords in PostgreSQL.

    Its connections come from the app (``OutboxCelery(connections=…)``), or are opened from the URL of
    ``result_backend``. Options are read from ``result_backend_transport_options``; docs/backend.md lists them.
    """

    persistent = True
    supports_autoexpire = False
    supports_native_join = True
    supports_result_compression = True

    def __init__(self, app: Any, *, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        options: dict[str, Any] = app.conf.get("result_backend_transport_options") or {}
        self.connections: ConnectionFactory = _connections(app, url, prepare=options.get("prepare", True))
        self.claims = PlainClaims(self._connection, lease_s=float(options.get("lease_s", _LEASE_S)))

    def __reduce__(self, args: Any = (), kwargs: Any = None) -> Any:
        """Results that are pickled carry their backend: by its URL."""
        return super().__reduce__(args, {"url": self.url, **(kwargs or {})})

    @override
    def as_uri(self, include_password: bool = False) -> str:
        """Where results are, for logs and the worker's banner."""
        if include_password and self.url:
            return self.url
        return getattr(self.connections, "address", lambda: "postgresql://")()

    @override
    def exception_safe_to_retry(self, exc: BaseException) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] - the stub has no argument
        """Whether Celery may repeat one statement: never inside a transaction, which is repeated as a whole."""
        return isinstance(exc, psycopg.OperationalError) and open_unit(self.connections) is None

    # ------------------------------------------------------------------ results
    def _connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        return open_unit(self.connections) or self.connections()

    def _execute(self, query: str, **params: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        return self._connection().execute(SQL[query], params)

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        # A ledger keeps the state of its tasks. Celery stores STARTED before `before_start`, where a fenced task may
        # turn out to be a duplicate of a finished one: the claim says that a task runs.
        if ledger_of(self.app, request) is not None:
            return result
        if state == states.STARTED and isinstance(self.app, OutboxCelery) and request is not None:
            return result
        claim = getattr(request, "plain_claim", None)
        self._execute(
            "store",
            task_id=task_id,
            state=state,
            meta=self.encoded_meta(result, state, traceback, request),
            final=state in states.READY_STATES,
            ending=is_ending(task_id),
            attempt=claim.attempt if claim is not None and claim.task_id == task_id else None,
        )
        return result

    def encoded_meta(self, result: Any, state: str, traceback: Any = None, request: Any = None) -> bytes:
        """All that Celery keeps of a result, as it is stored."""
        return _bytes(self.encode(self._get_result_meta(result, state, traceback, request)))

    def _get_task_meta_for(self, task_id: str) -> Any:
        row = self._execute("load", task_id=task_id).fetchone()
        if row is None:
            return {"status": states.PENDING, "result": None}
        return self.meta_from_decoded(self.decode(bytes(row[0])))

    @override
    def _forget(self, task_id: str) -> None:
        self._execute("forget", task_id=task_id)

    # ------------------------------------------------------------------ groups
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
        """Remove results, groups and chords older than ``result_expires``."""
        self.expire()

    def expire(self) -> int:
        """What ``cleanup`` does; how many rows were removed."""
        if not self.expires:
            return 0
        queries = ("expire_results", "expire_groups", "expire_chords")
        return sum(self._execute(query, age_s=self.expires).rowcount for query in queries)

    # ------------------------------------------------------------------ waiting
    # Looking again, soon at first, rather than NOTIFY: a notification takes a lock on the whole cluster in every
    # commit that ends a task, whether anybody waits or not.
    @override
    def wait_for(  # pyright: ignore[reportIncompatibleMethodOverride] - the stub is out of date
        self, task_id: str, timeout: float | None = None, interval: float = 0.5, no_ack: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> Any:  # fmt: skip
        """Result of one task.

        Raises:
            WaitedTooLong: It has not ended within ``timeout`` seconds.
        """
        self._ensure_not_eager()
        for _ in _looks(timeout, interval, on_interval):
            meta: Any = self.get_task_meta(task_id)
            if meta["status"] in states.READY_STATES:
                if on_interval is not None and meta["status"] in states.PROPAGATE_STATES:
                    # Celery's hook raises the failure of a parent, which explains this one better.
                    on_interval()
                return meta
        raise WaitedTooLong("The operation timed out.")

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        on_message: Callable[[Any], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        **kwargs: Any,
    ) -> Iterator[tuple[str, Any]]:
        """Results as they end, all that are missing read by one statement.

        Raises:
            WaitedTooLong: Some have not ended within ``timeout`` seconds.
        """
        missing = set(task_ids)
        for _ in _looks(timeout, interval or 0.5, on_interval):
            rows = self._execute("load_final", task_ids=list(missing)).fetchall()
            for task_id, encoded in rows:
                missing.discard(task_id)
                meta: Any = self.meta_from_decoded(self.decode(bytes(encoded)))
                meta.setdefault("task_id", task_id)
                self._cache[task_id] = meta
                if on_message is not None:
                    on_message(meta)
                yield task_id, meta
            if not missing:
                return
        raise WaitedTooLong(f"{len(missing)} of the results did not arrive in time.")


def _looks(timeout: float | None, interval: float, on_interval: Callable[[], Any] | None) -> Iterator[None]:
    """When to look for a result: now, then in growing pauses; ends when the time is up, after a last look."""
    give_up_at = None if timeout is None else time.monotonic() + timeout
    pause_s = min(_FIRST_LOOK_S, interval)
    while True:
        yield
        if on_interval is not None:
            on_interval()
        left_s = pause_s if give_up_at is None else give_up_at - time.monotonic()
        if left_s <= 0:
            return
        time.sleep(min(pause_s, left_s))  # the caller waits here by its own wish
        pause_s = min(pause_s * _LOOK_GROWTH, interval)


def _connections(app: Any, url: str | None, *, prepare: bool) -> ConnectionFactory:
    given = app.given_connections if isinstance(app, OutboxCelery) else None
    if given is not None:
        return given
    if not url:
        raise ImproperlyConfigured(
            "The PostgreSQL backend has no database. Set result_backend to geoetl+postgresql://user@host/dbname,"
            " or give OutboxCelery a connection factory."
        )
    return shared_connections(url.removeprefix("geoetl+"), prepare=prepare)


def _bytes(encoded: str | bytes) -> bytes:
    return encoded.encode() if isinstance(encoded, str) else encoded
