"""The check of the sources of a mosaic: each by itself, then all together."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, cast

from pydantic import BaseModel

from geoetl.gdal.mosaic import MosaicOptions, misfits
from geoetl.models.mosaic import MosaicFacts
from geoetl.models.refs import BlobRef
from geoetl.preflight.checks import Outcome, Services, Subject
from geoetl.preflight.each import value_of
from geoetl.preflight.raster_headers import check_each_raster

#: Key of these facts in a report.
MOSAIC_SOURCES = "mosaic-sources"
_CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class MosaicSources:
    """Every source is a raster that fits the job's options, and all lie on one grid; the fact is ``MosaicFacts``."""

    parameter: str
    name: str = MOSAIC_SOURCES

    def subjects(self, spec: BaseModel) -> Sequence[Subject]:
        return [Subject(self.parameter, value_of(spec, self.parameter))]

    def __call__(self, subject: Subject, spec: BaseModel, services: Services, /) -> Outcome:
        refs = cast("Sequence[BlobRef]", subject.value)

        def check(at: int) -> Outcome:
            return check_each_raster(Subject(f"{self.parameter}[{at}]", refs[at]), spec, services)

        with ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="mosaic") as pool:
            outcomes = list(pool.map(check, range(len(refs))))
        findings = [finding for outcome in outcomes for finding in outcome.findings]
        headers: list[Any] = [outcome.fact for outcome in outcomes]
        if any(outcome.is_refused for outcome in outcomes):
            return Outcome(findings=tuple(findings))
        options = MosaicOptions(
            **{field.name: getattr(spec, field.name) for field in fields(MosaicOptions) if hasattr(spec, field.name)}
        )
        findings += misfits(refs, headers, options)
        etags = " ".join(header.blob.etag for header in headers)
        digest = hashlib.sha256(etags.encode()).hexdigest()
        return Outcome(findings=tuple(findings), fact=MosaicFacts(etag=digest, headers=tuple(headers)))
