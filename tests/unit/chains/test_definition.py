"""Wrong definitions fail when they are made, with what to mend."""

from typing import Any, ClassVar

import pytest
from celery import Celery

from geoetl.chains.compile import compile_stage
from geoetl.chains.definition import JobDefinition, JobSpec, Stage, TaskCall
from geoetl.chains.registry import DEFINITIONS
from geoetl.chains.routing import Route
from geoetl.errors import InvalidInput
from geoetl.models.noop import CountInput, WorkInput
from geoetl.models.refs import RunId
from geoetl.models.tasks import COMPLETE_STAGE, TASKS, TaskName


class Spec(JobSpec):
    job_type: ClassVar[str] = "test"


def plan(spec: Any, progress: Any) -> list[TaskCall]:
    return []


def compiled(*calls: TaskCall, max_fan_out: int = 10) -> Any:
    return compile_stage(
        Celery("test", set_as_current=False),
        run_id=RunId("r"),
        no=0,
        stage="work",
        calls=calls,
        max_fan_out=max_fan_out,
        queues={"standard": "light", "gdal": "heavy"},
    )


def test_a_spec_without_a_type_is_refused():
    class Nameless(JobSpec):
        pass

    with pytest.raises(TypeError, match="Nameless has no `job_type"):
        JobDefinition(spec=Nameless, version=1, stages=(Stage("a", plan),))


def test_a_job_without_stages_is_refused():
    with pytest.raises(TypeError, match="test has no stages"):
        JobDefinition(spec=Spec, version=1, stages=())


def test_two_stages_of_one_name_are_refused():
    with pytest.raises(TypeError, match="two stages named a"):
        JobDefinition(spec=Spec, version=1, stages=(Stage("a", plan), Stage("a", plan)))


def test_tasks_and_completion_go_to_the_queues_of_the_settings():
    route = Route(queue="gdal", reason="large", memory_bytes=1, time_limit_s=1)

    stage = compiled(
        TaskCall(TaskName.NOOP_WORK, WorkInput(index=0)), TaskCall(TaskName.NOOP_WORK, WorkInput(index=1), route=route)
    )

    assert [task.options["queue"] for task in stage.tasks] == ["light", "heavy"]
    assert stage.body.options["queue"] == "light"


def test_a_planned_input_of_the_wrong_type_is_refused_before_anything_is_sent():
    with pytest.raises(
        TypeError, match=r"stage 'work' plans noop\.work with a CountInput; its contract takes a WorkInput"
    ):
        compiled(TaskCall(TaskName.NOOP_WORK, CountInput(tasks=1)))


def test_a_stage_compiles_into_a_chord_that_carries_its_arguments():
    chord = compiled(*(TaskCall(TaskName.NOOP_WORK, WorkInput(index=n)) for n in range(3)))

    assert [(task.task, task.args, task.options["queue"]) for task in chord.tasks] == [
        ("noop.work", ({"index": n, "seconds": 0.0, "hold_bytes": 0},), "light") for n in range(3)
    ]
    assert (chord.body.task, chord.body.args, chord.body.immutable) == (COMPLETE_STAGE, ("r", 0), True)


def test_a_fan_out_beyond_the_limit_is_refused_by_name_and_number():
    calls = [TaskCall(TaskName.NOOP_WORK, WorkInput(index=n)) for n in range(11)]

    with pytest.raises(InvalidInput, match="Stage 'work' would have 11 tasks; the limit is 10") as caught:
        compiled(*calls)

    assert caught.value.code == "fan-out-too-large"


def test_every_task_of_the_table_has_a_hard_limit_and_every_job_type_a_name():
    assert all(contract.time_limit_s > 0 for contract in TASKS.values())
    assert {name: definition.job_type for name, definition in DEFINITIONS.items()} == {
        name: name for name in DEFINITIONS
    }
