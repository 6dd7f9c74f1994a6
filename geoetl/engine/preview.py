"""What a job would do, without doing it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geoetl.chains.definition import JobSpec, Outline
from geoetl.chains.routing import Route
from geoetl.engine.services import Services
from geoetl.engine.submit import prepare
from geoetl.errors import Finding
from geoetl.models.refs import JobId
from geoetl.models.tasks import contract_of


@dataclass(frozen=True, slots=True)
class TaskPreview:
    """One expected task."""

    task: str
    label: str
    queue: str
    reason: str
    memory_bytes: int | None
    time_limit_s: int
    expected_s: int | None = None
    """Of one thread, transfers aside."""


@dataclass(frozen=True, slots=True)
class StagePreview:
    """One stage; ``tasks`` is None where only the results of the stage before will tell."""

    name: str
    tasks: tuple[TaskPreview, ...] | None


@dataclass(frozen=True, slots=True)
class JobPreview:
    """A job as it would be run now."""

    job_id: JobId
    job_type: str
    stages: tuple[StagePreview, ...]
    warnings: tuple[Finding, ...]


def preview(services: Services, spec: JobSpec) -> JobPreview:
    """Check a job and lay out its stages; nothing is stored or sent.

    Raises:
        PreflightFailed: It would be refused; all findings are in it.
        TransientError: Something could not be checked now.
    """
    plan, warnings = prepare(services, spec)
    progress = plan.progress()
    first, *later = plan.definition.stages
    queues = services.settings.broker.names
    planned = [Outline(call.task, call.label, call.route) for call in first.plan(spec, progress)]
    stages = [StagePreview(first.name, _tasks(planned, queues))]
    for stage in later:
        outline = None if stage.outline is None else stage.outline(spec, progress)
        stages.append(StagePreview(stage.name, None if outline is None else _tasks(outline, queues)))
    return JobPreview(plan.job_id, plan.definition.job_type, tuple(stages), warnings)


def _tasks(outlines: Sequence[Outline], queues: Mapping[str, str]) -> tuple[TaskPreview, ...]:
    return tuple(_task(outline, queues) for outline in outlines)


def _task(outline: Outline, queues: Mapping[str, str]) -> TaskPreview:
    contract = contract_of(outline.task)
    route = outline.route or Route(contract.queue, "", 0, contract.time_limit_s)
    return TaskPreview(
        task=str(outline.task),
        label=outline.label,
        queue=queues[route.queue],
        reason=route.reason,
        memory_bytes=route.memory_bytes or None,
        time_limit_s=route.time_limit_s,
        expected_s=route.expected_s or None,
    )
