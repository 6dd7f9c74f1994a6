"""States of jobs, stages and tasks, and which may follow which. The SQL holds the same table; a test compares them."""

from enum import StrEnum


class JobState(StrEnum):
    """State of a job, which is the state of its current run."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """No transition leaves this state, but for a resume or a new run."""
        return self in {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}


class StageState(StrEnum):
    """State of a stage. ``completing``: every task succeeded, the chord callback is pending."""

    RUNNING = "running"
    COMPLETING = "completing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskState(StrEnum):
    """State of a task. ``ready`` covers queued, waiting for a retry's time, and returned after a lost lease."""

    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset({JobState.RUNNING}),  # resume
    JobState.CANCELLED: frozenset({JobState.RUNNING}),  # resume
}
STAGE_TRANSITIONS: dict[StageState, frozenset[StageState]] = {
    StageState.RUNNING: frozenset({StageState.COMPLETING, StageState.FAILED, StageState.CANCELLED}),
    StageState.COMPLETING: frozenset({StageState.COMPLETED, StageState.FAILED, StageState.CANCELLED}),
    StageState.COMPLETED: frozenset(),
    StageState.FAILED: frozenset({StageState.RUNNING, StageState.COMPLETING}),  # resume
    StageState.CANCELLED: frozenset({StageState.RUNNING, StageState.COMPLETING}),  # resume
}
TASK_TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.READY: frozenset({TaskState.RUNNING, TaskState.SKIPPED, TaskState.FAILED}),
    TaskState.RUNNING: frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.READY}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset({TaskState.READY}),  # resume
    TaskState.CANCELLED: frozenset({TaskState.READY}),  # resume
    TaskState.SKIPPED: frozenset({TaskState.READY}),  # resume
}
