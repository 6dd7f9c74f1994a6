"""Threads of a worker's main process: the relay, and the renewal of the leases of plain tasks."""

import threading
from typing import Any

import celery.bootsteps
from celery.utils.log import get_logger
from celery.worker import state as worker_state

from geoetl.backend.chores import Chore
from geoetl.backend.connections import close_mine
from geoetl.backend.ledger import Connection, new_boot, owner
from geoetl.backend.relay import Relay
from geoetl.backend.task import ledger_of

log = get_logger(__name__)

#: Seconds between removals of expired results by the process that relays.
EXPIRE_EVERY_S = 3600.0
#: A lease survives this many lost beats.
_BEATS_PER_LEASE = 3
#: Seconds before a loop that met something unexpected begins anew.
_RESTART_S = 1.0


def active_requests() -> list[Any]:
    """What the pool has accepted, each with the process that has it: what a dead process held is not among them."""
    while True:
        try:
            return [request for request in worker_state.active_requests if request.worker_pid]
        except RuntimeError:  # the main thread added one meanwhile
            continue


class ThreadStep(celery.bootsteps.StartStopStep):
    """A bootstep whose body is a loop in one thread, started after the pool: the first fork must see no thread."""

    requires = ("celery.worker.components:Pool",)
    label = ""

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, parent: Any) -> None:
        """Start the thread."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(parent,), name=self.label, daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:
        """End the thread; it is idle or between two statements within a second."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    terminate = stop

    def _run(self, parent: Any) -> None:
        while not self._stop.is_set():
            try:
                self.loop(parent.app)
            except Exception:
                # A worker without its relay or its renewals would go on, and look well: every lease would run out.
                log.exception("thread met something unexpected, it begins anew thread=%s", self.label)
                self._stop.wait(_RESTART_S)
            finally:
                close_mine(parent.app.connections)

    def loop(self, app: Any) -> None:
        """What the thread does until ``self._stop`` is set."""
        raise NotImplementedError


class RelayStep(ThreadStep):
    """Publishes the outbox of plain tasks and removes expired results, where no other process leads."""

    label = "geoetl-relay"

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        # Before the pool forks: parent and children are one owner, told from other workers with the same pids.
        new_boot()

    def loop(self, app: Any) -> None:
        """Relay until stopped."""

        def expire(_: Connection) -> int:
            return app.backend.expire()

        Relay(app, sources={}, chores=[Chore("expire results", EXPIRE_EVERY_S, expire)]).run(self._stop)


def _is_plain(app: Any, request: Any) -> bool:
    return ledger_of(app, request._context) is None


class LeaseStep(ThreadStep):
    """Keeps the claims of the plain tasks that this worker's live processes work on, in one statement for all."""

    label = "geoetl-leases"

    def loop(self, app: Any) -> None:
        """Renew until stopped."""
        claims = app.backend.claims
        while not self._stop.wait(claims.lease_s / _BEATS_PER_LEASE):
            live = {request.id: owner(request.worker_pid) for request in active_requests() if _is_plain(app, request)}
            if not live:
                continue
            try:
                claims.renew(live)
            except app.database_errors as exc:
                log.warning("leases not renewed, they last %s s: %r", claims.lease_s, exc)
