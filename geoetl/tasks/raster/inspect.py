"""Check one source whole: its header, and every block of every band."""

from collections.abc import Callable, Iterator, Sequence

from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geoetl.errors import BadData
from geoetl.gdal.acquisition import Acquisition, resolve_datetime
from geoetl.gdal.footprint import footprint
from geoetl.gdal.header import facts_of, nodata_value
from geoetl.gdal.layout import ReadRange, check_tiff_layout
from geoetl.gdal.open import gdal_words
from geoetl.gdal.sources import driver_of, open_blob_source, open_source
from geoetl.gdal.windows import PIECE_BYTES, blocks, pieces
from geoetl.models.raster import BlobFacts, InspectInput, InspectOutput, RasterFacts
from geoetl.storage.base import BlobProperties, GdalAccess
from geoetl.tasks.context import StepCounter, TaskContext
from geoetl.tasks.raster.statistics import RunningStatistics
from geoetl.tasks.raster.workspace import fetch_source


def inspect_raster(task: InspectInput, ctx: TaskContext) -> InspectOutput:
    """Decode every block of a source and gather what the later stages need.

    Raises:
        BadData: ``source-changed``, ``truncated``, ``unreadable-raster``, ``corrupt-block``, ``only-nodata``,
            ``no-footprint``, ``no-datetime`` or ``invalid-datetime``.
        TransientError: ``scratch-full``, or the storage is away.
    """
    if task.header_only:
        return _inspect_header(task, ctx)
    path, properties = fetch_source(task.source, task.etag, ctx)
    with path.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        if driver_of(path, task.source) == "GTiff":
            _check_layout(read, properties.size_bytes, task.source)
    with open_source(
        path,
        task.source,
        source_crs=task.source_crs,
        nodata=nodata_value(task.nodata),
        threads=ctx.threads,
        cache_bytes=ctx.cache_bytes,
    ) as src:
        facts, acquisition = _read_header(src, task, properties)
        steps = StepCounter(ctx, len(list(_pieces_of(src, ctx))))
        statistics = read_everything(src, task.source, str(path), ctx, step=steps.step)
    ctx.log.info("source inspected", source=task.source, decoded_bytes=facts.decoded_bytes)
    return InspectOutput(
        facts=facts,
        statistics=tuple(band.result() for band in statistics),
        datetime=acquisition.instant,
        start_datetime=acquisition.start,
        end_datetime=acquisition.end,
    )


def _inspect_header(task: InspectInput, ctx: TaskContext) -> InspectOutput:
    """Header and tables of a source, where it lies."""
    with open_blob_source(
        ctx.store,
        task.source,
        ctx.scratch,
        etag=task.etag,
        life_s=ctx.access_life_s,
        source_crs=task.source_crs,
        nodata=nodata_value(task.nodata),
    ) as src:
        properties = ctx.store.properties(task.source)

        def read(offset: int, length: int) -> bytes:
            return ctx.store.read_range(task.source, offset=offset, length=length, etag=task.etag)

        _check_layout(read, properties.size_bytes, task.source)
        facts, acquisition = _read_header(src, task, properties)
    ctx.log.info("header inspected", source=task.source, decoded_bytes=facts.decoded_bytes)
    return InspectOutput(
        facts=facts,
        statistics=(),
        header_only=True,
        datetime=acquisition.instant,
        start_datetime=acquisition.start,
        end_datetime=acquisition.end,
    )


def _read_header(src: DatasetReader, task: InspectInput, properties: BlobProperties) -> tuple[RasterFacts, Acquisition]:
    blob = BlobFacts(
        size_bytes=properties.size_bytes,
        etag=task.etag,
        content_type=properties.content_type,
        last_modified=properties.last_modified,
    )
    facts = facts_of(src, blob)
    footprint(facts, task.source)
    acquisition = resolve_datetime(
        facts.datetime_tag,
        task.source,
        instant=task.datetime,
        start=task.start_datetime,
        end=task.end_datetime,
    )
    return facts, acquisition


def _check_layout(read: ReadRange, size_bytes: int, ref: str) -> None:
    if problem := check_tiff_layout(read, size_bytes):
        raise BadData(
            f"Inspecting {ref} found it truncated or damaged: {problem.found}.",
            code="truncated",
            hint="Upload the file again, whole.",
        )


def read_everything(
    src: DatasetReader, ref: str, path: str, ctx: TaskContext, *, step: Callable[[], None]
) -> list[RunningStatistics]:
    """Statistics of every band, from every pixel; ``step`` is called after each piece.

    Raises:
        BadData: ``corrupt-block``, ``only-nodata``.
    """
    statistics = [RunningStatistics() for _ in src.indexes]
    is_masked = [MaskFlags.all_valid not in flags for flags in src.mask_flag_enums]
    for piece in _pieces_of(src, ctx):
        try:
            values = src.read(window=piece)
            masks = src.read_masks(window=piece) if any(is_masked) else None
        except RasterioIOError as exc:
            raise _corrupt(src, ref, path, piece, exc) from exc
        for at, band in enumerate(statistics):
            is_valid = masks[at] != 0 if masks is not None and is_masked[at] else None
            band.add(values[at], is_valid)
        step()
    require_data(src, statistics, ref)
    return statistics


def _pieces_of(src: DatasetReader, ctx: TaskContext) -> Iterator[Window]:
    return pieces(src, piece_bytes=PIECE_BYTES >> ctx.shrink)


def require_data(src: DatasetReader, statistics: Sequence[RunningStatistics], ref: str) -> None:
    """Refuse a raster without a valid pixel.

    Raises:
        BadData: ``only-nodata``.
    """
    # Alpha says which pixels count; it does not count itself.
    is_data = [color is not ColorInterp.alpha for color in src.colorinterp]
    if not any(band.valid for band, counts in zip(statistics, is_data, strict=True) if counts):
        raise BadData(
            f"Inspecting {ref} found no valid pixel: all {src.width} x {src.height} pixels of "
            f"{'the band' if src.count == 1 else f'{src.count} bands'} are nodata or masked.",
            code="only-nodata",
            hint="Check the nodata value (in the file or in the job) and the export that wrote the file.",
        )


def _corrupt(src: DatasetReader, ref: str, path: str, piece: Window, exc: RasterioIOError) -> BadData:
    """Which block it is: read the failed piece again, block by block."""
    where = f"the window at column {piece.col_off}, row {piece.row_off}"
    found: BaseException = exc
    for block in blocks(src, piece):
        band = _first_broken_band(src, block)
        if band is not None:
            index, found = band
            height, width = src.block_shapes[0]
            where = (
                f"band {index}, block ({block.row_off // height}, {block.col_off // width}), "
                f"columns {block.col_off} to {block.col_off + block.width}, "
                f"rows {block.row_off} to {block.row_off + block.height}"
            )
            break
    return BadData(
        f"Decoding {ref} failed at {where}; GDAL says: {gdal_words(found, ref, GdalAccess(path, {}))}.",
        code="corrupt-block",
        hint="The file is damaged: export or upload it again.",
    )


def _first_broken_band(src: DatasetReader, block: Window) -> tuple[int, BaseException] | None:
    for index in src.indexes:
        try:
            src.read(index, window=block)
            src.read_masks(index, window=block)
        except RasterioIOError as exc:
            return index, exc
    return None
