"""``geoetl preflight``: the checks of a job alone; nothing is stored or sent."""

from pathlib import Path
from typing import Annotated, Any

import typer

from geoetl.chains.registry import definition_of
from geoetl.cli import output
from geoetl.cli.submit import AsJson, Collection, Parameters, Sources, SpecFile, parse, read_file
from geoetl.engine.submit import as_json as facts_as_json
from geoetl.errors import InvalidInput
from geoetl.preflight.checks import PreflightReport
from geoetl.preflight.runner import run_checks
from geoetl.worker import client


def preflight(
    what: Annotated[
        str,
        typer.Argument(help="A job type, or a JSON file with `job_type` and the parameters.", metavar="JOB_TYPE|SPEC"),
    ],
    sources: Sources = None,
    collection: Collection = None,
    param: Parameters = None,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Check a job without starting it: every finding, and what was learned; exit status 2 if it would be refused."""
    job_type, given = _job_type(what)
    parsed = parse(job_type, sources, collection, param, spec, given=given)
    report = run_checks(definition_of(job_type).checks, parsed, client.default_services().checks)
    if as_json:
        output.print_json({
            "accepted": not report.errors and not report.unchecked,
            "findings": report.findings,
            "facts": facts_as_json(report.facts),
            "unchecked": [
                {"check": each.check, "parameter": each.parameter, "message": each.cause.message}
                for each in report.unchecked
            ],
        })  # fmt: skip
    else:
        _print(job_type, report)
    if report.errors:
        raise typer.Exit(output.EXIT_REFUSED)
    if report.unchecked:
        raise typer.Exit(output.EXIT_TEMPORARY)


def _job_type(what: str) -> tuple[str, dict[str, Any]]:
    if not what.endswith(".json"):
        return what, {}
    given = dict(read_file(Path(what)))
    job_type = given.pop("job_type", None)
    if not isinstance(job_type, str):
        raise InvalidInput(
            f"The specification {what} has no job_type.",
            code="job-type-missing",
            hint='Write {"job_type": "process_raster", "sources": […], …}, or name the job type: '
            f"`geoetl preflight JOB_TYPE --spec {what}`.",
        )
    return job_type, given


def _print(job_type: str, report: PreflightReport) -> None:
    output.print_findings(report.findings)
    for each in report.unchecked:
        told = output.plain(f"{each.parameter}: {each.check}: {each.cause.message}")
        output.say(f"[yellow]cannot check now[/yellow] {told}")
    learned = sum(len(by_parameter) for by_parameter in report.facts.values())
    if report.errors:
        verdict = f"would be refused, {len(report.errors)} problem(s)"
    else:
        verdict = "cannot be judged now" if report.unchecked else "would be accepted"
    output.say(f"{job_type} {verdict}; {learned} fact(s) learned")
