"""What a job type is: a spec, checks, and stages that plan their tasks."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from pydantic import model_validator

from geoetl.chains.routing import Route
from geoetl.config.settings import Settings
from geoetl.models.base import Model
from geoetl.models.refs import JobId, RunId
from geoetl.models.tasks import TASKS, TaskName
from geoetl.preflight.checks import Check

#: NUL as JSON writes it: behind an even number of backslashes, which are backslashes themselves.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class JobSpec(Model):
    """Base of every job specification: typed parameters, unknown ones refused."""

    job_type: ClassVar[str]

    @model_validator(mode="after")
    def _can_be_stored(self) -> Self:
        if _NUL.search(self.model_dump_json()):
            raise ValueError("a text has a NUL character in it, which no database stores")
        return self


@dataclass(frozen=True, slots=True)
class TaskCall:
    """One task to run: a name from the task table and an input of its contract's type."""

    task: TaskName
    input: Model
    label: str = ""
    """What a person reads in lists and in Flower, for example the source's name."""
    route: Route | None = None
    """None: the contract's queue and limit."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a stage knows when it plans its tasks."""

    job_id: JobId
    run_id: RunId
    facts: Mapping[str, Any]
    """What the checks learned at submit, by fact name (JSON values)."""
    settings: Settings
    read_results: Callable[[str], Sequence[Any]] = field(repr=False, default=lambda name: [])

    def results[M: Model](self, stage: str, model: type[M]) -> list[M]:
        """Results of an earlier stage, all of them, in the order its tasks were planned."""
        return [model.model_validate(result) for result in self.read_results(stage)]


@dataclass(frozen=True, slots=True)
class Outline:
    """A task that is expected, before the results exist from which it will be planned."""

    task: TaskName
    label: str
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class Stage[S: JobSpec]:
    """Tasks that run in parallel. ``plan`` may return any number of them, none as well."""

    name: str
    plan: Callable[[S, Progress], Sequence[TaskCall]]
    outline: Callable[[S, Progress], Sequence[Outline]] | None = None
    """What ``geoetl plan`` shows of a stage that is planned from results: from facts alone. None: not known."""


@dataclass(frozen=True, slots=True)
class JobDefinition[S: JobSpec]:
    """One job type. Wrong definitions fail when they are made, that is at import."""

    spec: type[S]
    version: int
    """Raised when the same spec would give different products: part of the job's identity."""
    stages: tuple[Stage[S], ...]
    checks: tuple[Check, ...] = ()
    is_published: bool = False
    """Whether its products are in the ledger of the business database."""
    summarise: Callable[[S, Progress], dict[str, Any]] = field(default=lambda spec, progress: {})
    """The job's own result, made from the results of its stages when the last one is complete."""

    def __post_init__(self) -> None:
        where = f"job definition in {inspect.getmodule(self.spec)!r}"
        if not getattr(self.spec, "job_type", ""):
            raise TypeError(f'{where}: {self.spec.__name__} has no `job_type: ClassVar[str] = "…"`')
        if not self.stages:
            raise TypeError(f"{where}: {self.job_type} has no stages; give at least one Stage(name, plan)")
        names = [stage.name for stage in self.stages]
        if twice := {name for name in names if names.count(name) > 1}:
            raise TypeError(f"{where}: {self.job_type} has two stages named {', '.join(sorted(twice))}")

    @property
    def job_type(self) -> str:
        """The name users submit it by."""
        return self.spec.job_type


def check_call(call: TaskCall, *, stage: str) -> None:
    """Refuse a planned task that no worker could run.

    Raises:
        TypeError: The task is not in the table, or its input is not of the contract's type.
    """
    contract = TASKS.get(call.task)
    if contract is None:
        raise TypeError(f"stage {stage!r} plans {call.task!r}, which is not in geoetl/models/tasks.py")
    if not isinstance(call.input, contract.input):
        raise TypeError(
            f"stage {stage!r} plans {call.task} with a {type(call.input).__name__}; "
            f"its contract takes a {contract.input.__name__}"
        )
