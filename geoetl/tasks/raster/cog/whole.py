"""One COG in one task, on local disk: its bands one after the other, then what the assembler does.

The same code as of many tasks, and the same file, which is the one GDAL's COG driver would write. A task that is told
to stop does so between two rows of tiles, where the driver would go on to its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from rasterio.io import DatasetReader

from geoetl.models.bigcog import SharedCog
from geoetl.models.refs import BlobRef
from geoetl.tasks.context import StepCounter, TaskContext
from geoetl.tasks.raster.cog.bands import make_band
from geoetl.tasks.raster.cog.blocks import BlockStager, block_bytes
from geoetl.tasks.raster.cog.contents import Contents
from geoetl.tasks.raster.cog.fingerprints import Fingerprint, FingerprintList
from geoetl.tasks.raster.cog.queue import TileQueue
from geoetl.tasks.raster.cog.recipe import make_recipe
from geoetl.tasks.raster.cog.top import TopLevels

#: Rows of a band: as in tasks of their own, they bound the memory.
WHOLE_BAND_ROWS = 4096


@dataclass(frozen=True, slots=True)
class WrittenCog:
    """What whoever checks a written COG wants to know."""

    fingerprints: Sequence[Fingerprint]
    """Of everything that was encoded; each is a step of the check."""
    has_mask: bool
    """Whether there is an internal mask."""
    steps: StepCounter


def encode_cog(src: DatasetReader, cog: SharedCog, path: Path, ctx: TaskContext) -> WrittenCog:
    """Write the COG of an open raster that may be encoded in bands (``gdal.bands.bands_problem``).

    Args:
        src: Open with what the job says about it.
        cog: How; ``target`` is not written.
        path: The new file. While it is written, its tiles lie beside it once more.
        ctx: For checkpoints and reports.

    Raises:
        BadData: ``corrupt-block``.
        SystemFault: ``unwritable``: GDAL cannot describe the COG.
    """
    # Whoever reads the file back whole needs no tile read back before.
    recipe = make_recipe(src, cog, scratch=ctx.scratch, threads=ctx.threads, verifies=False, shrink=ctx.shrink)
    layout = recipe.layout
    contents = Contents(layout, has_mask=recipe.has_mask)
    prints = FingerprintList()
    checks = layout.tiles_down(0) * layout.panel_count
    steps = StepCounter(ctx, sum(map(layout.steps, range(layout.band_count))) + checks)
    tiles = _BlockFile(path.with_suffix(".tiles"))
    with (
        BlockStager(tiles, cog.target, block_bytes(layout), is_one_panel=True) as stager,
        TileQueue(recipe.encoder, stager, threads=ctx.threads) as queue,
    ):
        top = TopLevels(recipe, queue)
        for band in range(layout.band_count):
            part = make_band(
                src, recipe, cog, band, store=tiles, threads=ctx.threads, step=steps.step, observe=prints.take
            )
            contents.add(part.runs, part.blocks)
            if part.strip is not None:
                top.push(part.strip)
    contents.add(stager.runs, stager.blocks)
    header = contents.header(recipe.template)
    # The first id is the header's.
    tiles.write_to(path, header, contents.block_ids(header)[1:], ctx)
    tiles.remove()
    return WrittenCog(prints.taken, recipe.has_mask, steps)


class _BlockFile:
    """Blocks in one file, in the order in which they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0
        self._lock = Lock()

    def stage_block(self, ref: BlobRef, block_id: str, data: bytes) -> None:
        """Append a block; ``ref`` is of no meaning here."""
        with self._lock, self._path.open("ab") as file:
            file.write(data)
            self._places[block_id] = (self._end, len(data))
            self._end += len(data)

    def write_to(self, path: Path, header: bytes, block_ids: Sequence[str], ctx: TaskContext) -> None:
        """Put a file together."""
        with self._path.open("rb") as tiles, path.open("wb") as out:
            out.write(header)
            for block_id in block_ids:
                ctx.checkpoint()
                start, length = self._places[block_id]
                tiles.seek(start)
                out.write(tiles.read(length))

    def remove(self) -> None:
        self._path.unlink()
