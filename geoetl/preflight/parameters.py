"""Finding a spec's parameters by the names that checks are declared with."""

from collections.abc import Sequence
from typing import cast

from pydantic import BaseModel

from geoetl.preflight.checks import Subject


def value_of(spec: BaseModel, parameter: str) -> object:
    """The value of a field; a name that the spec has not is a defect of the job type."""
    if parameter not in type(spec).model_fields:
        raise AttributeError(f"{type(spec).__name__} has no parameter {parameter!r}; a check of its job type names it")
    value: object = getattr(spec, parameter)
    return value


def subjects_of(spec: BaseModel, parameter: str) -> list[Subject]:
    """One subject per element of a list, one for a single value, none for None."""
    value = value_of(spec, parameter)
    if value is None:
        return []
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        elements = cast("Sequence[object]", value)
        return [Subject(f"{parameter}[{index}]", element) for index, element in enumerate(elements)]
    return [Subject(parameter, value)]
