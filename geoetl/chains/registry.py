"""Every job type there is: an explicit list, so that none is missing because a module was not imported."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from geoetl.chains import inventory, mosaic, noop, process_raster
from geoetl.chains.definition import JobDefinition, JobSpec
from geoetl.errors import Finding, InvalidInput, PreflightFailed

DEFINITIONS: Mapping[str, JobDefinition[Any]] = {
    definition.job_type: definition
    for definition in (inventory.definition, mosaic.definition, noop.definition, process_raster.definition)
}


def definition_of(job_type: str) -> JobDefinition[Any]:
    """The definition of a job type.

    Raises:
        InvalidInput: There is none of that name.
    """
    if job_type not in DEFINITIONS:
        near = get_close_matches(job_type, DEFINITIONS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(DEFINITIONS)}."
        raise InvalidInput(f"There is no job type {job_type!r}.", code="unknown-job-type", hint=hint)
    return DEFINITIONS[job_type]


def parse_spec(job_type: str, parameters: Mapping[str, Any]) -> JobSpec:
    """A checked spec of the parameters a user gave, every problem reported at once.

    Raises:
        PreflightFailed: A parameter is unknown, missing or of the wrong type or value.
    """
    spec = definition_of(job_type).spec
    try:
        return spec.model_validate(parameters)
    except ValidationError as exc:
        findings = tuple(_finding(spec, error) for error in exc.errors(include_url=False))
        raise PreflightFailed(
            f"{job_type} was not accepted, problems with its parameters: {len(findings)}.",
            findings=findings,
        ) from None


def _finding(spec: type[JobSpec], error: Any) -> Finding:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    if error["type"] == "extra_forbidden":
        near = get_close_matches(path, spec.model_fields, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"It takes: {', '.join(spec.model_fields)}."
        return Finding(
            code="unknown-parameter",
            parameter=path,
            message=f"{spec.job_type} has no parameter {path!r}.",
            hint=hint,
        )
    if error["type"] == "missing":
        field = spec.model_fields.get(path)
        return Finding(
            code="missing-parameter",
            parameter=path,
            message=f"{spec.job_type} needs {path!r}.",
            hint=(field.description or "") if field else "",
        )
    shown = repr(error["input"])
    return Finding(
        code="bad-parameter",
        parameter=path,
        message=f"{path or 'the specification'} is {shown if len(shown) <= 120 else shown[:117] + '…'}.",
        hint=error["msg"].removeprefix("Value error, ") + ".",
    )
