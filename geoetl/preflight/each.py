"""Checks of a parameter, or of each element of one that is a list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from pydantic import BaseModel

from geoetl.preflight.checks import Outcome, Services, Subject

#: Looks at one value; may raise as ``Check.__call__`` does.
type Verdict = Callable[[Subject, BaseModel, Services], Outcome]


@dataclass(frozen=True, slots=True)
class CheckEach:
    """A check made of a function over the values of a parameter.

    Example: ``CheckEach("raster-headers", "sources", verdict=read_header)``.
    """

    name: str
    parameter: str
    verdict: Verdict

    def subjects(self, spec: BaseModel) -> Sequence[Subject]:
        return subjects_of(spec, self.parameter)

    def __call__(self, subject: Subject, spec: BaseModel, services: Services, /) -> Outcome:
        return self.verdict(subject, spec, services)


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
