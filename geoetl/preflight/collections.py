"""Checks of STAC ids and collections."""

import re

from pydantic import BaseModel

from geoetl.errors import Finding
from geoetl.models.catalogue import ID_PATTERN
from geoetl.preflight.checks import Check, Outcome, Services, Subject
from geoetl.preflight.each import CheckEach, value_of

#: Keys of these facts in a report.
IDS_ARE_VALID = "ids-are-valid"
COLLECTION_EXISTS = "collection-exists"
COLLECTION_NOT_EXISTS = "collection-not-exists"
STAC_ITEM_EXISTS = "stac-item-exists"
STAC_ITEM_NOT_EXISTS = "stac-item-not-exists"

_ID = re.compile(ID_PATTERN)


def ids_are_valid(parameter: str) -> Check:
    """The id, or each id of a list, has only characters that addresses, paths and pgSTAC read alike."""

    def verdict(subject: Subject, _spec: BaseModel, _services: Services) -> Outcome:
        finding = _id_finding(subject, "id")
        return Outcome(findings=() if finding is None else (finding,))

    return CheckEach(IDS_ARE_VALID, parameter, verdict)


def collection_exists(parameter: str, *, create_option: str | None = None) -> Check:
    """The collection exists, or the job may create it; the fact is whether it exists.

    Args:
        parameter: Field of the spec with the collection's id.
        create_option: Field of the spec that, when true, lets the job create a missing collection.
    """

    def verdict(subject: Subject, spec: BaseModel, services: Services) -> Outcome:
        if (bad_id := _id_finding(subject, "collection id")) is not None:
            return Outcome(findings=(bad_id,))
        exists = services.collections.has_collection(str(subject.value))
        may_create = create_option is not None and bool(value_of(spec, create_option))
        findings = () if exists or may_create else (_missing(subject, create_option),)
        return Outcome(findings=findings, fact=exists)

    return CheckEach(COLLECTION_EXISTS, parameter, verdict)


def collection_not_exists(parameter: str) -> Check:
    """No collection has this id, or one of these ids, yet."""

    def verdict(subject: Subject, _spec: BaseModel, services: Services) -> Outcome:
        if (bad_id := _id_finding(subject, "collection id")) is not None:
            return Outcome(findings=(bad_id,))
        if not services.collections.has_collection(str(subject.value)):
            return Outcome()
        finding = Finding(
            code="collection-exists",
            message=f"Collection {subject.value!r} exists already.",
            hint="Use it as it is, or choose another id.",
            parameter=subject.parameter,
        )
        return Outcome(findings=(finding,))

    return CheckEach(COLLECTION_NOT_EXISTS, parameter, verdict)


def stac_item_exists(parameter: str, *, collection: str = "collection") -> Check:
    """The item, or each item of a list, is in the catalogue.

    Args:
        parameter: Field of the spec with the item's id, or ids.
        collection: Field of the spec with the collection's id.
    """

    def verdict(subject: Subject, spec: BaseModel, services: Services) -> Outcome:
        if (bad_id := _id_finding(subject, "item id")) is not None:
            return Outcome(findings=(bad_id,))
        where = str(value_of(spec, collection))
        if services.collections.has_item(where, str(subject.value)):
            return Outcome()
        finding = Finding(
            code="item-missing",
            message=f"Collection {where!r} has no item {subject.value!r}.",
            hint=f"`geoetl search --collection {where}` shows those that exist.",
            parameter=subject.parameter,
        )
        return Outcome(findings=(finding,))

    return CheckEach(STAC_ITEM_EXISTS, parameter, verdict)


def stac_item_not_exists(parameter: str, *, collection: str = "collection", unless: str | None = None) -> Check:
    """The item, or each item of a list, is not in the catalogue yet.

    Args:
        parameter: Field of the spec with the item's id, or ids.
        collection: Field of the spec with the collection's id.
        unless: Field of the spec that, when true, lets the job replace items.
    """

    def verdict(subject: Subject, spec: BaseModel, services: Services) -> Outcome:
        if (bad_id := _id_finding(subject, "item id")) is not None:
            return Outcome(findings=(bad_id,))
        where = str(value_of(spec, collection))
        may_replace = unless is not None and bool(value_of(spec, unless))
        if may_replace or not services.collections.has_item(where, str(subject.value)):
            return Outcome()
        finding = Finding(
            code="item-exists",
            message=f"Collection {where!r} has an item {subject.value!r} already.",
            hint=f"Choose another id{f', or set `{unless}`' if unless else ''}.",
            parameter=subject.parameter,
        )
        return Outcome(findings=(finding,))

    return CheckEach(STAC_ITEM_NOT_EXISTS, parameter, verdict)


def _missing(subject: Subject, create_option: str | None) -> Finding:
    option = f", or set `{create_option}`" if create_option else ""
    return Finding(
        code="collection-missing",
        message=f"Collection {subject.value!r} does not exist.",
        hint=f"Create it with `geoetl collection create {subject.value}`{option}; "
        "`geoetl collection list` shows those that exist.",
        parameter=subject.parameter,
    )


def _id_finding(subject: Subject, what: str) -> Finding | None:
    value = subject.value
    if isinstance(value, str) and _ID.fullmatch(value):
        return None
    return Finding(
        code="id-invalid",
        message=f"{value!r} is no {what} that can be used in addresses and paths.",
        hint="Use 1 to 128 letters, digits, '.', '_' and '-', beginning and ending with a letter or digit.",
        parameter=subject.parameter,
    )
