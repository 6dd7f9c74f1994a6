"""How the commands talk: tables for people on stdout, one JSON document for programs, problems on stderr."""

import dataclasses
import datetime as dt
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from geoetl.errors import Finding, GeoEtlError, InvalidInput, PreflightFailed
from geoetl.telemetry import redact

#: The work was refused: nothing was stored or sent.
EXIT_REFUSED = 2
#: The work failed while it ran.
EXIT_FAILED = 1
#: Something is away; the same command may work later (EX_TEMPFAIL of sysexits.h).
EXIT_TEMPORARY = 75

#: Columns where no terminal says how many: nothing is folded in a pipe.
_WIDE = 400

_COLORS = {
    "completed": "green", "succeeded": "green", "healthy": "green", "failed": "red", "unhealthy": "red",
    "degraded": "yellow",
    "running": "cyan", "completing": "cyan", "cancelled": "yellow", "skipped": "yellow",
}  # fmt: skip


def console(*, stderr: bool = False) -> Console:
    """Where to print. Off a terminal lines are not cut at 80 columns."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _WIDE, highlight=False, soft_wrap=True)


class Markup(str):
    """Text whose brackets are rich's markup."""

    __slots__ = ()


def say(text: str = "") -> None:
    """One line on stdout, markup allowed."""
    console().print(text)


def say_at_once(text: str) -> None:
    """One line on stdout as it is, seen at once also in a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line on stderr: what a person wants to know and a program does not."""
    console(stderr=True).print(text)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(as_json(value), indent=2, ensure_ascii=False) + "\n")


def as_json(value: Any) -> Any:
    """Models, dataclasses, times and enums as JSON values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {str(key): as_json(element) for key, element in items}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_json(element) for element in cast("Sequence[Any]", value)]
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return value


def table(*columns: str, rows: Sequence[Sequence[Any]]) -> None:
    """A plain table on stdout. Brackets in a cell are shown as they are, unless it is ``Markup``."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    console().print(made)


def plain(text: str) -> str:
    """Text that may hold brackets, for a line that allows markup."""
    return escape(text)


def colored(state: str, more: str = "") -> Markup:
    """A state in its colour, and what follows it."""
    color = _COLORS.get(state)
    return Markup((f"[{color}]{state}[/{color}]" if color else escape(state)) + escape(more))


def ago(seconds: float | None) -> str:
    """A duration as people write it."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def moment(at: dt.datetime) -> str:
    """A time to the second, with its zone: who reads it may be elsewhere."""
    return at.strftime("%Y-%m-%d %H:%M:%S %Z").rstrip()


def print_error(error: GeoEtlError, *, as_document: bool) -> None:
    """An error, and all findings of a refused job."""
    findings = error.findings if isinstance(error, PreflightFailed) else ()
    if as_document:
        document = {
            "error": {
                "code": error.code,
                "message": redact(error.message),
                "hint": redact(error.hint),
                "blame": error.blame,
                "findings": [finding.model_dump() for finding in findings],
            }
        }
        print_json(document)
        return
    out = console(stderr=True)
    if not findings:
        out.print(
            f"[red]Error[/red] [{error.code}]: {escape(redact(error.message))}".replace(
                "[" + error.code, r"\[" + error.code
            )
        )
        if error.hint:
            out.print(f"  {escape(redact(error.hint))}")
        return
    count = sum(finding.severity == "error" for finding in findings)
    out.print(f"[red]Refused[/red]: {count} problem{'' if count == 1 else 's'} found; nothing was stored or sent.")
    print_findings(findings, stderr=True)


def print_findings(findings: Sequence[Finding], *, stderr: bool = False) -> None:
    """Each finding with what to do about it."""
    out = console(stderr=stderr)
    for finding in findings:
        color = "red" if finding.severity == "error" else "yellow"
        where = f" {finding.parameter}:" if finding.parameter else ""
        out.print(f"  [{color}]{finding.code}[/{color}]{escape(where)} {escape(redact(finding.message))}")
        if finding.hint:
            out.print(f"      {escape(redact(finding.hint))}")


def exit_status(error: GeoEtlError) -> int:
    """What a script learns of an error."""
    if isinstance(error, InvalidInput):
        return EXIT_REFUSED
    return EXIT_TEMPORARY if error.retryable else EXIT_FAILED


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return value if isinstance(value, Markup) else escape(str(value))
