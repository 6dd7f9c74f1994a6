"""One attempt of a task, as its core sees it."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog
from structlog.typing import FilteringBoundLogger

from geoetl.backend.ledger import Claim
from geoetl.engine.rows import TaskFacts
from geoetl.engine.services import Services
from geoetl.errors import LeaseLost, OutOfMemory
from geoetl.models.publication import PublicationToken
from geoetl.models.refs import JobId, RunId
from geoetl.resources.process_memory import peak_rss_bytes
from geoetl.resources.scratch import scratch_folder, used_bytes
from geoetl.storage.base import BlobStore
from geoetl.tasks.context import Publisher

#: Seconds between questions whether the attempt must stop; a cancel is to be seen within two.
_ASK_EVERY_S = 1.0
#: Access to storage outlives the attempt by this much, in seconds.
_ACCESS_MARGIN_S = 600
#: After so many halvings nothing is left to be saved.
_MOST_SHRINK = 3


@dataclass(frozen=True, slots=True)
class Effects:
    """What cores reach the outside with."""

    store: BlobStore
    publisher: Publisher
    threads: int


class Attempt:
    """Implements ``TaskContext`` for a claimed task."""

    def __init__(
        self,
        services: Services,
        effects: Effects,
        claim: Claim,
        held: ExitStack,
        *,
        ask_every_s: float = _ASK_EVERY_S,
    ) -> None:
        self._services = services
        self._effects = effects
        self._claim = claim
        self._facts: TaskFacts = claim.facts
        self._held = held
        self._scratch: Path | None = None
        self._scratch_bytes = 0
        self._ask_every_s = ask_every_s
        self._ask_at = time.monotonic() + ask_every_s
        self._log: FilteringBoundLogger = structlog.get_logger("geoetl.tasks")

    @property
    def store(self) -> BlobStore:
        return self._effects.store

    @property
    def publisher(self) -> Publisher:
        return self._effects.publisher

    @property
    def scratch(self) -> Path:
        if self._scratch is None:
            # Made when it is asked for: most tasks need none.
            self._scratch = self._held.enter_context(scratch_folder(self._services.settings.raster.scratch_dir))
        return self._scratch

    @property
    def run_id(self) -> RunId:
        return self._facts.run_id

    @property
    def job_id(self) -> JobId:
        return self._facts.job_id

    @property
    def token(self) -> PublicationToken:
        return PublicationToken(run_sequence=self._facts.run_sequence, attempt=self._claim.attempt)

    @property
    def threads(self) -> int:
        return max(1, self._effects.threads >> self.shrink)

    @property
    def shrink(self) -> int:
        if self._facts.last_error != OutOfMemory.default_code:
            return 0
        return min(self._claim.attempt - 1, _MOST_SHRINK)

    @property
    def cache_bytes(self) -> int:
        return self._services.settings.raster.gdal_cache_bytes >> self.shrink

    @property
    def access_life_s(self) -> int:
        return self._facts.time_limit_s + _ACCESS_MARGIN_S

    @property
    def log(self) -> FilteringBoundLogger:
        return self._log

    def measure(self) -> dict[str, int]:
        """What the attempt has taken: memory at its peak, scratch as seen at its checkpoints and now."""
        self._look_at_scratch()
        return {"peak_rss_bytes": peak_rss_bytes(), "scratch_bytes": self._scratch_bytes}

    def _look_at_scratch(self) -> None:
        if self._scratch is not None:
            self._scratch_bytes = max(self._scratch_bytes, used_bytes(self._scratch))

    def checkpoint(self) -> None:
        """Ask the database, at most once a second, whether this attempt still owns its task.

        A database that is away for a moment is no reason to throw work away. If it stays away for a lease, the worker's
        main process ends this one.
        """
        now = time.monotonic()
        if now < self._ask_at:
            return
        self._ask_at = now + self._ask_every_s
        self._look_at_scratch()
        try:
            must_stop = self._services.ledger.must_stop(self._claim)
        except self._services.app.database_errors as exc:
            self._log.warning("database away, the attempt goes on within its lease", error=repr(exc))
            return
        if must_stop:
            raise LeaseLost(f"Attempt {self._claim.attempt} of task {self._claim.task_id} was told to stop.")

    def report(self, *, done: int, total: int) -> None:
        """Leave word for the worker's main process, which records it."""
        self._services.progress.write(self._claim.task_id, self._claim.attempt, done=done, total=total)
