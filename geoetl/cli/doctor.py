"""``geoetl doctor``: do my permissions and settings really work?"""

from typing import Annotated

import typer

from geoetl.cli import output
from geoetl.health.diagnosis import LIMIT_S, Diagnosis, diagnose
from geoetl.health.installation import installation_checks
from geoetl.worker import client


def doctor(
    limit: Annotated[float, typer.Option(min=1, help="Seconds to wait for the slowest check.")] = LIMIT_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Try every service as a worker would: write, read, send, search. Exit status 1 if something does not work."""
    answers = diagnose(installation_checks(client.default_services()), limit_s=limit)
    if as_json:
        output.print_json(answers)
    else:
        _print(answers)
    if any(answer.state == "unhealthy" for answer in answers):
        raise typer.Exit(output.EXIT_FAILED)


def _print(answers: tuple[Diagnosis, ...]) -> None:
    output.table(
        "component",
        "state",
        "detail",
        rows=[(answer.component, output.colored(answer.state), answer.detail) for answer in answers],
    )
    for answer in answers:
        if answer.cause:
            output.say(f"\n{output.colored(answer.state)} {answer.component}: {output.plain(answer.cause)}")
            output.say(f"  {output.plain(answer.detail)}")
            if answer.hint:
                output.say(f"  {output.plain(answer.hint)}")
