"""Make one COG of many sources in one task: fetch them, lay one above the other, write, validate, upload."""

from pathlib import Path

from geoetl.errors import BadData
from geoetl.gdal.bands import bands_problem
from geoetl.gdal.header import nodata_value
from geoetl.gdal.mosaic_vrt import name_of, open_mosaic
from geoetl.gdal.sources import open_source
from geoetl.models.bigcog import AssembledCog, MosaicInput
from geoetl.models.mosaic import MosaicGrid
from geoetl.models.raster import ConvertInput
from geoetl.tasks.context import TaskContext
from geoetl.tasks.raster.cog.whole import WHOLE_BAND_ROWS
from geoetl.tasks.raster.convert import profile_of, room_bytes, upload_cog, write_cog
from geoetl.tasks.raster.inspect import read_everything
from geoetl.tasks.raster.workspace import fetch_source


def make_mosaic(task: MosaicInput, ctx: TaskContext) -> AssembledCog:
    """Write, check and upload the COG of a mosaic.

    Raises:
        BadData: ``source-changed``, ``unreadable-raster``, ``corrupt-block``, ``only-nodata``, ``profile-unsuitable``.
        SystemFault: ``cog-differs``: what was written is not what it should be.
        TransientError: ``scratch-full``, or the storage is away.
    """
    cog = task.cog
    assert cog.mosaic is not None, "planned for a mosaic"
    convert = ConvertInput(
        source=cog.source,
        etag=cog.etag,
        target=cog.target,
        facts=task.facts,
        source_crs=cog.source_crs,
        profile=cog.profile,
        resampling=cog.resampling,
        nodata=cog.nodata,
    )
    paths = _fetch(cog.mosaic, convert, ctx)
    nodata = nodata_value(cog.nodata)
    profile = profile_of(convert, ctx)
    problem = bands_problem(
        task.facts, profile=cog.profile, resampling=cog.resampling, target_crs=None, nodata=cog.nodata
    )
    shared = None if problem else cog.model_copy(update={"band_rows": WHOLE_BAND_ROWS})
    ctx.log.info("cog is written", source=name_of(cog.mosaic), by=f"GDAL: {problem}" if problem else "bands")
    made = ctx.scratch / "cog.tif"
    first = paths[[each.source for each in cog.mosaic.sources].index(cog.source)]
    with (
        open_source(first, cog.source, source_crs=cog.source_crs, nodata=nodata, cache_bytes=ctx.cache_bytes) as header,
        open_mosaic(
            header,
            cog.mosaic,
            [str(path) for path in paths],
            ctx.scratch,
            options={},
            threads=ctx.threads,
            cache_bytes=ctx.cache_bytes,
        ) as src,
    ):
        try:
            statistics = read_everything(src, name_of(cog.mosaic), src.name, ctx, step=ctx.checkpoint)
        except BadData as exc:
            raise _naming_sources(exc, cog.mosaic, paths) from exc
        checks = write_cog(src, made, profile, cog.source, ctx, shared=shared)
    for path in paths:
        path.unlink()
    product = upload_cog(convert, made, profile, checks, ctx)
    return AssembledCog(product=product, statistics=tuple(band.result() for band in statistics))


def _fetch(mosaic: MosaicGrid, convert: ConvertInput, ctx: TaskContext) -> list[Path]:
    more_bytes = convert.facts.blob.size_bytes + room_bytes(convert)
    paths: list[Path] = []
    for number, each in enumerate(mosaic.sources):
        ctx.checkpoint()
        path, properties = fetch_source(
            each.source, each.etag, ctx, more_bytes=max(0, more_bytes), name=f"source-{number:04d}.bin"
        )
        more_bytes -= properties.size_bytes
        paths.append(path)
    return paths


def _naming_sources(error: BadData, mosaic: MosaicGrid, paths: list[Path]) -> BadData:
    """The error with the sources' names in place of those of their copies."""
    message = error.message
    for each, path in zip(mosaic.sources, paths, strict=True):
        message = message.replace(str(path), each.source).replace(path.name, each.source)
    return BadData(message, code=error.code, hint=error.hint)
