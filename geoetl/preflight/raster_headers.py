"""The check of raster headers, as a job type lists it."""

from dataclasses import fields
from typing import Any, cast

from pydantic import BaseModel

from geoetl.models.refs import BlobRef
from geoetl.preflight.checks import Check, Outcome, Services, Subject
from geoetl.preflight.each import CheckEach
from geoetl.preflight.raster import check_raster
from geoetl.preflight.raster_rules import RasterOptions

#: Key of these facts in a report.
RASTER_HEADERS = "raster-headers"

_NO_LIMIT = 2**63


def raster_headers(parameter: str) -> Check:
    """The raster, or each raster of a list, exists and fits the job's options; the fact is a ``RasterFacts``.

    Options are read from the fields of the spec that are named like those of ``RasterOptions``.

    Args:
        parameter: Field of the spec: a ``BlobRef``, or a sequence of them.
    """
    return CheckEach(RASTER_HEADERS, parameter, check_each_raster)


def check_each_raster(subject: Subject, spec: BaseModel, services: Services) -> Outcome:
    """Check one raster of a spec; the fact is its ``RasterFacts``."""
    facts, findings = check_raster(
        services.store,
        cast("BlobRef", subject.value),
        parameter=subject.parameter,
        options=_options(spec),
        min_bytes=services.min_source_bytes,
        max_bytes=services.max_source_bytes or _NO_LIMIT,
    )
    return Outcome(findings=tuple(findings), fact=facts)


def _options(spec: BaseModel) -> RasterOptions:
    given: dict[str, Any] = {
        field.name: getattr(spec, field.name)
        for field in fields(RasterOptions)
        if field.name in type(spec).model_fields
    }
    return RasterOptions(**given)
