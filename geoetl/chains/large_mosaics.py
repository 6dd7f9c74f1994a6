"""How a mosaic is made: by one task, or, where it is very large, by the tasks that encode any very large raster."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from geoetl.chains.definition import Outline, Progress, TaskCall
from geoetl.chains.large_rasters import assemble_label, encode_outlines, route_source
from geoetl.chains.routing import Route, route_assembly
from geoetl.config.raster import RasterSettings
from geoetl.gdal.bands import is_striped
from geoetl.gdal.mosaic import MosaicOptions, lay_out, mosaic_datetime, mosaic_header
from geoetl.models.bigcog import AssembledCog, AssembleInput, BandInput, BandReceipt, MosaicInput, SharedCog
from geoetl.models.mosaic import MosaicFacts
from geoetl.models.raster import BandStatistics, CatalogueInput, InspectOutput, ItemInput, RasterFacts
from geoetl.models.tasks import TaskName
from geoetl.preflight.mosaic import MOSAIC_SOURCES
from geoetl.storage.paths import cog_ref

if TYPE_CHECKING:
    from geoetl.chains.mosaic import Mosaic

#: The results of *compose*: the whole COG, or one band of it.
_COMPOSED: TypeAdapter[AssembledCog | BandReceipt] = TypeAdapter(AssembledCog | BandReceipt)


@dataclass(frozen=True, slots=True)
class MosaicPlan:
    """What follows from the headers of the sources."""

    spec: "Mosaic"
    headers: tuple[RasterFacts, ...]
    whole: RasterFacts
    """The mosaic as if it were one raster."""
    cog: SharedCog
    limits: RasterSettings
    route: Route
    bands: int
    """0: one task makes it whole."""

    @staticmethod
    def of(spec: "Mosaic", progress: Progress) -> "MosaicPlan":
        """The plan of a job that was checked."""
        headers = MosaicFacts.model_validate(progress.facts[MOSAIC_SOURCES]["sources"]).headers
        limits = progress.settings.raster
        options = MosaicOptions(overlap=spec.overlap, nodata=spec.nodata, source_crs=spec.source_crs)
        mosaic = lay_out(spec.sources, headers, options)
        whole = mosaic_header(headers, mosaic)
        route, bands = route_source(
            whole,
            limits,
            profile=spec.profile,
            resampling=spec.resampling,
            target_crs=None,
            nodata=spec.nodata,
        )
        cog = SharedCog(
            source=spec.sources[0],
            etag=headers[0].blob.etag,
            target=cog_ref(progress.settings.storage.silver.container, spec.collection, spec.item_id, progress.run_id),
            band_rows=limits.band_rows,
            is_striped=is_striped(whole),
            mosaic=mosaic,
            source_crs=spec.source_crs,
            profile=spec.profile,
            resampling=spec.resampling,
            nodata=spec.nodata,
        )
        return MosaicPlan(spec, headers, whole, cog, limits, route, bands)

    def compose(self) -> Sequence[TaskCall]:
        """The tasks that decode the sources."""
        outlines = self._outlines()
        if not self.bands:
            given = MosaicInput(cog=self.cog, facts=self.whole)
            return [TaskCall(TaskName.RASTER_MOSAIC, given, label=outlines[0].label, route=self.route)]
        inputs = [BandInput(cog=self._cog_of(band), band=band) for band in range(self.bands)]
        return [
            TaskCall(TaskName.RASTER_ENCODE_BAND, given, label=outline.label, route=self.route)
            for given, outline in zip(inputs, outlines, strict=True)
        ]

    def _outlines(self) -> Sequence[Outline]:
        if self.bands:
            return list(encode_outlines(self.cog.target.name, self.route, self.bands))
        label = f"compose {self.cog.target.name} of {len(self.spec.sources)} sources"
        return [Outline(TaskName.RASTER_MOSAIC, label, self.route)]

    def _cog_of(self, band: int) -> SharedCog:
        """With the sources that a band needs: a few rows of the next one too, for its overviews."""
        assert self.cog.mosaic is not None, "set above"
        rows = self.limits.band_rows
        return self.cog.model_copy(update={"mosaic": self.cog.mosaic.between(band * rows, (band + 2) * rows)})

    def assemble(self, progress: Progress) -> Sequence[TaskCall]:
        """One task where there are bands."""
        receipts = [made for made in _composed(progress) if isinstance(made, BandReceipt)]
        if not receipts:
            return []
        given = AssembleInput(cog=self.cog, facts=self.whole, receipts=tuple(receipts))
        (outline,) = self._outline_assembly()
        return [TaskCall(TaskName.RASTER_ASSEMBLE, given, label=outline.label, route=outline.route)]

    def outline_assemble(self) -> Sequence[Outline]:
        """The same, before there are bands."""
        return self._outline_assembly() if self.bands else []

    def _outline_assembly(self) -> Sequence[Outline]:
        route = route_assembly(self.whole, self.limits, profile=self.spec.profile)
        return [Outline(TaskName.RASTER_ASSEMBLE, assemble_label(self.cog.target.name), route)]

    def catalogue(self, progress: Progress) -> Sequence[TaskCall]:
        """The publication of the one item, derived from all sources."""
        spec, made = self.spec, _made_mosaic(progress)
        product = made.product.model_copy(update={"sources": spec.sources})
        item = ItemInput(item_id=spec.item_id, product=product, inspected=self._inspected(made.statistics))
        given = CatalogueInput(
            collection=spec.collection,
            create_collection=spec.create_collection,
            items=(item,),
            job_id=progress.job_id,
            processed_by=f"geoetl {version('geoetl')}",
        )
        return [TaskCall(TaskName.STAC_PUBLISH, given, label=publish_label(spec))]

    def _inspected(self, statistics: tuple[BandStatistics | None, ...]) -> InspectOutput:
        spec = self.spec
        acquired = mosaic_datetime(
            spec.sources, self.headers, instant=spec.datetime, start=spec.start_datetime, end=spec.end_datetime
        )
        return InspectOutput(
            facts=self.whole,
            statistics=statistics,
            datetime=acquired.instant,
            start_datetime=acquired.start,
            end_datetime=acquired.end,
        )


def publish_label(spec: "Mosaic") -> str:
    """What the last task is called."""
    return f"publish {spec.item_id} in {spec.collection}"


def _made_mosaic(progress: Progress) -> AssembledCog:
    """The COG, whichever stage made it."""
    assembled = progress.results("assemble", AssembledCog)
    whole = [made for made in _composed(progress) if isinstance(made, AssembledCog)]
    return (assembled or whole)[0]


def _composed(progress: Progress) -> list[AssembledCog | BandReceipt]:
    return [_COMPOSED.validate_python(result) for result in progress.read_results("compose")]
