"""From planned tasks to a real Celery chord: header signatures by name, the stage's completion as immutable body."""

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery, chord, group

from geoetl.chains.definition import TaskCall, check_call
from geoetl.errors import InvalidInput
from geoetl.models.refs import RunId
from geoetl.models.tasks import COMPLETE_STAGE, TASKS


def compile_stage(
    app: Celery,
    *,
    run_id: RunId,
    no: int,
    stage: str,
    calls: Sequence[TaskCall],
    max_fan_out: int,
    queues: Mapping[str, str],
) -> chord:
    """A chord that runs as it is on any Celery with workers of ours: arguments and all.

    The engine takes its header and body, keeps the arguments in its rows and sends messages that carry ids.

    Args:
        app: Makes the signatures.
        run_id: The run.
        no: Of the stage, from 0.
        stage: Its name.
        calls: Its tasks.
        max_fan_out: How many there may be.
        queues: Names of the broker's queues, by what the task table and routes call them.

    Raises:
        TypeError: A call does not keep to the task table.
        InvalidInput: More tasks than a stage may have.
    """
    if len(calls) > max_fan_out:
        raise InvalidInput(
            f"Stage {stage!r} would have {len(calls)} tasks; the limit is {max_fan_out}.",
            code="fan-out-too-large",
            hint="Split the job, or raise GEOETL_LIMITS__MAX_FAN_OUT.",
        )
    for call in calls:
        check_call(call, stage=stage)
    header = [_signature(app, call, queues) for call in calls]
    body = app.signature(COMPLETE_STAGE, args=(run_id, no), options={"queue": queues["standard"]}, immutable=True)
    # A group is taken as it is; of a list, the chord would copy every signature.
    return chord(group(header, app=app), body)


def _signature(app: Celery, call: TaskCall, queues: Mapping[str, str]) -> Any:
    contract = TASKS[call.task]
    route = call.route
    return app.signature(
        str(call.task),
        args=(call.input.model_dump(mode="json"),),
        immutable=True,
        options={
            "queue": queues[route.queue if route else contract.queue],
            "time_limit": route.time_limit_s if route else contract.time_limit_s,
        },
    )
