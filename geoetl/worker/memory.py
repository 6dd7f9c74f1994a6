"""Memory as the worker's main process sees it: who is ended when it runs out, and why a process was lost."""

import contextlib
import os
import signal
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.utils.log import get_logger

from geoetl.backend.bootsteps import active_requests
from geoetl.backend.connections import close_mine
from geoetl.backend.ledger import owner
from geoetl.config.worker import WorkerSettings
from geoetl.engine.failures import MEMORY_HINT
from geoetl.engine.heartbeat import Expected, expected
from geoetl.errors import OutOfMemory
from geoetl.resources.memory_group import memory_group
from geoetl.resources.memory_watch import MemoryWatch, Worker, mib
from geoetl.resources.process_memory import private_bytes

log = get_logger(__name__)


def watch_memory(settings: WorkerSettings) -> MemoryWatch:
    """The watch over what this process and its children take."""
    group = memory_group()
    return MemoryWatch(group, min(group.limit_bytes, settings.memory_limit_bytes or group.limit_bytes))


def end_largest(app: Any, watch: MemoryWatch, found: str) -> bool:
    """End the process that exceeds most what its task was expected to need; whether one was.

    Its task goes back first, with the reason: the pool, which replaces the process, only knows that it died. While
    memory is tight this is asked ten times a second, so looking takes the session that is there.
    """
    pids = {(request.id, owner(request.worker_pid)): request.worker_pid for request in active_requests()}
    known = {each.live: each for each in expected(app.services.pulse(), pids)}
    workers = {
        pid: Worker(pid, private_bytes(pid), (known[live].memory_bytes or 0) if live in known else 0)
        for live, pid in pids.items()
        if pid != os.getpid()
    }
    victim = watch.victim(workers.values())
    if victim is None:
        return False
    live = next(live for live, pid in pids.items() if pid == victim.pid)
    if live in known:
        try:
            app.services.ledger.lost(*live, _error(known[live], victim, found))
        finally:
            close_mine(app.connections)
    log.warning("process ended for want of memory task=%s pid=%s: %s", live[0], victim.pid, found)
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim.pid, signal.SIGKILL)
    return True


def _error(task: Expected, victim: Worker, found: str) -> OutOfMemory:
    wanted = f"expected were {mib(task.memory_bytes)}" if task.memory_bytes else "nothing was expected"
    return OutOfMemory(
        f"Attempt {task.attempt} of {task.label!r} ran out of memory: {wanted}, it took {mib(victim.used_bytes)}, and "
        f"{found}. Its process was ended.",
        hint=MEMORY_HINT,
    )


def explain_loss(watch: MemoryWatch, error: BaseException) -> BaseException:
    """``error``, or what it means where a process was lost for want of memory."""
    words = str(error) if isinstance(error, WorkerLostError) else ""
    if "signal 9 " in words and watch.was_killed_by_kernel():
        return OutOfMemory(
            f"The kernel ended the task's process, as {mib(watch.group.limit_bytes)} of memory were used up.",
            hint=MEMORY_HINT,
        )
    if "signal 6 " in words:
        return OutOfMemory(
            "The task's process aborted itself, as GDAL does where an allocation fails that it cannot do without.",
            hint=f"{MEMORY_HINT} If that changes nothing, see the worker's log for another reason.",
        )
    return error
