"""``geoetl job``: looking at jobs, waiting for them, ending and resuming them."""

import datetime as dt
import json
from typing import Annotated

import typer

from geoetl.cli import output
from geoetl.cli.story import event_line
from geoetl.engine.control import RESUME_BUDGET
from geoetl.engine.rows import JobStatus, StageProgress, TaskStatus
from geoetl.models.states import JobState, TaskState
from geoetl.worker import client
from geoetl.worker.client import Job

app = typer.Typer(help="Look at jobs, wait for them, cancel and resume them.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="The job's id, or the beginning of it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("list")
def list_jobs(
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    job_type: Annotated[str | None, typer.Option("--type", help="Only jobs of this type.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    found = client.list_jobs(state=state, job_type=job_type, limit=limit)
    if as_json:
        output.print_json(found)
        return
    output.table(
        "job",
        "type",
        "run",
        "state",
        "stage",
        "submitted",
        "took",
        rows=[
            (
                job.id[:12],
                job.job_type,
                job.run_no,
                output.colored(job.state),
                f"{job.cur_stage + 1}/{job.stage_count}",
                job.created_at,
                output.ago(_seconds(job.created_at, job.finished_at)),
            )
            for job in found
        ],
    )
    if not found:
        output.note("No jobs yet. `geoetl submit --help` shows how to start one.")


@app.command()
def status(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job, its stages and the tasks that are running or have failed."""
    job = client.get_job(job_id)
    if as_json:
        output.print_json({"status": job.status(), "tasks": job.tasks()})
    else:
        print_status(job.status(), _notable(job))


@app.command()
def events(
    job_id: JobId,
    after: Annotated[int, typer.Option(help="Only events after the one of this number.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what has happened in a job's current run, in order. With --follow, JSON is one line an event."""
    job = client.get_job(job_id)
    if follow:
        for event in job.follow(after=after):
            output.say_at_once(json.dumps(output.as_json(event)) if as_json else event_line(event))
        return
    found = list(job.events(after=after))
    if as_json:
        output.print_json(found)
        return
    for event in found:
        output.say_at_once(event_line(event))


@app.command()
def wait(
    job_id: JobId,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait; the job goes on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Wait until a job has ended; exit status 1 if it failed."""
    follow(client.get_job(job_id), timeout_s=timeout, as_json=as_json)


@app.command()
def cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """End a job. Running tasks stop at their next checkpoint."""
    job = client.get_job(job_id)
    is_cancelled = job.cancel()
    if as_json:
        output.print_json({"job_id": job.id, "cancelled": is_cancelled})
    else:
        output.say(f"{job.id}  {'cancelled' if is_cancelled else 'had ended already'}")


@app.command()
def resume(job_id: JobId, as_json: AsJson = False) -> None:
    """Go on with a failed or cancelled job at the stage where it ended; every unfinished task gets new attempts."""
    job = client.get_job(job_id)
    job.resume()
    if as_json:
        output.print_json({"job_id": job.id, "resumed": True})
    else:
        output.say(f"{job.id}  resumed")


@app.command()
def retry(
    job_id: JobId,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Number, id or label of a failed task; all that failed must be named. Repeatable."),
    ] = None,
    attempts: Annotated[int, typer.Option(min=1, max=100, help="Attempts that each task gets.")] = RESUME_BUDGET,
    as_json: AsJson = False,
) -> None:
    """Give the failed tasks of a failed job new attempts; the job goes on with them and what was skipped for them."""
    job = client.get_job(job_id)
    numbers = job.retry(tasks=task or (), attempts=attempts)
    if as_json:
        output.print_json({"job_id": job.id, "retried": numbers})
    else:
        output.say(f"{job.id}  retried {', '.join(numbers)}")


def follow(job: Job, *, timeout_s: float | None = None, as_json: bool = False) -> None:
    """Wait for a job with a progress bar, then show it."""
    try:
        job.wait(timeout_s=timeout_s)
    except client.JobFailed as error:
        if not as_json:
            raise
        output.print_json({"status": job.status(), "tasks": job.tasks()})
        raise typer.Exit(output.exit_status(error)) from None
    if as_json:
        output.print_json({"status": job.status(), "tasks": job.tasks()})
    else:
        print_status(job.status(), _notable(job))


def _notable(job: Job) -> list[TaskStatus]:
    """The tasks that a person hears of: there may be ten thousand others."""
    return job.tasks(states=(TaskState.RUNNING, TaskState.FAILED), results=False)


def print_status(found: JobStatus, tasks: list[TaskStatus]) -> None:
    """A job as people read it, with its tasks that run or failed, and what they can do about it."""
    job = found.summary
    took = output.ago(_seconds(job.created_at, job.finished_at))
    output.say(
        f"Job {job.id}  {job.job_type}, run {job.run_no}: {output.colored(job.state)}{f' after {took}' if took else ''}"
    )
    if found.deadline is not None and not job.state.is_final:
        output.say(f"  must end by {output.moment(found.deadline)}, else it is cancelled")
    if found.pruned_at is not None:
        output.say(f"  its history was removed at {output.moment(found.pruned_at)}; what it published is still there")
    for stage in found.stages:
        output.say(_stage_line(stage))
    for no in range(len(found.stages), 0 if found.pruned_at else job.stage_count):
        output.say(f"  {no + 1}. not started")
    _print_notable(tasks)
    if job.error:
        output.say(f"\n[red]{job.error['code']}[/red] {output.plain(job.error['message'])}")
        if job.error.get("hint"):
            output.say(f"  {output.plain(job.error['hint'])}")
    _advise(found, tasks)


def _stage_line(stage: StageProgress) -> str:
    done = stage.counts[TaskState.SUCCEEDED]
    others = [f"{count} {state}" for state, count in stage.counts.items() if count and state is not TaskState.SUCCEEDED]
    padding = " " * (10 - len(stage.state))
    share = f" ({stage.share:.0%})" if stage.underway else ""
    counted = ", ".join([f"{done} of {stage.size} done{share}", *others])
    return f"  {stage.no + 1}. {stage.name:<12} {output.colored(stage.state)}{padding} {counted}"


def _print_notable(tasks: list[TaskStatus]) -> None:
    if not tasks:
        return
    output.say()
    output.table(
        "task", "", "state", "attempt", "queue", "worker",
        rows=[
            (task.number, task.label, state_so_far(task),
             f"{task.attempt} of {task.max_attempts}", task.queue, task.worker)
            for task in tasks
        ],
    )  # fmt: skip


def state_so_far(task: TaskStatus) -> output.Markup:
    """A task's state; where it runs, for how long, and how many of its steps are done if it counts them."""
    if task.state is not TaskState.RUNNING or task.started_at is None:
        return output.colored(task.state)
    steps = f", {task.steps.done} of {task.steps.total} steps" if task.steps else ""
    took = output.ago(_seconds(task.started_at, dt.datetime.now(dt.UTC)))
    return output.colored(task.state, f" for {took}{steps}")


def _advise(found: JobStatus, tasks: list[TaskStatus]) -> None:
    job, short = found.summary, found.summary.id[:12]
    if job.state is JobState.FAILED:
        failed = next((task.number for task in tasks if task.state is TaskState.FAILED), None)
        if failed is not None:
            output.note(f"`geoetl job show-task {short} {failed}` shows all there is about the task that failed.")
        output.note(f"When its cause is mended, `geoetl job retry {short}` goes on; what succeeded is kept.")
    elif job.state is JobState.CANCELLED and not job.error:
        output.note(f"`geoetl job resume {short}` goes on from where it was; what succeeded is kept.")


def _seconds(begin: dt.datetime, end: dt.datetime | None) -> float | None:
    return None if end is None else (end - begin).total_seconds()
