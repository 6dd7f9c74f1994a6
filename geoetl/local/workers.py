"""Celery workers as processes of the stack."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from geoetl.local.component import Health
from geoetl.local.processes import Process, start, wait_until_ready

#: What Celery logs when a worker consumes.
_READY = b" ready."
#: A worker that is told to stop first finishes its tasks; after this it is killed, and the tasks' leases expire.
_GRACE_S = 30


class Worker:
    """One worker for one queue."""

    def __init__(self, *, queue: str, home: Path, log: Path, record: Path, concurrency: int = 2) -> None:
        self.name = f"worker-{queue}"
        self._queue = queue
        self._home = home
        self._log = log
        self._record = record
        self._concurrency = concurrency

    def start(self) -> None:
        """Start it where it does not run; return when it consumes.

        Raises:
            StartFailed: It did not come up.
        """
        process = Process.read(self._record)
        if process is not None and process.is_running:
            return
        if process is not None:
            # A worker that was killed may have left its children, which would go on with their tasks.
            process.kill_group()
        command = [
            sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-Q", self._queue,
            "-n", f"{self._queue}@%h", "--concurrency", str(self._concurrency), "--loglevel", "INFO",
        ]  # fmt: skip
        logged = self._log.stat().st_size if self._log.exists() else 0
        process = start(command, log=self._log, record=self._record, environ=self._environ())
        wait_until_ready(
            process, lambda: self._has_logged_ready(logged), what=f"The {self.name}", log=self._log, timeout_s=60
        )

    def stop(self) -> None:
        """Let it finish its tasks for a while, then kill it and its children."""
        process = Process.read(self._record)
        if process is not None:
            process.stop(grace_s=_GRACE_S)
        self._record.unlink(missing_ok=True)

    def remove(self) -> None:
        """Nothing: a worker keeps nothing."""

    def health(self) -> Health:
        """By its main process."""
        process = Process.read(self._record)
        if process is None or not process.is_running:
            return Health(state="stopped")
        return Health(state="healthy", detail=f"pid {process.pid}, queue {self._queue}")

    def _environ(self) -> Mapping[str, str]:
        return {**os.environ, "GEOETL_HOME": str(self._home)}

    def _has_logged_ready(self, since: int) -> bool:
        with self._log.open("rb") as handle:
            handle.seek(since)
            return _READY in handle.read()
