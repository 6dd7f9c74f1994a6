"""What the leading relay does besides publishing."""

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

from celery.utils.log import get_logger

from geoetl.backend.app import OutboxCelery
from geoetl.backend.connections import close_mine
from geoetl.backend.ledger import Connection

log = get_logger(__name__)

#: How long chores may take to end when their relay stops leading, in seconds; another leader may do the same.
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Chore:
    """Something the leading relay does regularly."""

    name: str
    every_s: float
    run: Callable[[Connection], int]
    """Returns how many rows it changed."""
    is_slow: bool = False
    """It waits for others than the database: the other chores do not wait for it."""


class ChoreList:
    """Chores of one thread and when each is due."""

    def __init__(self, chores: Iterable[Chore], database_errors: tuple[type[BaseException], ...]) -> None:
        self._chores = tuple(chores)
        self._due_at = {chore.name: 0.0 for chore in self._chores}
        self._database_errors = database_errors

    def run_due(self, conn: Connection) -> None:
        """Do what is due.

        Raises:
            One of the app's database errors: The session has ended. An error of one chore alone is logged.
        """
        for chore in self._chores:
            if time.monotonic() < self._due_at[chore.name]:
                continue
            self._due_at[chore.name] = time.monotonic() + chore.every_s
            try:
                changed = chore.run(conn)
            except self._database_errors:
                if conn.closed:
                    raise
                # One row that a chore cannot handle must not keep the others from being done.
                log.exception("chore failed, tried again later name=%s", chore.name)
                continue
            if changed:
                log.info("chore done name=%s rows=%s", chore.name, changed)

    def wait_s(self, longest_s: float) -> float:
        """Seconds until the next is due, at most ``longest_s``."""
        return min([longest_s, *(at - time.monotonic() for at in self._due_at.values())])


class Chores:
    """All chores of a relay: those that are slow, and the others."""

    def __init__(self, app: OutboxCelery, chores: Iterable[Chore]) -> None:
        self._app = app
        listed = tuple(chores)
        parts = ([chore for chore in listed if chore.is_slow == is_slow] for is_slow in (False, True))
        # When each is due is known across leaderships: they come and go while the broker is away.
        self._lists = [ChoreList(part, app.database_errors) for part in parts if part]

    @contextmanager
    def beside(self) -> Generator[None]:
        """Do them beside the block, so that no message waits for them. A connection is open only while one is done."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=_work, args=(self._app, todo, stop), name="geoetl-chores", daemon=True)
            for todo in self._lists
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            until = time.monotonic() + _PATIENCE_S
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))


def _work(app: OutboxCelery, todo: ChoreList, stop: threading.Event) -> None:
    while True:
        # Before anything else: a leader that cannot publish leads for a moment only.
        if todo.wait_s(0.0) < 0:
            _run_due(app, todo)
        if stop.wait(max(0.05, todo.wait_s(1.0))):
            return


def _run_due(app: OutboxCelery, todo: ChoreList) -> None:
    try:
        todo.run_due(app.connections())
    except app.database_errors as exc:
        log.warning("chore interrupted, tried again later: %r", exc)
    except Exception:
        # Whatever a client of others raises: the thread must survive, or its chores are never done again.
        log.exception("chore interrupted by an error it does not know, tried again later")
    finally:
        close_mine(app.connections)
