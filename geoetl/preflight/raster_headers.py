"""The check of raster headers, as a job type lists it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel

from geoetl.models.refs import BlobRef
from geoetl.preflight.checks import Outcome, Services, Subject
from geoetl.preflight.each import subjects_of
from geoetl.preflight.raster import check_raster
from geoetl.preflight.raster_rules import RasterOptions


@dataclass(frozen=True, slots=True)
class RasterHeaders:
    """The source is a raster that the job's options fit; its fact is a ``RasterFacts``."""

    parameter: str
    name: str = "raster-headers"

    def subjects(self, spec: BaseModel) -> Sequence[Subject]:
        return subjects_of(spec, self.parameter)

    def __call__(self, subject: Subject, spec: BaseModel, services: Services, /) -> Outcome:
        facts, findings = check_raster(
            services.store,
            cast("BlobRef", subject.value),
            parameter=subject.parameter,
            options=_options(spec),
            max_bytes=services.max_source_bytes or 2**63,
        )
        return Outcome(findings=tuple(findings), fact=facts)


def raster_headers(parameter: str) -> RasterHeaders:
    """Check the header of the raster, or of each raster of the list, that a parameter names.

    Options are read from the fields of the spec that are named like those of ``RasterOptions``.

    Args:
        parameter: Field of the spec: a ``BlobRef``, or a sequence of them.
    """
    return RasterHeaders(parameter)


def _options(spec: BaseModel) -> RasterOptions:
    given: dict[str, Any] = {
        name: getattr(spec, name) for name in RasterOptions.__dataclass_fields__ if name in type(spec).model_fields
    }
    return RasterOptions(**given)
