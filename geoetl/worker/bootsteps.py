"""What a worker's main process does besides Celery's own: threads and a timer, started after the pool; its logging."""

import contextlib
import logging
import os
import signal
import time
from typing import Any

from celery import signals
from celery.bootsteps import StartStopStep
from celery.utils.log import get_logger

from geoetl.backend.bootsteps import LeaseStep, ThreadStep, active_requests
from geoetl.backend.ledger import new_boot, owner
from geoetl.engine.heartbeat import Live, Overdue, Watch, beat, look, stop_attempt
from geoetl.engine.progress import ProgressBoard, record
from geoetl.resources.memory_watch import MemoryWatch
from geoetl.resources.process_memory import few_arenas
from geoetl.resources.scratch import sweep
from geoetl.telemetry import configure_logging
from geoetl.worker.memory import end_largest

log = get_logger(__name__)

#: How often the heartbeat looks whether an attempt must stop, in seconds: a plain read, and only while there are any.
LOOK_S = 0.4
#: How long a core that can be asked has to stop by itself, in seconds: it asks once a second. Whatever runs has ended
#: one look, and this rounded up to looks, after a cancel: within 1.6 s.
GRACE_S = 1.1
#: Seconds between looks of the pool for children that have died.
POOL_LOOK_S = 0.5
#: Seconds between records of how far children are, where they say so.
PROGRESS_S = 1.0
#: Seconds between looks for scratch folders whose process is gone: one listing of a folder.
SWEEP_S = 5.0
#: How often memory is looked at, in seconds, while there is work: a few reads of /proc.
MEMORY_LOOK_S = 0.1


class RelayStep(ThreadStep):
    """Publishes the outbox and reaps, where no other process leads."""

    label = "geoetl-relay"

    def loop(self, app: Any) -> None:
        """Relay until stopped."""
        app.services.relay.run(self._stop)


class HeartbeatStep(ThreadStep):
    """Keeps the leases of what this worker's live processes work on, and ends processes that work for nobody."""

    label = "geoetl-heartbeat"

    def loop(self, app: Any) -> None:
        """Beat until stopped."""
        worker = app.services.settings.worker
        watch = Watch(lease_s=worker.lease_s, grace_s=GRACE_S)
        board: ProgressBoard = app.services.progress
        beat_at = record_at = 0.0
        while not self._stop.wait(min(LOOK_S, worker.heartbeat_s)):
            now = time.monotonic()
            live: set[Live] = {(request.id, owner(request.worker_pid)) for request in active_requests()}
            watch.keep(live, now)
            try:
                conn = app.services.pulse()
                if now >= beat_at:
                    watch.confirm(beat(conn, live, lease_s=worker.lease_s), now)
                    beat_at = now + worker.heartbeat_s
                if live and now >= record_at and (news := board.news({task_id for task_id, _ in live})):
                    record(conn, news)
                    record_at = now + PROGRESS_S
                overdue = watch.seen(look(conn, live), time.monotonic())
            except app.database_errors as exc:
                log.warning("heartbeat failed, leases last %s s: %r", worker.lease_s, exc)
                overdue = watch.unseen(time.monotonic())
            for each in overdue:
                _end(app, each)


class PoolStep(StartStopStep):
    """Has the pool look for dead children twice a second.

    Celery looks when the pipe of one closes, which the kernel does a moment before the child can be waited for. Where
    the main process is faster, the next look is that of a timer, up to five seconds later, with a child too few.
    """

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        """Set the timer; a pool without an event loop looks by itself."""
        if parent.hub is not None:
            parent.hub.call_repeatedly(POOL_LOOK_S, parent.pool.maintain_pool)


class ScratchStep(ThreadStep):
    """Removes the scratch folders that killed processes left: of this worker, and of an earlier one on this host."""

    label = "geoetl-scratch"

    def loop(self, app: Any) -> None:
        """Sweep until stopped. A thread of its own: removing gigabytes must not delay a heartbeat."""
        root = app.services.settings.raster.scratch_dir
        while True:
            if removed := sweep(root):
                log.info("scratch folders of killed processes removed count=%s", removed)
            if self._stop.wait(SWEEP_S):
                return


class MemoryStep(ThreadStep):
    """Ends a process that takes more memory than there is, before the kernel ends any."""

    label = "geoetl-memory"

    def loop(self, app: Any) -> None:
        """Watch until stopped."""
        watch: MemoryWatch = app.memory_watch
        while not self._stop.wait(MEMORY_LOOK_S):
            if not active_requests() or (found := watch.tight()) is None:
                continue
            try:
                end_largest(app, watch, found)
            except app.database_errors as exc:
                log.warning("memory runs out (%s), and the database is away: %r", found, exc)


def _end(app: Any, overdue: Overdue) -> None:
    """Kill a process in the middle of its task. The pool replaces it, and acknowledges the message."""
    task_id, of = overdue.live
    if overdue.attempt is not None:
        with contextlib.suppress(*app.database_errors):
            stop_attempt(app.services.pulse(), task_id, overdue.attempt)
    for request in active_requests():
        # Looked up now: a process that has gone on to its next task is left alone. Pools without processes have ours.
        pid = request.worker_pid
        if request.id == task_id and owner(pid) == of and pid != os.getpid():
            log.warning("process ended in the middle of a task task=%s pid=%s: %s", task_id, pid, overdue.reason)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def install_bootsteps(app: Any) -> None:
    """Add our threads to the workers of ``app``."""
    app.steps["worker"].add(RelayStep)
    app.steps["worker"].add(HeartbeatStep)
    app.steps["worker"].add(PoolStep)
    app.steps["worker"].add(ScratchStep)
    app.steps["worker"].add(MemoryStep)
    # Plain Celery tasks on the same workers: the backend keeps their leases.
    app.steps["worker"].add(LeaseStep)

    def close(**_: Any) -> None:
        app.services.close()

    def set_up_logging(loglevel: Any = None, **_: Any) -> None:
        level = logging.getLevelName(loglevel) if isinstance(loglevel, int) else loglevel or "INFO"
        configure_logging(level, as_json=app.services.settings.log.format == "json")

    # Closed by their owner, sessions leave no complaint in the server's log.
    signals.worker_process_shutdown.connect(close, weak=False)
    signals.worker_shutdown.connect(close, weak=False)
    signals.setup_logging.connect(set_up_logging, weak=False)


@signals.worker_init.connect
def _prepare_this_worker(**_: Any) -> None:
    new_boot()
    few_arenas()
