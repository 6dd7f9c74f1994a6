"""How far a job is, as `geoetl job status` writes it."""

import datetime as dt

import pytest

from geoetl.cli.jobs import print_status
from geoetl.engine.rows import JobStatus, JobSummary, StageProgress, Steps, TaskStatus
from geoetl.models.refs import JobId, RunId
from geoetl.models.states import JobState, StageState, TaskState

BEGUN = dt.datetime(2026, 2, 3, tzinfo=dt.UTC)
SUMMARY = JobSummary(
    JobId("ab" * 16),
    "process_raster",
    RunId("r"),
    1,
    JobState.RUNNING,
    0,
    1,
    BEGUN,
    BEGUN,
    finished_at=None,
    error=None,
)


def task(steps):
    return TaskStatus(
        0, 0, "id", "raster.convert", "convert a.tif", "gdal", "", TaskState.RUNNING, 1, 3, "host:7",
        dt.datetime.now(dt.UTC) - dt.timedelta(seconds=125), finished_at=None, error=None, result=None, steps=steps,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "underway", "of_stage", "of_task"),
    [
        (Steps(12, 64), 12 / 64, "1 of 2 done (59%), 1 running", "running for 2 min 5 s, 12 of 64 steps"),
        (None, 0.0, "1 of 2 done, 1 running", "running for 2 min 5 s"),
    ],
)
def test_a_running_task_shows_its_steps_or_else_its_time(steps, underway, of_stage, of_task, capsys):
    counts = dict.fromkeys(TaskState, 0) | {TaskState.SUCCEEDED: 1, TaskState.RUNNING: 1}
    stage = StageProgress(0, "convert", StageState.RUNNING, 2, 1, BEGUN, None, counts, underway)

    print_status(JobStatus(SUMMARY, {}, None, None, None, (stage,)), [task(steps)])

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.endswith(of_stage) for line in lines)
    assert any(f" {of_task} 1 of 3 " in line for line in lines)
