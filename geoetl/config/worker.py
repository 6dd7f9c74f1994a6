"""How a worker works."""

from typing import Self

from pydantic import Field, model_validator

from geoetl.config.section import Section


class WorkerSettings(Section):
    """Concurrency, leases and limits of one worker process and its children."""

    concurrency: int = Field(default=2, ge=1, le=256)
    """Tasks at the same time."""
    lease_s: float = Field(default=30, gt=0)
    """How long an attempt owns its task without a heartbeat, in seconds."""
    heartbeat_s: float = Field(default=5, gt=0)
    """How often the worker extends the leases of its running attempts, in seconds."""
    reap_s: float = Field(default=5, gt=0)
    """How often expired leases are looked for, in seconds."""
    resend_s: float = Field(default=60, gt=0)
    """How long a message may be unheard before it is sent again, in seconds; doubles per task, and the broker is asked
    first whether it still has it."""
    dead_letters_s: float = Field(default=60, gt=0)
    """How often the dead letters of the queues are looked through for those of our tasks, in seconds."""
    task_time_limit_s: int = Field(default=3600, ge=10)
    """After this the process of a plain Celery task is killed, in seconds. Tasks of jobs have limits of their own."""
    max_tasks_per_child: int = Field(default=100, ge=1)
    """A child process is replaced after this many tasks."""
    prefetch_multiplier: int = Field(default=1, ge=1, le=64)
    """Messages a worker takes per child process. More than 1 keeps children busy where tasks take milliseconds; where
    they take minutes, it makes tasks wait behind others while another worker is idle."""
    task_events: bool = True
    """Tell Flower and `celery events` of every task. Without them they show workers only; `geoetl job` needs none."""

    memory_limit_bytes: int | None = Field(default=None, ge=256 * 1024**2)
    """Memory for all workers of this machine or container; by default the control group's limit, else the machine's."""
    memory_reserve_bytes: int = Field(default=256 * 1024**2, ge=0)
    """Part of it that is kept for everything but tasks."""

    @model_validator(mode="after")
    def _survives_a_lost_heartbeat(self) -> Self:
        if self.heartbeat_s * 3 > self.lease_s:
            raise ValueError(
                f"lease_s ({self.lease_s:g}) must be at least three times heartbeat_s ({self.heartbeat_s:g}), "
                "so that one slow heartbeat does not lose a running task"
            )
        return self
