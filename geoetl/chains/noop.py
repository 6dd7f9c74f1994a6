"""``noop``: a fan-out whose width is known only from the first stage's result. Proves an installation."""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from geoetl.chains.definition import JobDefinition, JobSpec, Outline, Progress, Stage, TaskCall
from geoetl.chains.routing import Route
from geoetl.models.noop import CountInput, CountOutput, WorkInput, WorkOutput
from geoetl.models.tasks import TaskName, contract_of

_MIB = 1024 * 1024


class Noop(JobSpec):
    """``tasks`` tasks that each stay busy for ``seconds``."""

    job_type: ClassVar[str] = "noop"

    tasks: int = Field(default=3, ge=0, le=100_000)
    seconds: float = Field(default=0.0, ge=0, le=3600)
    hold_mib: int = Field(default=0, ge=0, le=1024**2)
    """Memory that each of them holds meanwhile, to see what the workers' limits do."""
    expected_mib: int = Field(default=0, ge=0, le=1024**2)
    """Memory that each is said to need."""
    name: str = ""
    """Makes two equal jobs different ones."""


def count(spec: Noop, progress: Progress) -> Sequence[TaskCall]:
    """One task, whose result is the width of the next stage."""
    return [TaskCall(TaskName.NOOP_COUNT, CountInput(tasks=spec.tasks), label=f"count to {spec.tasks}")]


def work(spec: Noop, progress: Progress) -> Sequence[TaskCall]:
    """As many tasks as were counted."""
    (counted,) = progress.results("count", CountOutput)
    return [
        TaskCall(
            TaskName.NOOP_WORK,
            WorkInput(index=index, seconds=spec.seconds, hold_bytes=spec.hold_mib * _MIB),
            label=f"number {index}",
            route=_route(spec),
        )
        for index in range(counted.tasks)
    ]


def _route(spec: Noop) -> Route | None:
    if not spec.expected_mib:
        return None
    contract = contract_of(TaskName.NOOP_WORK)
    return Route(contract.queue, "memory as the job says", spec.expected_mib * _MIB, contract.time_limit_s)


def outline_work(spec: Noop, progress: Progress) -> Sequence[Outline]:
    """What the count will come to."""
    return [Outline(TaskName.NOOP_WORK, f"number {index}", _route(spec)) for index in range(spec.tasks)]


def summarise(spec: Noop, progress: Progress) -> dict[str, Any]:
    """A number that is wrong if a result is lost, doubled or out of order."""
    return {"sum_of_squares": sum(worked.square for worked in progress.results("work", WorkOutput))}


definition = JobDefinition(
    spec=Noop, version=1, stages=(Stage("count", count), Stage("work", work, outline_work)), summarise=summarise
)
