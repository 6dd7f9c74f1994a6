"""What an error means for a task: its record, and whether and when another attempt is made. The one place for both."""

import random
from traceback import format_exception
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from pydantic import BaseModel, ConfigDict

from geoetl.engine.rows import TaskFacts
from geoetl.errors import GeoEtlError, OutOfMemory, PreflightFailed, TransientError
from geoetl.resources.memory_watch import mib
from geoetl.telemetry import redact

#: Seconds; full jitter draws from zero to this, doubled with every attempt
#: (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
BASE_DELAY_S = 2.0
MAX_DELAY_S = 300.0
#: Attempts in a row that errors which pass by themselves may take besides the task's own: nine minutes of waiting on
#: average, longer than the failover of a database or the restart of a service.
SPARED_ATTEMPTS = 10
_TRACEBACK_CHARS = 8000
MEMORY_HINT = (
    "Another attempt holds less at once. If it stays, give the workers more memory, or lower "
    "GEOETL_WORKER__CONCURRENCY, GEOETL_RASTER__GDAL_CACHE_BYTES or GEOETL_RASTER__BAND_ROWS."
)


class ErrorRecord(BaseModel):
    """An error as it is stored with a task, a run and an event."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    hint: str = ""
    blame: str
    type: str
    findings: list[dict[str, Any]] = []
    traceback: str = ""
    """Its last lines."""


def is_retryable(error: BaseException) -> bool:
    """Whether another attempt may succeed. What nobody raised on purpose is tried again within the task's budget."""
    if isinstance(error, GeoEtlError):
        return error.retryable
    # A task that ran out of its time would only do so again.
    return not isinstance(error, TimeLimitExceeded | SoftTimeLimitExceeded)


def spared(error: BaseException, *, before: int) -> int:
    """How many attempts in a row are not counted, with the one that ``error`` ended; ``before`` of them before it.

    One more than before: this one is not. As many: the row is as long as may be.
    """
    return min(before + 1, SPARED_ATTEMPTS) if isinstance(error, TransientError) else 0


def backoff_s(attempt: int) -> float:
    """Seconds before the attempt after ``attempt`` (1, 2, …): exponential, full jitter."""
    return random.uniform(0.0, min(MAX_DELAY_S, BASE_DELAY_S * 2.0 ** (attempt - 1)))  # noqa: S311 - not a secret


def record(error: BaseException, *, traceback: str | None = None) -> dict[str, Any]:
    """The JSON that is stored for an error; secrets redacted."""
    if isinstance(error, GeoEtlError):
        findings = [f.model_dump() for f in error.findings] if isinstance(error, PreflightFailed) else []
        made = ErrorRecord(
            code=error.code,
            message=redact(error.message),
            hint=redact(error.hint),
            blame=error.blame,
            type=type(error).__name__,
            findings=findings,
            traceback=_shown(traceback or ("".join(format_exception(error)) if error.__traceback__ else "")),
        )
    else:
        code, hint = _classify(error)
        made = ErrorRecord(
            code=code,
            message=redact(f"{type(error).__name__}: {error}"),
            hint=hint,
            blame="us",
            type=type(error).__name__,
            traceback=_shown(traceback or "".join(format_exception(error))),
        )
    return made.model_dump(exclude_defaults=True)


def _shown(traceback: str) -> str:
    return redact(traceback)[-_TRACEBACK_CHARS:]


def out_of_memory(facts: TaskFacts, *, attempt: int, found: str) -> OutOfMemory:
    """The error of an attempt that needed too much, with every figure there is."""
    figures = [f"expected were {mib(facts.memory_bytes)}" if facts.memory_bytes else "nothing was expected"]
    if facts.share is not None:
        figures.append(f"allowed were {mib(facts.share.allowed_bytes)}")
    if peak := facts.measured.get("peak_rss_bytes"):
        figures.append(f"its peak was {mib(peak)}")
    return OutOfMemory(
        f"Attempt {attempt} of {facts.label or facts.name!r} ran out of memory: {', '.join(figures)}. {found}",
        hint=MEMORY_HINT,
    )


def _classify(error: BaseException) -> tuple[str, str]:
    if isinstance(error, WorkerLostError):
        return (
            "worker-lost",
            "The process that ran the task died (killed, out of memory or crashed); see the worker's log.",
        )
    if isinstance(error, TimeLimitExceeded | SoftTimeLimitExceeded):
        return "time-limit", "The task took longer than its limit and was ended."
    if isinstance(error, MemoryError):
        return "out-of-memory", "The task needed more memory than its process may use."
    return (
        "unexpected-error",
        "This is a defect of geoetl, or an error it does not know; the traceback is stored with the task.",
    )
