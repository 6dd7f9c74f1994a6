"""Encode one band of rows: its tiles of every level that it can make alone, and its strip of the next."""

from collections.abc import Callable, Sequence

from rasterio.io import DatasetReader
from rasterio.windows import Window

from geoetl.gdal.open import gdal_errors
from geoetl.gdal.windows import window
from geoetl.models.bigcog import BandInput, BandReceipt, SharedCog
from geoetl.models.refs import BlobRef
from geoetl.resources.process_memory import peak_rss_bytes
from geoetl.tasks.context import StepCounter, TaskContext
from geoetl.tasks.raster.cog.blocks import BlockStager, BlockTarget, block_bytes
from geoetl.tasks.raster.cog.layout import LevelSpan
from geoetl.tasks.raster.cog.nodata import is_nodata
from geoetl.tasks.raster.cog.overviews import OverviewRule
from geoetl.tasks.raster.cog.parts import Part, part_ref
from geoetl.tasks.raster.cog.pixels import Pixels, beside, stack
from geoetl.tasks.raster.cog.pyramid import build_pyramid
from geoetl.tasks.raster.cog.queue import TileQueue
from geoetl.tasks.raster.cog.recipe import Recipe, make_recipe
from geoetl.tasks.raster.cog.source import open_shared
from geoetl.tasks.raster.statistics import RunningStatistics

#: Takes pixels of full resolution and their window.
type Observe = Callable[[Window, Pixels], None]


def encode_band(task: BandInput, ctx: TaskContext) -> BandReceipt:
    """Read a band's rows where the source lies, stage its blocks, leave its part.

    May run any number of times, by several workers at once: equal bytes have equal names.

    Raises:
        BadData: ``source-changed``, ``unreadable-raster``, ``corrupt-block``.
        SystemFault: ``cog-differs``: tiles that do not read back.
        TransientError: The storage is away.
    """
    cog = task.cog
    with open_shared(cog, ctx) as src:
        recipe = make_recipe(src, cog, scratch=ctx.scratch, threads=ctx.threads, shrink=ctx.shrink)
        statistics = [RunningStatistics() for _ in src.indexes]
        steps = StepCounter(ctx, recipe.layout.steps(task.band))
        part = make_band(
            src, recipe, cog, task.band, store=ctx.store, threads=ctx.threads, step=steps.step,
            observe=lambda _, pixels: _count(pixels, recipe.rule, statistics),
        )  # fmt: skip
    left = store_part(part, cog.target, task.band, recipe, ctx)
    staged_bytes = sum(block.size_bytes for block in part.blocks)
    ctx.log.info("band encoded", source=cog.source, band=task.band, staged_bytes=staged_bytes)
    return BandReceipt(
        target=cog.target,
        band=task.band,
        part=left,
        staged_bytes=staged_bytes,
        moments=tuple(band.moments() for band in statistics),
        peak_rss_bytes=peak_rss_bytes(),
    )


def store_part(part: Part, target: BlobRef, band: int, recipe: Recipe, ctx: TaskContext) -> BlobRef:
    """Write a part beside the target."""
    data = part.to_bytes(recipe.encoder)
    ref = part_ref(target, band, data)
    ctx.store.upload(ref, data, content_type="application/octet-stream", overwrite=True)
    return ref


def make_band(
    src: DatasetReader,
    recipe: Recipe,
    cog: SharedCog,
    band: int,
    *,
    store: BlockTarget,
    threads: int,
    step: Callable[[], None],
    observe: Observe | None = None,
) -> Part:
    """Encode a band of an open source and stage its blocks.

    Args:
        src: The source.
        recipe: How.
        cog: Of which it is a band.
        band: Which one.
        store: Takes the blocks.
        threads: For encoding.
        step: Called ``layout.steps(band)`` times, each time after rows were read and reduced.
        observe: Is shown every pixel of the band once, with its window.

    Returns:
        What the assembler must know.
    """
    layout = recipe.layout
    strips: list[Pixels] = []
    with (
        BlockStager(store, cog.target, block_bytes(layout), layout.is_one_panel) as stager,
        TileQueue(recipe.encoder, stager, threads=threads) as queue,
    ):
        for columns in layout.panels():
            panel = _Panel(src, recipe, layout.band(band), columns, observe)
            panel.run(queue, cog.source, step)
            if panel.strip:
                strips.append(stack(panel.strip))
    return Part(stager.runs, stager.blocks, beside(strips) if strips else None)


class _Panel:
    """Rows of a band over the width of one panel."""

    def __init__(
        self,
        src: DatasetReader,
        recipe: Recipe,
        rows: Sequence[LevelSpan],
        columns: Sequence[LevelSpan],
        observe: Observe | None,
    ) -> None:
        self._src = src
        self._recipe = recipe
        self._rows = rows
        self._columns = columns
        self._observe = observe
        self.strip: list[Pixels] = []

    def run(self, queue: TileQueue, ref: str, step: Callable[[], None]) -> None:
        layout = self._recipe.layout
        stream = build_pyramid(
            layout,
            self._rows,
            self._columns,
            self._recipe.rule,
            first_level=0,
            take_tiles=queue.add,
            take_strip=self.strip.append if layout.strip_level is not None else None,
        )
        needed, columns = stream.needed, stream.needed_columns
        for top in range(needed.start, needed.stop, layout.blocksize):
            height = min(layout.blocksize, needed.stop - top)
            with gdal_errors(ref, f"Decoding rows {top} to {top + height} of", code="corrupt-block"):
                pixels = self._recipe.read(self._src, window(columns.start, top, columns.size, height))
            if self._observe is not None:
                own = pixels.cut(0, max(0, self._rows[0].own.stop - top), self._columns[0].own.size)
                if own.height:
                    self._observe(window(columns.start, top, own.width, own.height), own)
            stream.push(pixels)
            step()


def _count(pixels: Pixels, rule: OverviewRule, statistics: Sequence[RunningStatistics]) -> None:
    """Add pixels to the statistics of each band of the raster."""
    shared = None if pixels.mask is None else pixels.mask != 0
    if rule.alpha is not None:
        shared = pixels.values[rule.alpha] != 0
    for index, (of_band, values) in enumerate(zip(statistics, pixels.values, strict=True)):
        if rule.mask_kind == "nodata":
            of_band.add(values, ~is_nodata(values, rule.nodata))
        else:
            # Alpha says which pixels count; all of its own do.
            of_band.add(values, None if index == rule.alpha else shared)
