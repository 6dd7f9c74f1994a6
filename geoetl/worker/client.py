"""The public Python API: submit a job, follow it, look at it."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import Any

from geoetl.chains.definition import JobSpec
from geoetl.engine import control, views
from geoetl.engine.following import EventFollower
from geoetl.engine.history import TaskDetail, find_task
from geoetl.engine.rows import Event, JobStatus, JobSummary, TaskStatus
from geoetl.engine.services import Services
from geoetl.engine.submit import Submission
from geoetl.engine.submit import submit as submit_job
from geoetl.errors import GeoEtlError
from geoetl.models.refs import JobId, RunId
from geoetl.models.states import JobState, TaskState
from geoetl.worker.app import create_app
from geoetl.worker.patience import patiently

_POLL_S = 0.2
_MAX_POLL_S = 2.0
_FOLLOW_S = 0.5


class JobFailed(GeoEtlError):
    """A job that was waited for has failed or was cancelled."""

    default_code = "job-failed"


class WaitTimeout(GeoEtlError):
    """A job that was waited for is still running. It goes on."""

    default_code = "wait-timeout"


@cache
def default_services() -> Services:
    """The parts of this process, from its environment."""
    return create_app().services


def close_default_services() -> None:
    """Close what ``default_services`` opened, if it was ever asked for."""
    if default_services.cache_info().currsize:
        default_services().close()
        default_services.cache_clear()


class Job:
    """A job that was submitted, by anyone.

    Example:
        job = geoetl.submit(geoetl.ProcessRaster(sources=["bronze://in/a.tif"], collection="demo"))
        job.wait()
    """

    def __init__(self, job_id: JobId, services: Services, *, submission: Submission | None = None) -> None:
        self.id = job_id
        self.submission = submission
        self._services = services

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self) -> JobStatus:
        """State of the job, of its current run and of its stages."""
        return views.job_status(self._services.connections(), self.id)

    def tasks(self, *, states: Collection[TaskState] | None = None, results: bool = True) -> list[TaskStatus]:
        """Tasks of the current run.

        Args:
            states: Only tasks in one of these; None: all.
            results: With what they returned; without, `result` is None.
        """
        return views.tasks(self._services.connections(), self._run_id(), states=states, results=results)

    def task(self, word: str) -> TaskDetail:
        """One task of the current run with its input and attempts: by number (``2.1``), beginning of its id, or label.

        Raises:
            NotFound: There is none, or more than one.
        """
        return find_task(self._services.connections(), self._run_id(), word)

    def events(self, *, after: int = 0) -> Iterator[Event]:
        """What has happened in the current run, in order; ``after`` the id of an event."""
        return views.events(self._services.connections(), self._run_id(), after=after)

    def follow(self, *, after: int = 0) -> Iterator[Event]:
        """Events of the current run as they happen, until it has ended.

        Raises:
            DatabaseUnavailable: The database was away for longer than a restart takes.
        """
        follower = EventFollower(self._patiently(self._run_id), after=after)
        while True:
            # Asked before the events: what comes between is told in this turn, or there is another.
            has_ended = self._patiently(self.status).summary.state.is_final
            while page := self._patiently(lambda: follower.next_page(self._services.connections())):
                yield from page
            if has_ended:
                return
            time.sleep(_FOLLOW_S)  # a person watches, in a process that does nothing else

    def cancel(self) -> bool:
        """End the job; whether there was something to end."""
        return control.cancel(self._services, self.id)

    def resume(self) -> None:
        """Go on from the stage that failed or was cancelled; what succeeded is kept."""
        control.resume(self._services, self.id)

    def retry(self, *, tasks: Sequence[str] = (), attempts: int = control.RESUME_BUDGET) -> tuple[str, ...]:
        """Give failed tasks of a failed job new attempts, and go on; the numbers of those tasks.

        Args:
            tasks: Numbers, ids or labels: all that failed; none means the same.
            attempts: How many each gets.

        Raises:
            InvalidInput: The job has not failed, a named task has not, or one that has is not named.
        """
        return control.retry(self._services, self.id, tasks=tasks, attempts=attempts)

    def wait(
        self, *, timeout_s: float | None = None, on_progress: Callable[[JobStatus], None] | None = None
    ) -> dict[str, Any]:
        """Wait until the job has ended; its result.

        Args:
            timeout_s: Give up waiting after this long; the job goes on.
            on_progress: Called with every status that is seen. On a terminal, a progress bar by default.

        Raises:
            JobFailed: It failed or was cancelled; the message says why and what to do.
            WaitTimeout: It is still running.
            DatabaseUnavailable: The database was away for longer than a restart takes; the job may go on.
        """
        from geoetl.worker.progress import show_progress  # noqa: PLC0415 - rich is slow to load and only for people

        with show_progress(on_progress) as tell:
            status = self._wait(timeout_s, tell)
        summary = status.summary
        if summary.state is JobState.COMPLETED:
            return status.result or {}
        error = summary.error or {"code": "cancelled", "message": "The job was cancelled."}
        raise JobFailed(
            f"Job {self.id} {summary.state}: {error['message']}",
            code=error["code"],
            hint=error.get("hint") or f"See `geoetl job events {self.id}`.",
        )

    def _wait(self, timeout_s: float | None, tell: Callable[[JobStatus], None]) -> JobStatus:
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = _POLL_S
        while True:
            status = self._patiently(self.status)
            tell(status)
            if status.summary.state.is_final:
                return status
            if give_up_at is not None and time.monotonic() >= give_up_at:
                raise WaitTimeout(
                    f"Job {self.id} is still {status.summary.state} after {timeout_s:g} s of waiting.",
                    hint=f"It goes on; `geoetl job status {self.id}` shows how far it is.",
                )
            time.sleep(pause_s)  # a person waits here, in a process that does nothing else
            pause_s = min(_MAX_POLL_S, pause_s * 1.1)

    def _patiently[T](self, question: Callable[[], T]) -> T:
        return patiently(
            question,
            doing=f"look at job {self.id}",
            hint=f"The job does not depend on who waits for it; `geoetl job wait {self.id}` looks again.",
        )

    def _run_id(self) -> RunId:
        return self.status().summary.run_id


def submit(
    spec: JobSpec, *, force: bool = False, deadline_s: float | None = None, services: Services | None = None
) -> Job:
    """Check and start a job. The same job on the same sources is started once; you get that one back.

    Args:
        spec: What to do, for example a ``ProcessRaster``.
        force: Run it again; earlier runs stay in the history.
        deadline_s: Cancel the job if it has not ended after so many seconds. One that runs already keeps its own.
        services: Parts to use instead of this process's own.

    Raises:
        PreflightFailed: With all findings; nothing was stored or sent.
        TransientError: Something could not be checked now; submit again later.
    """
    parts = services or default_services()
    submission = submit_job(parts, spec, force=force, deadline_s=deadline_s)
    return Job(submission.job_id, parts, submission=submission)


def get_job(job_id: str, *, services: Services | None = None) -> Job:
    """A job by its id, or the beginning of it.

    Raises:
        NotFound: There is none, or more than one.
    """
    parts = services or default_services()
    return Job(views.find_job(parts.connections(), job_id), parts)


def list_jobs(
    *,
    state: JobState | None = None,
    job_type: str | None = None,
    limit: int = 20,
    services: Services | None = None,
) -> list[JobSummary]:
    """The newest jobs first."""
    parts = services or default_services()
    return views.list_jobs(parts.connections(), state=state, job_type=job_type, limit=limit)
