"""The jobs that are measured: stages of equal no-op tasks, each callback reading all results of its stage."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

from pydantic import Field

from geoetl.chains.definition import JobDefinition, JobSpec, Progress, Stage, TaskCall
from geoetl.chains.registry import DEFINITIONS
from geoetl.models.noop import WorkInput, WorkOutput
from geoetl.models.tasks import TaskName


class Wide(JobSpec):
    """One stage of ``tasks`` tasks."""

    job_type: ClassVar[str] = "bench_wide"

    tasks: int = Field(ge=0, le=100_000)
    seconds: float = 0.0
    name: str


class Flat(Wide):
    """Three stages of ``tasks`` tasks."""

    job_type: ClassVar[str] = "bench_flat"


def _calls(spec: Wide) -> list[TaskCall]:
    return [
        TaskCall(TaskName.NOOP_WORK, WorkInput(index=index, seconds=spec.seconds), label=f"number {index}")
        for index in range(spec.tasks)
    ]


def first(spec: Wide, progress: Progress) -> Sequence[TaskCall]:
    return _calls(spec)


def second(spec: Flat, progress: Progress) -> Sequence[TaskCall]:
    _sum(progress, "first")
    return _calls(spec)


def third(spec: Flat, progress: Progress) -> Sequence[TaskCall]:
    _sum(progress, "second")
    return _calls(spec)


def sum_of_first(spec: Wide, progress: Progress) -> dict[str, Any]:
    return {"sum": _sum(progress, "first")}


def sum_of_third(spec: Flat, progress: Progress) -> dict[str, Any]:
    return {"sum": _sum(progress, "third")}


def _sum(progress: Progress, stage: str) -> int:
    return sum(worked.square for worked in progress.results(stage, WorkOutput))


wide = JobDefinition(spec=Wide, version=1, stages=(Stage("first", first),), summarise=sum_of_first)

flat = JobDefinition(
    spec=Flat,
    version=1,
    stages=(Stage("first", first), Stage("second", second), Stage("third", third)),
    summarise=sum_of_third,
)

#: The shipped list is not for benchmarks; whoever imports this module knows two job types more.
cast("dict[str, JobDefinition[Any]]", DEFINITIONS).update({wide.job_type: wide, flat.job_type: flat})
