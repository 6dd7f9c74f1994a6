"""Threads of a worker's main process: the relay with its chores, and the heartbeat. Started after the pool."""

import threading
from typing import Any

import celery.bootsteps
from celery import signals
from celery.utils.log import get_logger
from celery.worker import state as worker_state

from geoetl.backend.bootsteps import LeaseStep
from geoetl.backend.ledger import new_boot, owner
from geoetl.engine.heartbeat import beat
from geoetl.telemetry import configure_logging

log = get_logger(__name__)


class _ThreadStep(celery.bootsteps.StartStopStep):
    """A bootstep whose body is a loop in one thread."""

    # After the pool: the first fork must see no thread of ours.
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
        try:
            self.loop(parent.app)
        finally:
            parent.app.connections.close_mine()

    def loop(self, app: Any) -> None:
        """What the thread does until ``self._stop`` is set."""
        raise NotImplementedError


class RelayStep(_ThreadStep):
    """Publishes the outbox and reaps, where no other process leads."""

    label = "geoetl-relay"

    def loop(self, app: Any) -> None:
        """Relay until stopped."""
        app.services.relay.run(self._stop)


class HeartbeatStep(_ThreadStep):
    """Keeps the leases of what this worker's live processes work on."""

    label = "geoetl-heartbeat"

    def loop(self, app: Any) -> None:
        """Beat until stopped."""
        worker = app.services.settings.worker
        while not self._stop.wait(worker.heartbeat_s):
            # The pool has accepted these and says which process has each: what a dead process held is not among them.
            live = {
                request.id: owner(request.worker_pid)
                for request in list(worker_state.active_requests)
                if request.worker_pid
            }
            try:
                to_stop = beat(app.connections(), live, lease_s=worker.lease_s)
            except app.database_errors as exc:
                log.warning("heartbeat failed, leases last %s s: %r", worker.lease_s, exc)
                continue
            for task_id in to_stop:
                # A core asks at its checkpoints; one that cannot is ended by its time limit.
                log.info("task of a closed stage still runs task=%s", task_id)


def install_bootsteps(app: Any) -> None:
    """Add our threads to the workers of ``app``."""
    app.steps["worker"].add(RelayStep)
    app.steps["worker"].add(HeartbeatStep)
    # Plain Celery tasks on the same workers: the backend keeps their leases.
    app.steps["worker"].add(LeaseStep)


@signals.worker_init.connect
def _name_this_worker(**_: Any) -> None:
    new_boot()


@signals.setup_logging.connect
def _log_structured(loglevel: Any = None, **_: Any) -> None:
    import logging  # noqa: PLC0415 - only a worker needs the numeric level's name

    configure_logging(logging.getLevelName(loglevel) if isinstance(loglevel, int) else loglevel or "INFO")
