"""``mosaic``: many rasters on one grid become one COG in Silver and one item of a STAC collection."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from pydantic import AwareDatetime, Field, model_validator

from geoetl.chains.definition import JobDefinition, JobSpec, Outline, Progress, Stage, TaskCall
from geoetl.chains.large_mosaics import MosaicPlan, publish_label
from geoetl.models.catalogue import StacId
from geoetl.models.mosaic import OverlapRule
from geoetl.models.raster import CatalogueOutput, NoData, ProfileName, ResamplingName
from geoetl.models.refs import BlobRef
from geoetl.models.tasks import TaskName
from geoetl.preflight.collections import collection_exists
from geoetl.preflight.mosaic import MosaicSources


class Mosaic(JobSpec):
    """Put 2 to 1,000 rasters of one grid together and publish them as one item."""

    job_type: ClassVar[str] = "mosaic"

    sources: tuple[BlobRef, ...] = Field(min_length=2, max_length=1000)
    """Rasters of one CRS, resolution and grid, and alike in bands, data type and nodata. Nothing is resampled."""
    collection: StacId
    """Id of the STAC collection that gets the item."""
    item_id: StacId
    """Of the one item."""
    overlap: OverlapRule = "last"
    """Where several sources have data: the first or last of them in the job's order, or the highest or lowest value."""
    create_collection: bool = False
    """Make the collection if it does not exist."""
    datetime: AwareDatetime | None = None
    """When the data was acquired. By default the sources' own tags say it, from the first to the last."""
    start_datetime: AwareDatetime | None = None
    """Begin of the acquisition; with ``end_datetime``."""
    end_datetime: AwareDatetime | None = None
    """End of the acquisition; with ``start_datetime``."""
    source_crs: str | None = None
    """CRS of sources that have none, for example ``EPSG:32618``."""
    profile: ProfileName = "auto"
    """Compression of the COG; ``auto``: by data type, lossless."""
    resampling: ResamplingName | None = None
    """For overviews; by default by data type."""
    nodata: NoData | None = None
    """Value of pixels without data, instead of what the sources say; gaps between sources get it."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.sources)) < len(self.sources):
            raise ValueError("a source is named twice")
        if bad := [source for source in self.sources if source.tier != "bronze"]:
            raise ValueError(f"{bad[0]} is not in bronze; sources are bronze://container/path")
        return self


def compose(spec: Mosaic, progress: Progress) -> Sequence[TaskCall]:
    """One task, or one a band where the mosaic is very large."""
    return MosaicPlan.of(spec, progress).compose()


def assemble(spec: Mosaic, progress: Progress) -> Sequence[TaskCall]:
    """One task that makes one blob of the bands, where there are any."""
    return MosaicPlan.of(spec, progress).assemble(progress)


def outline_assemble(spec: Mosaic, progress: Progress) -> Sequence[Outline]:
    """The same, before there are bands."""
    return MosaicPlan.of(spec, progress).outline_assemble()


def catalogue(spec: Mosaic, progress: Progress) -> Sequence[TaskCall]:
    """One item, derived from all sources."""
    return MosaicPlan.of(spec, progress).catalogue(progress)


def outline_catalogue(spec: Mosaic, progress: Progress) -> Sequence[Outline]:
    """One publication."""
    return [Outline(TaskName.STAC_PUBLISH, publish_label(spec))]


def summarise(spec: Mosaic, progress: Progress) -> dict[str, Any]:
    """What can be searched now."""
    (published,) = progress.results("catalogue", CatalogueOutput)
    return {"collection": spec.collection, "items": [item.item_id for item in published.items]}


definition = JobDefinition(
    spec=Mosaic,
    version=1,
    checks=(MosaicSources("sources"), collection_exists("collection", create_option="create_collection")),
    stages=(
        Stage("compose", compose),
        Stage("assemble", assemble, outline_assemble),
        Stage("catalogue", catalogue, outline_catalogue),
    ),
    is_published=True,
    summarise=summarise,
)
