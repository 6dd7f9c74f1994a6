"""Checks of STAC ids and collections."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from geoetl.errors import Finding
from geoetl.models.ids import STAC_ID_PATTERN, STAC_ID_RULE
from geoetl.preflight.checks import Outcome, Services, Subject
from geoetl.preflight.parameters import subjects_of, value_of

_STAC_ID = re.compile(STAC_ID_PATTERN)


@dataclass(frozen=True, slots=True)
class IdsAreValid:
    """Ids have only characters that URLs, paths and pgSTAC read alike."""

    parameter: str
    name: str = "ids-are-valid"

    def subjects(self, spec: BaseModel) -> Sequence[Subject]:
        return subjects_of(spec, self.parameter)

    def __call__(self, subject: Subject, _spec: BaseModel, _services: Services, /) -> Outcome:
        finding = _id_finding(subject, "id")
        return Outcome(findings=() if finding is None else (finding,))


@dataclass(frozen=True, slots=True)
class CollectionExists:
    """The collection exists, or the job may create it; its fact is whether it exists."""

    parameter: str
    create_option: str | None = None
    name: str = "collection-exists"

    def subjects(self, spec: BaseModel) -> Sequence[Subject]:
        return subjects_of(spec, self.parameter)

    def __call__(self, subject: Subject, spec: BaseModel, services: Services, /) -> Outcome:
        if (bad_id := _id_finding(subject, "collection id")) is not None:
            return Outcome(findings=(bad_id,))
        collection = str(subject.value)
        exists = services.collections.has_collection(collection)
        may_create = self.create_option is not None and bool(value_of(spec, self.create_option))
        if exists or may_create:
            return Outcome(fact=exists)
        create = f", or set `{self.create_option}`" if self.create_option else ""
        return Outcome(
            findings=(
                Finding(
                    code="collection-missing",
                    message=f"Collection {collection!r} does not exist.",
                    hint=f"Create it with `geoetl collection create {collection}`{create}; "
                    "`geoetl collection list` shows those that exist.",
                    parameter=subject.parameter,
                ),
            ),
            fact=exists,
        )


def ids_are_valid(parameter: str) -> IdsAreValid:
    """Check the id, or each id of the list, that a parameter holds."""
    return IdsAreValid(parameter)


def collection_exists(parameter: str, *, create_option: str | None = None) -> CollectionExists:
    """Check the collection that a parameter names.

    Args:
        parameter: Field of the spec with the collection's id.
        create_option: Field of the spec that, when true, lets the job create a missing collection.
    """
    return CollectionExists(parameter, create_option)


def _id_finding(subject: Subject, what: str) -> Finding | None:
    value = subject.value
    if isinstance(value, str) and _STAC_ID.fullmatch(value):
        return None
    return Finding(
        code="id-invalid",
        message=f"{value!r} is no {what} that can be used in addresses and paths.",
        hint=f"Use {STAC_ID_RULE}.",
        parameter=subject.parameter,
    )
