"""What a check is, and how a job type's checks run: all findings at once, facts kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel

from geoetl.errors import Finding, PreflightFailed, TransientError
from geoetl.storage.base import BlobStore


class CatalogueLookup(Protocol):
    """What checks ask the catalogue."""

    def has_collection(self, collection: str) -> bool:
        """Whether the collection exists; ``TransientError`` where that cannot be known now."""
        ...

    def has_item(self, collection: str, item_id: str) -> bool:
        """Whether the collection has such an item; ``TransientError`` where that cannot be known now."""
        ...


class TableLookup(Protocol):
    """What checks ask the published tables."""

    def has_table(self, schema: str, table: str) -> bool:
        """Whether the table exists; ``TransientError`` where that cannot be known now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What checks may look into."""

    store: BlobStore
    collections: CatalogueLookup
    tables: TableLookup | None = None
    max_sources: int | None = None
    min_source_bytes: int = 1
    max_source_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing to be checked: a parameter, or one element of it."""

    parameter: str
    """Path to it, for example ``sources[3]``."""
    value: object


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check says about a subject."""

    findings: tuple[Finding, ...] = ()
    fact: object = None
    """What was learned; None where there is nothing to keep."""

    @property
    def is_refused(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)


class Check(Protocol):
    """A named check that a job type lists.

    The checks of one subject run in the listed order and stop at its first error, so a blob that is missing is
    not also reported as unreadable. Different subjects run concurrently, so a check must not share state.
    """

    @property
    def name(self) -> str:
        """Stable, kebab-case; the key of its facts."""
        ...

    def subjects(self, spec: BaseModel) -> Sequence[Subject]:
        """What there is to check in this spec; empty where it does not apply."""
        ...

    def __call__(self, subject: Subject, spec: BaseModel, services: Services, /) -> Outcome:
        """Check one subject.

        Raises:
            InvalidInput, BadData: Same as a finding with the error's code, message and hint.
            TransientError: It cannot be known now.
        """
        ...


class CannotCheckNow(TransientError):
    """Something that preflight needs is away. The job was neither accepted nor found wrong."""

    default_code = "cannot-check-now"


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A check that could not be made, and why."""

    check: str
    parameter: str
    cause: TransientError


@dataclass(frozen=True, slots=True)
class PreflightReport:
    """All findings and facts of a spec."""

    findings: tuple[Finding, ...] = ()
    """In the order of the spec's parameters, errors and warnings."""
    facts: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])
    """By check name, then by parameter: ``facts["blob-exists"]["sources[3]"]``."""
    unchecked: tuple[Unchecked, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def require_accepted(self) -> None:
        """Return where nothing stands against the job.

        Raises:
            PreflightFailed: There are errors; it carries every finding, and what could not be checked as warnings.
            CannotCheckNow: There are none, but something could not be checked.
        """
        errors = self.errors
        if errors:
            count = "1 problem was" if len(errors) == 1 else f"{len(errors)} problems were"
            more = "" if len(errors) == 1 else " The first:"
            raise PreflightFailed(
                f"The job was not accepted, {count} found.{more} {errors[0]}",
                findings=self.findings + tuple(_as_warning(unchecked) for unchecked in self.unchecked),
            )
        if self.unchecked:
            first = self.unchecked[0]
            raise CannotCheckNow(
                f"The job was not accepted, because {first.check} cannot be checked now: {first.cause.message}",
                hint=first.cause.hint or "Submit it again later; nothing has been stored.",
            ) from first.cause


def _as_warning(unchecked: Unchecked) -> Finding:
    return Finding(
        code=CannotCheckNow.default_code,
        message=f"{unchecked.check} could not be checked: {unchecked.cause.message}",
        hint=unchecked.cause.hint,
        parameter=unchecked.parameter,
        severity="warning",
    )
