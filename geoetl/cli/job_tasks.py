"""``geoetl job tasks`` and ``show-task``: what became of each task, and everything about one."""

import json
from typing import Annotated

import typer

from geoetl.cli import output
from geoetl.cli.jobs import AsJson, JobId, app, state_so_far
from geoetl.engine.history import Attempt, TaskDetail
from geoetl.engine.rows import TaskStatus
from geoetl.models.states import TaskState
from geoetl.worker import client


@app.command()
def tasks(
    job_id: JobId,
    state: Annotated[TaskState | None, typer.Option(help="Only tasks in this state.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed, each with its error.")] = False,
    stage: Annotated[str, typer.Option(help="Only tasks of this stage.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the tasks of a job's current run."""
    job = client.get_job(job_id)
    wanted = TaskState.FAILED if failed else state
    stages = {each.no: each.name for each in job.status().stages}
    # The table has no column for results.
    listed = job.tasks(states=None if wanted is None else [wanted], results=as_json)
    found = [task for task in listed if not stage or stages.get(task.stage_no) == stage]
    if as_json:
        output.print_json(found)
        return
    _print_tasks(found, stages)
    if failed:
        for task in found:
            _print_error(f"{task.number} {task.label}", task.error)
        if found:
            output.note(f"`geoetl job show-task {job.id[:12]} {found[0].number}` shows all there is about one.")


@app.command()
def show_task(
    job_id: JobId,
    task: Annotated[str, typer.Argument(help="The task's number (2.1), the beginning of its id, or its label.")],
    as_json: AsJson = False,
) -> None:
    """Show all there is about one task: input, queue, every attempt with its worker, the error and its traceback."""
    found = client.get_job(job_id).task(task)
    if as_json:
        output.print_json(found)
    else:
        print_task(found)


def _print_tasks(found: list[TaskStatus], stages: dict[int, str]) -> None:
    output.table(
        "task", "stage", "label", "state", "attempt", "queue", "took", "worker",
        rows=[
            (
                task.number,
                stages.get(task.stage_no, ""),
                task.label,
                state_so_far(task),
                f"{task.attempt}/{task.max_attempts}",
                task.queue,
                output.ago(task.seconds),
                task.worker,
            )
            for task in found
        ],
    )  # fmt: skip
    if not found:
        output.note("No such tasks.")


def print_task(found: TaskDetail) -> None:
    """A task as whoever looks for its fault reads it."""
    task = found.task
    memory = f", about {found.memory_bytes / 2**20:.0f} MiB" if found.memory_bytes else ""
    reason = f", because {task.reason}" if task.reason else ""
    output.say(f"Task {found.number}  {output.plain(task.label)}: {state_so_far(task)}")
    output.say(f"  what      {task.name}, stage {found.stage}, id {task.id}")
    output.say(f"  queue     {task.queue}{output.plain(reason)}; at most {output.ago(found.time_limit_s)}{memory}")
    output.say(f"  input     {output.plain(json.dumps(found.input, ensure_ascii=False))}")
    output.say(f"  attempts  {task.attempt} of {task.max_attempts}")
    for attempt in found.attempts:
        output.say(f"    {_attempt_line(attempt)}")
        if attempt.error and attempt.error != task.error:
            _print_error("", attempt.error, indent="      ")
    for note in found.notes:
        details = ", ".join(f"{key}={value}" for key, value in note.data.items())
        output.say(f"  {output.moment(note.at)}  {note.what}  {output.plain(details)}")
    _print_error("", task.error)
    if task.error and task.error.get("traceback"):
        output.say(f"\n{output.plain(task.error['traceback'].rstrip())}")


def _attempt_line(attempt: Attempt) -> str:
    took = None
    if attempt.started_at and attempt.ended_at:
        took = (attempt.ended_at - attempt.started_at).total_seconds()
    began = f"{output.moment(attempt.started_at)}  on {attempt.worker}" if attempt.started_at else "never began"
    ended = f", {attempt.outcome} after {output.ago(took)}" if took is not None else f", {attempt.outcome}"
    if not attempt.outcome:
        ended = ", no end recorded"
    waits = f", next one {output.ago(attempt.delay_s)} later" if attempt.delay_s is not None else ""
    return f"{attempt.no}. {began}{ended}{waits}"


def _print_error(what: str, error: dict[str, object] | None, *, indent: str = "") -> None:
    if not error:
        return
    kind = f"{error.get('type', 'Error')}, {error.get('blame', 'us')} to act"
    named = f"{what}: " if what else ""
    lead = "" if indent else "\n"
    output.say(
        f"{lead}{indent}{output.plain(named)}[red]{error['code']}[/red] {output.plain(str(error['message']))} ({kind})"
    )
    if error.get("hint"):
        output.say(f"{indent}  {output.plain(str(error['hint']))}")
