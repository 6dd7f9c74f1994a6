"""A Celery app whose messages can be captured and whose results live in PostgreSQL."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, override
from uuid import uuid4

import psycopg
from celery import Celery
from celery.exceptions import ImproperlyConfigured

from geoetl.backend.ledger import TaskLedger
from geoetl.backend.messages import SEND_HEADER, CaptureProducer, captured

#: Gives this thread's connection, in autocommit mode; called anew for every use, so it may replace a broken one.
type ConnectionFactory = Callable[[], psycopg.Connection[tuple[Any, ...]]]

_BACKEND = "geoetl.backend.results:PostgresBackend"
_TASK = "geoetl.backend.task:FencedTask"
#: By name: only a worker loads them.
_BOOTSTEPS = ("geoetl.backend.bootsteps:RelayStep", "geoetl.backend.bootsteps:LeaseStep")


class OutboxCelery(Celery):
    """Celery with fenced tasks, ``capture()`` and results in PostgreSQL.

    Example:
        app = OutboxCelery("shop", broker="…", backend="geoetl+postgresql://shop@db/shop")
    """

    def __init__(
        self,
        *args: Any,
        connections: ConnectionFactory | None = None,
        database_errors: tuple[type[BaseException], ...] = (psycopg.Error,),
        **kwargs: Any,
    ) -> None:
        """An app that opens nothing yet.

        Args:
            args: As ``Celery`` takes them.
            connections: Where the tables are, for an application that has its own connections and bootsteps. Without
                it the URL of ``result_backend`` says it, and workers relay and renew leases by themselves.
            database_errors: What that factory raises, besides psycopg's errors, while the database is away.
            kwargs: As ``Celery`` takes them.
        """
        if connections is not None:
            kwargs.setdefault("backend", _BACKEND)
        kwargs.setdefault("task_cls", _TASK)
        super().__init__(*args, **kwargs)
        self.given_connections = connections
        #: What the factory, or a statement, raises while the database is away.
        self.database_errors = database_errors
        #: Who keeps the state of a task, by the word in the message's ``ledger`` header.
        self.ledgers: dict[str, TaskLedger] = {}
        self._capture_producer: tuple[int, CaptureProducer] | None = None
        if connections is None:
            self.steps["worker"].update(_BOOTSTEPS)  # pyright: ignore[reportOptionalSubscript] - the stub's class attribute

    @property
    def connections(self) -> Any:
        """The factory of this app's database connections.

        Raises:
            ImproperlyConfigured: ``result_backend`` is not a database of this backend.
        """
        factory = self.given_connections or getattr(self.backend, "connections", None)
        if factory is None:
            raise ImproperlyConfigured(
                f"The outbox of app {self.main!r} needs PostgreSQL, but result_backend is {self.backend.as_uri()!r}."
                " Set it to geoetl+postgresql://user@host/dbname."
            )
        return factory

    @override
    def producer_or_acquire(  # pyright: ignore[reportIncompatibleMethodOverride] - the stub is out of date
        self, producer: Any = None
    ) -> AbstractContextManager[Any]:
        """The one place where Celery gets a producer to send with."""
        if producer is None and captured() is not None:
            return nullcontext(self._capturing_producer())
        return super().producer_or_acquire(producer)

    @override
    def send_task(self, name: str, *args: Any, headers: dict[str, Any] | None = None, **options: Any) -> Any:
        """As in Celery; every send has a word of its own, so that a copy is told from a second run."""
        return super().send_task(name, *args, headers={SEND_HEADER: uuid4().hex, **(headers or {})}, **options)

    def _capturing_producer(self) -> CaptureProducer:
        # Per process: kombu's connection objects must not cross a fork, even unopened.
        if self._capture_producer is None or self._capture_producer[0] != os.getpid():
            made = CaptureProducer(self.connection_for_write(), auto_declare=False)
            self._capture_producer = (os.getpid(), made)
        return self._capture_producer[1]

    # ------------------------------------------------------------------ every task of this app is fenced
    def _task_from_fun(  # pyright: ignore[reportIncompatibleMethodOverride] - options are passed on as they come
        self, fun: Any, name: Any = None, base: Any = None, **options: Any
    ) -> Any:
        # Where `app.task(base=…)` and `shared_task(base=…)` meet.
        return super()._task_from_fun(fun, name, base=self._fenced(base or self.Task), **options)

    @override
    def register_task(self, task: Any, **options: Any) -> Any:
        """Register a task class or its instance."""
        if isinstance(task, type):
            task = self._fenced(task)
        else:
            task.__class__ = self._fenced(type(task))
        return super().register_task(task, **options)

    def _fenced(self, cls: type[Any]) -> type[Any]:
        from geoetl.backend.task import fenced  # noqa: PLC0415 - it imports this module

        return fenced(cls)
