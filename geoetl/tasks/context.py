"""What a core may do besides computing: everything with an effect goes through here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from geoetl.models.publication import Publication, PublicationToken
from geoetl.models.refs import JobId, RunId
from geoetl.storage.base import BlobStore


class Publisher(Protocol):
    """Makes products visible in one fenced transaction."""

    def publish(
        self,
        collection: str,
        publications: Sequence[Publication],
        *,
        run_id: RunId,
        job_id: str,
        token: PublicationToken,
        create_collection: bool = False,
    ) -> list[str]:
        """Publish all or none, read every item back by search; the ids found, in the given order."""
        ...


class TaskContext(Protocol):
    """Handed to every core by the shell."""

    @property
    def store(self) -> BlobStore: ...
    @property
    def publisher(self) -> Publisher: ...
    @property
    def scratch(self) -> Path:
        """An empty folder of this attempt; removed after it."""
        ...

    @property
    def run_id(self) -> RunId: ...
    @property
    def job_id(self) -> JobId: ...
    @property
    def token(self) -> PublicationToken: ...
    @property
    def threads(self) -> int:
        """How many threads this task may use (CPUs of the worker / concurrency)."""
        ...

    @property
    def shrink(self) -> int:
        """0 at first; *n* where an attempt ran out of memory before: hold ``2**n`` times less at once."""
        ...

    @property
    def cache_bytes(self) -> int:
        """For GDAL's block cache; shrunk already, as ``threads`` is."""
        ...

    @property
    def access_life_s(self) -> int:
        """How long storage access given out now must last: beyond the task's hard limit."""
        ...

    @property
    def log(self) -> FilteringBoundLogger: ...

    def checkpoint(self) -> None:
        """Call between blocks of work. Raises ``LeaseLost`` when this attempt must stop. Cheap."""
        ...

    def report(self, *, done: int, total: int) -> None:
        """Say how many steps are done of how many, in any unit: seen in the job's status a second later. Cheap."""
        ...


class StepCounter:
    """Counts the steps of a task's work; each is a checkpoint."""

    def __init__(self, ctx: TaskContext, total: int) -> None:
        self._ctx = ctx
        self._done = 0
        self.total = total

    def step(self) -> None:
        """Call when a step is done.

        Raises:
            LeaseLost: This attempt must stop.
        """
        self._done += 1
        # An estimate that was too low must not show more than all.
        self._ctx.report(done=min(self._done, self.total), total=self.total)
        self._ctx.checkpoint()
