"""``geoetl submit`` and ``geoetl plan``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from geoetl.chains.definition import JobSpec
from geoetl.chains.registry import DEFINITIONS, parse_spec
from geoetl.cli import output
from geoetl.cli.durations import seconds
from geoetl.cli.jobs import follow
from geoetl.engine.preview import JobPreview, preview
from geoetl.errors import InvalidInput
from geoetl.worker import client

JobType = Annotated[str, typer.Argument(help="One of: " + ", ".join(DEFINITIONS) + ".", metavar="JOB_TYPE")]
Sources = Annotated[
    list[str] | None, typer.Argument(help="Sources, for job types that have them: bronze://container/path …")
]
Collection = Annotated[str | None, typer.Option(help="STAC collection, for job types that have one.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", help="Any other parameter, name=value; the value is JSON or plain text. Repeatable."),
]
SpecFile = Annotated[Path | None, typer.Option("--spec", help="JSON file with parameters; the others are added.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def submit(
    job_type: JobType,
    sources: Sources = None,
    collection: Collection = None,
    param: Parameters = None,
    spec: SpecFile = None,
    force: Annotated[bool, typer.Option(help="Run again although the same job is done.")] = False,
    deadline: Annotated[
        float | None,
        typer.Option(parser=seconds, metavar="DURATION", help="Cancel the job if it takes longer: 90s, 30m, 2h, 7d."),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the job has ended; exit status 1 if it failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check and start a job. The same job on the same sources is started once."""
    job = client.submit(parse(job_type, sources, collection, param, spec), force=force, deadline_s=deadline)
    submission = job.submission
    assert submission is not None
    if wait and submission.outcome != "ended before":
        follow(job, as_json=as_json)
        return
    if as_json:
        output.print_json(submission)
    else:
        output.say(f"{job.id}  {submission.outcome}, run {submission.run_no}, {output.colored(submission.state)}")
        output.note(submission.hint or f"Follow it with `geoetl job wait {job.id[:12]}`.")
    if wait:
        # It failed or was cancelled before: whoever waits for the product must not go on.
        raise typer.Exit(output.EXIT_FAILED)


def plan(
    job_type: JobType,
    sources: Sources = None,
    collection: Collection = None,
    param: Parameters = None,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Show stages, tasks, queues and reasons of a job, without running it."""
    made = preview(client.default_services(), parse(job_type, sources, collection, param, spec))
    if as_json:
        output.print_json(made)
    else:
        print_plan(made)


def print_plan(made: JobPreview) -> None:
    """A plan as people read it."""
    output.say(f"Job {made.job_id} ({made.job_type})")
    for number, stage in enumerate(made.stages, start=1):
        if stage.tasks is None:
            output.say(f"\nStage {number}: {stage.name}, planned when stage {number - 1} is complete")
            continue
        count = len(stage.tasks)
        if count == 0:
            output.say(f"\nStage {number}: {stage.name}, nothing to do")
            continue
        output.say(f"\nStage {number}: {stage.name}, {count} task{'' if count == 1 else 's'}")
        output.table(
            "task",
            "queue",
            "memory",
            "about",
            "limit",
            "why this queue",
            rows=[
                (
                    task.label,
                    task.queue,
                    f"{task.memory_bytes / 2**20:.0f} MiB" if task.memory_bytes else "",
                    output.ago(task.expected_s) if task.expected_s else "",
                    output.ago(task.time_limit_s),
                    task.reason,
                )
                for task in stage.tasks
            ],
        )
    for warning in made.warnings:
        told = output.plain(f"{warning.parameter}: {warning.message}")
        output.say(f"\n[yellow]{warning.code}[/yellow] {told}")


def parse(
    job_type: str,
    sources: list[str] | None,
    collection: str | None,
    params: list[str] | None,
    file: Path | None,
    *,
    given: Mapping[str, Any] | None = None,
) -> JobSpec:
    """A checked spec of what the command line gave; later arguments win over a file's.

    Raises:
        InvalidInput: A parameter is malformed, unknown, missing or wrong; all findings at once.
    """
    parameters: dict[str, Any] = {**(given or {}), **(read_file(file) if file else {})}
    if sources:
        parameters["sources"] = sources
    if collection is not None:
        parameters["collection"] = collection
    for param in params or []:
        name, separator, value = param.partition("=")
        if not separator:
            raise InvalidInput(f"{param!r} is not a parameter.", code="bad-parameter", hint="Write it as name=value.")
        parameters[name] = _value(value)
    return parse_spec(job_type, parameters)


def _value(text: str) -> Any:
    """JSON, or plain text: which a bare number or word is too, since an id may look like a number."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, bool | int | float) else value


def read_file(file: Path) -> Mapping[str, Any]:
    """The parameters in a JSON file.

    Raises:
        InvalidInput: It cannot be read, or is not one JSON object.
    """
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InvalidInput(f"The specification {file} cannot be read: {exc.strerror}.", code="spec-unreadable") from exc
    except ValueError as exc:
        raise InvalidInput(f"The specification {file} is not JSON: {exc}.", code="spec-unreadable") from exc
    if not isinstance(content, dict):
        raise InvalidInput(
            f"The specification {file} holds a {type(content).__name__}.",
            code="spec-unreadable",
            hint='It must be one object: {"sources": […], …}.',
        )
    return cast("Mapping[str, Any]", content)
