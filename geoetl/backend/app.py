"""A Celery app whose messages can be captured and whose results live in PostgreSQL."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, override

import psycopg
from celery import Celery

from geoetl.backend.ledger import TaskLedger
from geoetl.backend.messages import CaptureProducer, captured

#: Gives this thread's connection, in autocommit mode; called anew for every use, so it may replace a broken one.
type ConnectionFactory = Callable[[], psycopg.Connection[tuple[Any, ...]]]


class OutboxCelery(Celery):
    """Celery, with a connection factory, ledgers of fenced tasks, and ``capture()``."""

    def __init__(
        self,
        *args: Any,
        connections: ConnectionFactory,
        database_errors: tuple[type[BaseException], ...] = (psycopg.Error,),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("backend", "geoetl.backend.results:PostgresBackend")
        kwargs.setdefault("task_cls", "geoetl.backend.task:FencedTask")
        super().__init__(*args, **kwargs)
        self.connections = connections
        #: What the factory, or a statement, raises while the database is away.
        self.database_errors = database_errors
        #: Who keeps the state of a task, by the word in the message's ``ledger`` header.
        self.ledgers: dict[str, TaskLedger] = {}
        self._capture_producer: tuple[int, CaptureProducer] | None = None

    @override
    def producer_or_acquire(  # pyright: ignore[reportIncompatibleMethodOverride] - the stub is out of date
        self, producer: Any = None
    ) -> AbstractContextManager[Any]:
        """The one place where Celery gets a producer to send with."""
        if producer is None and captured() is not None:
            return nullcontext(self._capturing_producer())
        return super().producer_or_acquire(producer)

    def _capturing_producer(self) -> CaptureProducer:
        # Per process: kombu's connection objects must not cross a fork, even unopened.
        if self._capture_producer is None or self._capture_producer[0] != os.getpid():
            made = CaptureProducer(self.connection_for_write(), auto_declare=False)
            self._capture_producer = (os.getpid(), made)
        return self._capture_producer[1]
