"""``process_raster``: rasters in Bronze become COGs in Silver and items of one STAC collection."""

import re
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, ClassVar, Self

from pydantic import AwareDatetime, Field, model_validator

from geoetl.chains.definition import JobDefinition, JobSpec, Outline, Progress, Stage, TaskCall
from geoetl.chains.large_rasters import (
    assemble_call,
    assemble_label,
    bands_of,
    converted,
    encode_calls,
    encode_outlines,
    route_source,
)
from geoetl.chains.routing import Route, route_assembly
from geoetl.config.raster import RasterSettings
from geoetl.gdal.bands import is_striped
from geoetl.models.bigcog import AssembledCog, SharedCog
from geoetl.models.catalogue import ID_RULE, StacId, is_id
from geoetl.models.raster import (
    CatalogueInput,
    CatalogueOutput,
    CogProduct,
    ConvertInput,
    InspectInput,
    InspectOutput,
    ItemInput,
    NoData,
    ProfileName,
    RasterFacts,
    ResamplingName,
)
from geoetl.models.refs import BlobRef
from geoetl.models.tasks import TaskName
from geoetl.preflight.collections import collection_exists
from geoetl.preflight.raster_headers import RASTER_HEADERS, raster_headers
from geoetl.storage.paths import cog_ref

_MAX_SOURCES = 10_000
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._-]+")


class ProcessRaster(JobSpec):
    """Convert 1 to 10,000 rasters and publish them in one collection."""

    job_type: ClassVar[str] = "process_raster"

    sources: tuple[BlobRef, ...] = Field(min_length=1, max_length=_MAX_SOURCES)
    """Rasters, for example ``bronze://container/path.tif``."""
    collection: StacId
    """Id of the STAC collection that gets the items."""
    create_collection: bool = False
    """Make the collection if it does not exist."""
    item_ids: tuple[StacId, ...] | None = None
    """One id per source; by default the sources' file names."""
    datetime: AwareDatetime | None = None
    """When the data was acquired, with time zone. By default the TIFF's own tag says it; it is never guessed."""
    start_datetime: AwareDatetime | None = None
    """Begin of the acquisition, where it was no instant; with ``end_datetime``."""
    end_datetime: AwareDatetime | None = None
    """End of the acquisition; with ``start_datetime``."""
    source_crs: str | None = None
    """CRS of sources that have none, for example ``EPSG:32618``."""
    target_crs: str | None = None
    """Reproject to this CRS; by default pixels stay as they are."""
    profile: ProfileName = "auto"
    """Compression of the COG; ``auto``: by data type, lossless."""
    resampling: ResamplingName | None = None
    """For overviews and reprojection; by default by data type."""
    nodata: NoData | None = None
    """Value of pixels without data, instead of what the sources say."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.item_ids is not None and len(self.item_ids) != len(self.sources):
            raise ValueError(f"{len(self.sources)} sources have {len(self.item_ids)} item_ids; give one for each")
        if twice := [name for name, times in Counter(self.ids).items() if times > 1]:
            raise ValueError(f"two sources would become item {twice[0]!r}; give item_ids that differ")
        if bad := [pair for pair in zip(self.sources, self.ids, strict=True) if not is_id(pair[1])]:
            raise ValueError(f"{bad[0][0]} would become item {bad[0][1]!r}; give item_ids of {ID_RULE}")
        if (self.start_datetime is None) != (self.end_datetime is None):
            raise ValueError("start_datetime and end_datetime come together; give both or neither")
        if self.start_datetime and self.end_datetime and self.start_datetime > self.end_datetime:
            raise ValueError("start_datetime is after end_datetime")
        if self.datetime and self.start_datetime:
            raise ValueError("give datetime, or start_datetime and end_datetime, not both")
        if elsewhere := [source for source in self.sources if source.tier != "bronze"]:
            raise ValueError(f"{elsewhere[0]} is not in bronze; sources are bronze://container/path")
        return self

    @property
    def ids(self) -> tuple[str, ...]:
        """Item ids in the order of the sources."""
        if self.item_ids is not None:
            return self.item_ids
        return tuple(_NOT_IN_IDS.sub("-", source.stem).strip("-._") or "item" for source in self.sources)


def _header(progress: Progress, index: int) -> RasterFacts:
    return RasterFacts.model_validate(progress.facts[RASTER_HEADERS][f"sources[{index}]"])


def _route(spec: ProcessRaster, header: RasterFacts, limits: RasterSettings) -> tuple[Route, int]:
    """How a source is converted, and by how many bands: 0 is one task that does it whole."""
    return route_source(
        header,
        limits,
        profile=spec.profile,
        resampling=spec.resampling,
        target_crs=spec.target_crs,
        nodata=spec.nodata,
    )


def inspect(spec: ProcessRaster, progress: Progress) -> Sequence[TaskCall]:
    """Read every block of every source once, before anything is made of it; of very large ones, the header."""
    calls: list[TaskCall] = []
    for index, (source, item_id) in enumerate(zip(spec.sources, spec.ids, strict=True)):
        header = _header(progress, index)
        route, bands = _route(spec, header, progress.settings.raster)
        given = InspectInput(
            source=source,
            etag=header.blob.etag,
            source_crs=spec.source_crs,
            nodata=spec.nodata,
            item_id=item_id,
            datetime=spec.datetime,
            start_datetime=spec.start_datetime,
            end_datetime=spec.end_datetime,
            header_only=bands > 0,
        )
        calls.append(TaskCall(TaskName.RASTER_INSPECT, given, label=f"inspect {source.name}", route=route))
    return calls


def convert(spec: ProcessRaster, progress: Progress) -> Sequence[TaskCall]:
    """One COG a source, by one task or by one task a band."""
    calls: list[TaskCall] = []
    inspected = progress.results("inspect", InspectOutput)
    for index, found in enumerate(inspected):
        source, header = spec.sources[index], _header(progress, index)
        route, bands = _route(spec, header, progress.settings.raster)
        if found.header_only:
            # Limits may have been changed since the inspection: what it left for the bands to check, bands must check.
            bands = bands or bands_of(header, progress.settings.raster)
            calls += encode_calls(_shared_cog(spec, progress, index), route, bands)
            continue
        given = ConvertInput(
            source=source,
            etag=found.facts.blob.etag,
            target=_target(spec, progress, index),
            facts=found.facts,
            source_crs=spec.source_crs,
            target_crs=spec.target_crs,
            profile=spec.profile,
            resampling=spec.resampling,
            nodata=spec.nodata,
        )
        calls.append(TaskCall(TaskName.RASTER_CONVERT, given, label=f"convert {source.name}", route=route))
    return calls


def assemble(spec: ProcessRaster, progress: Progress) -> Sequence[TaskCall]:
    """One task for each source that was encoded band by band."""
    inspected = progress.results("inspect", InspectOutput)
    calls: list[TaskCall] = []
    for index, (found, made) in enumerate(zip(inspected, converted(progress), strict=True)):
        if isinstance(made, list):
            cog = _shared_cog(spec, progress, index)
            calls.append(
                assemble_call(
                    cog, found.facts, made, route_assembly(found.facts, progress.settings.raster, profile=spec.profile)
                )
            )
    return calls


def _target(spec: ProcessRaster, progress: Progress, index: int) -> BlobRef:
    return cog_ref(progress.settings.storage.silver.container, spec.collection, spec.ids[index], progress.run_id)


def _shared_cog(spec: ProcessRaster, progress: Progress, index: int) -> SharedCog:
    header = _header(progress, index)
    return SharedCog(
        source=spec.sources[index],
        etag=header.blob.etag,
        target=_target(spec, progress, index),
        band_rows=progress.settings.raster.band_rows,
        is_striped=is_striped(header),
        source_crs=spec.source_crs,
        profile=spec.profile,
        resampling=spec.resampling,
        nodata=spec.nodata,
    )


def outline_convert(spec: ProcessRaster, progress: Progress) -> Sequence[Outline]:
    """The header's facts decide, the inspection will not change them."""
    outlines: list[Outline] = []
    for index, source in enumerate(spec.sources):
        route, bands = _route(spec, _header(progress, index), progress.settings.raster)
        if bands:
            outlines += encode_outlines(source.name, route, bands)
        else:
            outlines.append(Outline(TaskName.RASTER_CONVERT, f"convert {source.name}", route))
    return outlines


def outline_assemble(spec: ProcessRaster, progress: Progress) -> Sequence[Outline]:
    """One task for each source that is encoded band by band."""
    limits = progress.settings.raster
    headers = [_header(progress, index) for index in range(len(spec.sources))]
    return [
        Outline(
            TaskName.RASTER_ASSEMBLE, assemble_label(source.name), route_assembly(header, limits, profile=spec.profile)
        )
        for source, header in zip(spec.sources, headers, strict=True)
        if _route(spec, header, limits)[1]
    ]


def outline_catalogue(spec: ProcessRaster, progress: Progress) -> Sequence[Outline]:
    """One publication of everything."""
    return [Outline(TaskName.STAC_PUBLISH, _publish_label(spec))]


def _publish_label(spec: ProcessRaster) -> str:
    count = len(spec.sources)
    return f"publish {count} item{'' if count == 1 else 's'} in {spec.collection}"


def catalogue(spec: ProcessRaster, progress: Progress) -> Sequence[TaskCall]:
    """All items at once: a run is visible whole or not at all."""
    inspected = progress.results("inspect", InspectOutput)
    assembled = iter(progress.results("assemble", AssembledCog))
    items: list[ItemInput] = []
    for item_id, found, made in zip(spec.ids, inspected, converted(progress), strict=True):
        if isinstance(made, CogProduct):
            items.append(ItemInput(item_id=item_id, product=made, inspected=found))
        else:
            whole = next(assembled)
            known = found.model_copy(update={"statistics": whole.statistics})
            items.append(ItemInput(item_id=item_id, product=whole.product, inspected=known))
    given = CatalogueInput(
        collection=spec.collection,
        create_collection=spec.create_collection,
        items=tuple(items),
        job_id=progress.job_id,
        processed_by=f"geoetl {version('geoetl')}",
    )
    return [TaskCall(TaskName.STAC_PUBLISH, given, label=_publish_label(spec))]


def summarise(spec: ProcessRaster, progress: Progress) -> dict[str, Any]:
    """What can be searched now."""
    (published,) = progress.results("catalogue", CatalogueOutput)
    return {"collection": spec.collection, "items": [item.item_id for item in published.items]}


definition = JobDefinition(
    spec=ProcessRaster,
    version=1,
    checks=(
        raster_headers("sources"),
        collection_exists("collection", create_option="create_collection"),
    ),
    stages=(
        Stage("inspect", inspect),
        Stage("convert", convert, outline_convert),
        Stage("assemble", assemble, outline_assemble),
        Stage("catalogue", catalogue, outline_catalogue),
    ),
    is_published=True,
    summarise=summarise,
)
