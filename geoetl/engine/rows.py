"""What the engine's statements take and give, as types."""

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from geoetl.models.refs import JobId, RunId
from geoetl.models.states import JobState, StageState, TaskState
from geoetl.resources.memory_room import Share

CALLBACK_IDX = -1


def task_number(stage_no: int, idx: int) -> str:
    """``2.1`` is the first task of the second stage, ``2.0`` the one that completes that stage."""
    return f"{stage_no + 1}.{idx + 1}"


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What a claim says of its task."""

    max_attempts: int
    run_id: RunId
    stage_no: int
    stage_name: str
    idx: int
    name: str
    label: str
    time_limit_s: int
    input: dict[str, Any]
    job_id: JobId
    run_sequence: int
    memory_bytes: int | None = None
    """What the task was expected to need."""
    last_error: str = ""
    """Code of the error that ended the attempt before; empty where there was none."""
    spared: int = 0
    """Attempts in a row, up to the one before, that took none of the task's own."""
    share: Share | None = None
    """Memory that was promised to the attempt, where memory is shared out."""
    measured: dict[str, int] = field(default_factory=dict[str, int])
    """What the attempt has taken, stored with its end."""
    claimed_at: float = field(default_factory=time.monotonic)
    """By the monotonic clock."""

    @property
    def is_callback(self) -> bool:
        """Whether this is the chord callback that completes the stage."""
        return self.idx == CALLBACK_IDX


@dataclass(frozen=True, slots=True)
class StageProgress:
    """A stage of a run, its tasks counted by state."""

    no: int
    name: str
    state: StageState
    size: int
    remaining: int
    created_at: dt.datetime
    finished_at: dt.datetime | None
    counts: dict[TaskState, int]
    underway: float = 0.0
    """What its running tasks have done of their work, in tasks: 1.5 of three that are half done."""

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return (self.counts[TaskState.SUCCEEDED] + self.underway) / self.size if self.size else 1.0


@dataclass(frozen=True, slots=True)
class Steps:
    """How far a running attempt says it is."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """A task as a person wants to see it."""

    stage_no: int
    idx: int
    id: str
    name: str
    label: str
    queue: str
    reason: str
    state: TaskState
    attempt: int
    max_attempts: int
    worker: str | None
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    error: dict[str, Any] | None
    result: dict[str, Any] | None
    steps: Steps | None
    """None: it does not run, or does not count its steps."""

    @staticmethod
    def of(row: Sequence[Any]) -> "TaskStatus":
        """From a row of a statement that reads tasks."""
        stage_no, idx, task_id, name, label, queue, reason, state, *rest, steps = row
        counted = Steps(*steps) if steps else None
        return TaskStatus(
            stage_no, idx, str(task_id), name, label, queue, reason, TaskState(state), *rest, steps=counted
        )

    @property
    def number(self) -> str:
        """What people call it: stage and place, counted from 1; place 0 completes the stage."""
        return task_number(self.stage_no, self.idx)

    @property
    def seconds(self) -> float | None:
        """Duration of the last attempt, None while it runs."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job and its current run, one line of a list."""

    id: JobId
    job_type: str
    run_id: RunId
    run_no: int
    state: JobState
    cur_stage: int
    stage_count: int
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job, its current run and that run's stages."""

    summary: JobSummary
    spec: dict[str, Any]
    result: dict[str, Any] | None
    deadline: dt.datetime | None
    """When the run is cancelled if it has not ended."""
    pruned_at: dt.datetime | None
    """When its stages, tasks and events were removed because of their age."""
    stages: tuple[StageProgress, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit trail."""

    id: int
    at: dt.datetime
    what: str
    stage_no: int | None
    stage: str | None
    task_id: str | None
    idx: int | None
    label: str | None
    attempt: int | None
    worker: str | None
    data: dict[str, Any]
