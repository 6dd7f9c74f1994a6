"""Very large sources of ``process_raster``: encoded band by band, by many tasks, into one COG.

They share the stages of all others. *inspect* reads their header only; *convert* has one task for each of their bands;
*assemble* has one task for each of them, and none where a job has none; *catalogue* takes the products of both.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from pydantic import TypeAdapter

from geoetl.chains.definition import Outline, Progress, TaskCall
from geoetl.chains.routing import Route, is_very_large, route_band, route_raster, route_whole
from geoetl.config.raster import RasterSettings
from geoetl.gdal.bands import bands_problem
from geoetl.models.bigcog import AssembleInput, BandInput, BandReceipt, SharedCog
from geoetl.models.raster import CogProduct, ProfileName, RasterFacts, ResamplingName
from geoetl.models.tasks import TaskName

#: The results of *convert*: a whole product, or one band of it.
_CONVERTED: TypeAdapter[CogProduct | BandReceipt] = TypeAdapter(CogProduct | BandReceipt)


def route_source(
    facts: RasterFacts,
    limits: RasterSettings,
    *,
    profile: ProfileName,
    resampling: ResamplingName | None,
    target_crs: str | None,
    nodata: float | str | None,
) -> tuple[Route, int]:
    """How a source is converted, and by how many bands: 0 is one task that does it whole.

    Args:
        facts: Of the source's header.
        limits: Of this installation.
        profile: As asked for in the job, as all that follow.
        resampling: For overviews.
        target_crs: For reprojection.
        nodata: In place of the source's own.
    """
    if not is_very_large(facts, limits):
        return route_raster(facts, limits, profile=profile), 0
    problem = bands_problem(facts, profile=profile, resampling=resampling, target_crs=target_crs, nodata=nodata)
    if problem:
        return route_whole(facts, limits, problem, profile=profile), 0
    bands = bands_of(facts, limits)
    return route_band(facts, limits, bands=bands, profile=profile), bands


def bands_of(facts: RasterFacts, limits: RasterSettings) -> int:
    """How many bands a raster has."""
    return -(-facts.height // limits.band_rows)


def encode_calls(cog: SharedCog, route: Route, bands: int) -> Iterator[TaskCall]:
    """One task for each band."""
    for band in range(bands):
        given = BandInput(cog=cog, band=band)
        yield TaskCall(TaskName.RASTER_ENCODE_BAND, given, label=_band_label(cog.source.name, band, bands), route=route)


def encode_outlines(name: str, route: Route, bands: int) -> Iterator[Outline]:
    """What is expected of a source called ``name``."""
    for band in range(bands):
        yield Outline(TaskName.RASTER_ENCODE_BAND, _band_label(name, band, bands), route)


def assemble_call(cog: SharedCog, facts: RasterFacts, receipts: list[BandReceipt], route: Route) -> TaskCall:
    """The task that makes one blob of all bands."""
    given = AssembleInput(cog=cog, facts=facts, receipts=tuple(receipts))
    return TaskCall(TaskName.RASTER_ASSEMBLE, given, label=assemble_label(cog.source.name), route=route)


def assemble_label(name: str) -> str:
    """What the last task of a source called ``name`` is called."""
    return f"assemble {name}"


def converted(progress: Progress) -> list[CogProduct | list[BandReceipt]]:
    """What *convert* made of each source, in the order of the sources: a product, or the receipts of its bands."""
    results = [_CONVERTED.validate_python(result) for result in progress.read_results("convert")]
    return list(_by_source(results))


def _by_source(results: Iterable[CogProduct | BandReceipt]) -> Iterator[CogProduct | list[BandReceipt]]:
    # Targets differ from source to source, because item ids do.
    for is_band, group in groupby(results, key=lambda result: isinstance(result, BandReceipt) and result.target):
        if is_band:
            yield [result for result in group if isinstance(result, BandReceipt)]
        else:
            yield from (result for result in group if isinstance(result, CogProduct))


def _band_label(name: str, band: int, bands: int) -> str:
    return f"encode {name}, band {band + 1} of {bands}"
